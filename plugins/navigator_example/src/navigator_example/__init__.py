"""A runtime of one's own as a Navigator plugin: a few ONNX operators, executed by numpy."""
