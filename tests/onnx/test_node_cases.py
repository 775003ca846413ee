"""ONNX's own conformance cases, run through the runner as whole models: names, shapes and values."""

import numpy as np
import pytest
from node_cases import CASES
from onnx_models import context, write

from navigator_onnx.options import CpuOptions
from navigator_onnx.run import cpu


def test_there_are_cases():
    assert len(CASES) >= 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance(case, tmp_path):
    path = write(tmp_path / "model.onnx", case.model)
    known = context(path)
    loaded = cpu(path, CpuOptions(threads=1), known)
    names = [spec.name for spec in known.signature.inputs]
    for inputs, outputs in case.data_sets:
        found = loaded.call(dict(zip(names, inputs, strict=True)))
        declared = [value.name for value in case.model.graph.output]
        assert list(found) == declared
        for name, expected in zip(declared, outputs, strict=True):
            assert found[name].dtype == expected.dtype
            np.testing.assert_allclose(found[name], expected, rtol=case.rtol, atol=max(case.atol, 1e-6))
