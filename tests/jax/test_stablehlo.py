"""StableHLO: written with its dynamic axes as symbols, and run without the model's source."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from navigator_core import Dim
from navigator_core.errors import NavigatorError, RequestError
from navigator_jax import options, source, stablehlo

from . import models
from .conftest import BATCH, as_jax, batch_of, context_for, reference


def written(model, context, folder, **chosen):
    path = folder / "model.stablehlo"
    stablehlo.export(source.prepare(model), path, options.ToStableHlo(**chosen), context)
    return path


def encoder():
    make, samples = models.MODELS["flax nnx: encoder of token ids with a mask"]
    model, length = make(), Dim("ids_1", 2, 20)
    return model, context_for(model, samples()[0], {"ids": {0: BATCH, 1: length}, "mask": {0: BATCH, 1: length}})


def test_batch_and_length_are_dynamic_in_one_file(tmp_path):
    model, context = encoder()
    loaded = stablehlo.run(written(model, context, tmp_path), None, context)
    for rows, length in ((1, 2), (3, 7), (5, 20)):
        inputs = {"ids": np.asarray(models.ids(rows, length)), "mask": np.ones((rows, length), np.int32)}
        found = loaded.call(as_jax(context.signature, inputs))
        expected = reference(model, context, inputs)
        np.testing.assert_allclose(found["output"], expected["output"], rtol=1e-4, atol=1e-5)


def test_the_file_knows_names_symbols_and_ranges(tmp_path):
    model, context = encoder()
    program = jax.export.deserialize(bytearray(written(model, context, tmp_path).read_bytes()))
    assert [str(aval.shape) for aval in program.in_avals] == ["(b, d1)", "(b, d1)"]
    assert program.platforms == ("cpu", "cuda")
    loaded = stablehlo.run(tmp_path / "model.stablehlo", None, context)
    with pytest.raises(RequestError, match="axis 1 of input 'ids' is 21, and the model was exported for 2 to 20"):
        loaded.call({"ids": models.ids(2, 21), "mask": models.mask(2, 21)})


def test_a_model_that_needs_a_size_is_told_which_axis(tmp_path):
    def sized(x):
        return jnp.ones(int(x.shape[0])) + x.sum()

    context = context_for(sized, models.normal(2, 8), {"x": {0: BATCH}})
    with pytest.raises(NavigatorError, match=r"jax\.export failed: .*\(b is 'batch'\)"):
        written(sized, context, tmp_path)


def test_a_file_of_other_platforms_is_refused_by_name(tmp_path):
    context = context_for(jnp.sin, models.normal(2, 8), {"x": {0: BATCH}})
    path = written(jnp.sin, context, tmp_path, platforms=("tpu",))
    with pytest.raises(NavigatorError, match="exported for tpu, not for cpu"):
        stablehlo.run(path, None, context)


def test_a_file_of_64_bits_runs_where_the_process_has_none(tmp_path):
    def half(x):
        return x / 2

    with jax.enable_x64(True):
        context = context_for(half, np.full((2, 3), 1 / 3), {"x": {0: BATCH}})
        path = written(half, context, tmp_path)
    found = stablehlo.run(path, None, context).call(as_jax(context.signature, batch_of(context, 3)))["output"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, batch_of(context, 3)["x"] / 2)


def test_no_source_of_the_model_is_needed(tmp_path):
    model, context = encoder()
    written(model, context, tmp_path)
    code = "import jax, sys, numpy as np\n"
    code += "p = jax.export.deserialize(bytearray(open(sys.argv[1], 'rb').read()))\n"
    code += "y = p.call({'ids': np.ones((2, 5), np.int32), 'mask': np.ones((2, 5), np.int32)})\n"
    code += "print(y['output'].shape, 'flax' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "model.stablehlo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "(2, 16) False", done.stderr
