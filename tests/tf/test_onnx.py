"""SavedModels to ONNX: repaired where tf2onnx has gaps, checked before the file counts."""

import numpy as np
import pytest
import tensorflow as tf

from navigator_core import testing
from navigator_core.errors import NavigatorError
from navigator_tf import options, tracing

from . import models
from .conftest import BATCH, HAS_ONNX, NO_ONNX, batch_of, context_for, reference, saved

pytestmark = [pytest.mark.together, pytest.mark.skipif(not HAS_ONNX, reason=NO_ONNX)]


def converted(model, sample, axes, folder, opset=18):
    from navigator_tf import onnx

    context = context_for(model, sample, axes)
    onnx.convert(saved(model, context, folder), folder / "model.onnx", options.ToOnnx(opset=opset), context)
    return context


def session(folder):
    import onnxruntime

    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_of_the_table_answers_as_its_source(name, tmp_path):
    make, samples = models.MODELS[name]
    model, sample = make(), samples()[0]
    inputs = list(context_for(model, sample, {}).signature.inputs)
    context = converted(model, sample, {spec.name: {0: BATCH} for spec in inputs}, tmp_path)
    run = session(tmp_path)
    assert {one.name for one in run.get_inputs()} == {spec.name for spec in context.signature.inputs}
    for rows in (1, 3):
        arrays = batch_of(context, rows)
        expected = reference(model, context, arrays)
        theirs = tracing.words(expected)
        for output, found in zip(expected, run.run(list(theirs.values()), dict(arrays)), strict=True):
            np.testing.assert_allclose(found, expected[output], rtol=1e-4, atol=1e-5, err_msg=output)


def test_an_operation_that_it_does_not_know_is_named_and_no_file_counts(tmp_path):
    with pytest.raises(NavigatorError, match="it does not know Lgamma"):
        converted(tf.function(lambda x: tf.math.lgamma(x)), models.normal(2, 4), {"x": {0: BATCH}}, tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_the_opset_is_as_asked(tmp_path):
    import onnx

    converted(models.plain_net(), models.normal(2, 4), {"inputs": {0: BATCH}}, tmp_path, opset=15)
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 15


class TestKerasToOnnx(testing.ConversionContract):
    module = "navigator_tf.plugin"
    conversion = "keras->savedmodel->onnx"

    def source(self, folder):
        return models.encoder(), models.ids(2, 7)
