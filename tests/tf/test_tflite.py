"""TFLite: what cannot be converted says so, and weights that are too few are left alone."""

import numpy as np
import pytest
import tensorflow as tf

from navigator_core.errors import NavigatorError, NothingToDoError
from navigator_tf import litert, options, tflite

from . import models
from .conftest import BATCH, batch_of, context_for, reference, saved


def converted(model, sample, axes, folder, **asked):
    context = context_for(model, sample, axes)
    tflite.convert(saved(model, context, folder), folder / "model.tflite", options.ToTfLite(**asked), context)
    return context, litert.run(folder / "model.tflite", options.LiteRt(), context).call


@pytest.mark.parametrize("rows", [1, 3])
def test_the_transformer_with_the_exact_gelu_and_the_grouped_convolution_answer_as_their_source(rows, tmp_path):
    for name, model, sample in (
        ("encoder", models.encoder(), models.ids(2, 7)),
        ("conv", models.conv_net(), models.normal(2, 8, 8, 3)),
    ):
        context, call = converted(model, sample, {"inputs": {0: BATCH}}, tmp_path / name)
        arrays = batch_of(context, rows)
        for output, array in reference(model, context, arrays).items():
            np.testing.assert_allclose(call(arrays)[output], array, rtol=1e-4, atol=1e-5)


def test_an_operation_that_tflite_lacks_is_named(tmp_path):
    function, given = tf.function(lambda x: tf.linalg.inv(x)), models.normal(2, 4, 4)
    with pytest.raises(NavigatorError, match=r"TFLite lacks MatrixInverse$"):
        converted(function, given, {"x": {0: BATCH}}, tmp_path)


def test_weights_that_are_too_few_to_be_rounded_are_nothing_to_do(tmp_path):
    with pytest.raises(NothingToDoError, match="1024 numbers"):
        converted(models.plain_net(), models.normal(2, 4), {"inputs": {0: BATCH}}, tmp_path, weights="int8")


def test_what_is_no_file_of_tflite_says_so(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"nothing")
    with pytest.raises(NavigatorError, match="LiteRT cannot load the model"):
        litert.interpreter(tmp_path / "model.tflite", 0)
