"""Warnings that torch gives about itself, on which neither the user nor we can act."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deprecations() -> Iterator[None]:
    """Without "`torch.jit.trace` is deprecated" and its like: TorchScript is what was asked for."""
    with warnings.catch_warnings():
        _drop_deprecations()
        yield


@contextmanager
def exporting() -> Iterator[None]:
    """As `deprecations`, for code that runs torch's tracers: they warn about their own code as well.

    What remains is printed and goes to the log; it is never an error, or a caller's ``-W error`` would break torch.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        _drop_deprecations()
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"_check_is_size will be removed", FutureWarning)
        warnings.filterwarnings("ignore", r"# The axis name: .* will not be used", UserWarning)
        warnings.filterwarnings("ignore", r"You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", r"The feature will be removed. Please remove usage", DeprecationWarning)
        warnings.filterwarnings("ignore", r"no signature found for <torch.ScriptMethod", UserWarning)
        warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights.* were assigned", UserWarning)
        yield


def _drop_deprecations() -> None:
    warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
