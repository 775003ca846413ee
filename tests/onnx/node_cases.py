"""ONNX's own conformance cases of single operators: those that numpy can feed and ONNX Runtime knows."""

import importlib
import warnings

import numpy as np

# fmt: off
MODULES = (
    "add", "argmax", "averagepool", "batch_normalization", "cast", "clip", "concat", "conv", "cumsum", "einsum", "erf",
    "expand", "flatten", "gather", "gelu", "gemm", "groupnormalization", "gru", "if_", "layernormalization", "loop",
    "lstm", "matmul", "maxpool", "nonzero", "not_", "onehot", "pad", "reducemean", "reshape", "scatternd", "slice",
    "softmax", "split", "squeeze", "topk", "transpose", "unsqueeze", "where",
)
# fmt: on
PER_MODULE = 4
# types that numpy lacks, values that are no tensors, and the recurrent layout that ONNX Runtime does not have
OUTSIDE = ("BFLOAT16", "FLOAT8", "INT4", "FLOAT4", "INT2", "STRING", "e8m0", "_opt_", "_seq_", "training", "batchwise")
NEW_OPSET = 22


def cases():
    from onnx.backend.test.case import node

    found = []
    for name in MODULES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the cases overflow on purpose while they are made
            before = len(node._NodeTestCases)
            importlib.import_module(f"onnx.backend.test.case.node.{name}")
        fitting = [case for case in node._NodeTestCases[before:] if fits(case)]
        found += fitting[:PER_MODULE]
    return found


def fits(case):
    arrays = [a for inputs, outputs in case.data_sets for a in (*inputs, *outputs)]
    opset = next(o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx"))
    is_plain = all(isinstance(a, np.ndarray | np.generic) and a.dtype.kind in "fiub" for a in arrays)
    return is_plain and opset <= NEW_OPSET and not any(word in case.name for word in OUTSIDE)


CASES = cases()
