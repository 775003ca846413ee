"""Conversions keep their contract: through the real engine, in workers, from live models and from files."""

from __future__ import annotations

import pytest

from navigator_core import testing

from . import models
from .conftest import BATCH, context_for, saved

MODULE = "navigator_tf.plugin"


class TestKerasToSavedModel(testing.ConversionContract):
    module = MODULE
    conversion = "keras->savedmodel"

    def source(self, folder):
        return models.conv_net(), models.normal(2, 8, 8, 3)


class TestSavedModelToTfLite(testing.ConversionContract):
    module = MODULE
    conversion = "savedmodel->tflite"

    def source(self, folder):
        model = models.plain_net()
        context = context_for(model, models.normal(2, 4), {"inputs": {0: BATCH}})
        return saved(model, context, folder), models.normal(2, 4)


@pytest.mark.long
class TestModuleToSavedModel(testing.ConversionContract):
    module = MODULE
    conversion = "tensorflow->savedmodel"

    def source(self, folder):
        return models.Attention(), models.normal(2, 5, 8)


@pytest.mark.long
class TestSavedModelToTfLiteInHalfPrecision(TestSavedModelToTfLite):
    conversion = "savedmodel->tflite[fp16]"


@pytest.mark.long
class TestSavedModelToTfLiteInInt8(TestSavedModelToTfLite):
    conversion = "savedmodel->tflite[int8-dynamic]"
    rtol = 0.1
