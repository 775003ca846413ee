"""What the parts of this plugin need installed, as data: loading this imports nothing."""

from __future__ import annotations

from navigator_core import Probe, Ref, Requirement

ORT_CPU = Requirement(("onnxruntime>=1.18", "onnxruntime-gpu>=1.18"), remedy="pip install 'navigator-onnx[cpu]'")
ORT_GPU = (
    Requirement("onnxruntime-gpu>=1.18", remedy="pip install 'navigator-onnx[gpu]'"),
    Probe(
        Ref("navigator_onnx.probes:one_onnxruntime"),
        remedy="pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
    ),
)
TENSORRT = (
    Requirement(("tensorrt>=10", "tensorrt-cu13>=10", "tensorrt-cu12>=10"), "pip install 'navigator-onnx[tensorrt]'"),
    Requirement("polygraphy>=0.49", "pip install 'navigator-onnx[tensorrt]'"),
    Probe(
        Ref("navigator_onnx.probes:tensorrt"),
        remedy="install the TensorRT libraries that match the NVIDIA driver (https://docs.nvidia.com/deeplearning/tensorrt)",
    ),
)
SLIM = Requirement("onnxslim>=0.1.90", remedy="pip install 'navigator-onnx[slim]'")
