import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `onnx_models` beside the tests: importlib mode adds no path

import onnx_models


@pytest.fixture
def linear(tmp_path):
    return onnx_models.write(tmp_path / "model.onnx", onnx_models.linear())
