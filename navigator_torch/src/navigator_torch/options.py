"""What can be chosen when a model is exported, compiled or run. No torch here: these are declared by the plugin."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen, validators

OPSETS = (9, 25)
"""What may be asked for: an exporter that cannot write it says so, and the others go on."""
WRITTEN = (18, 25)
"""The opsets that `torch.onnx.export` really writes; asked for an older one it silently writes 18."""
WRITTEN_BY_TORCHSCRIPT = (9, 20)
"""Those of its predecessor, which works on TorchScript."""

Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]

Half = Literal["bf16", "fp16"]

_flag = validators.instance_of(bool)
_threads = validators.and_(validators.instance_of(int), validators.ge(0))
_half = validators.optional(validators.in_(("bf16", "fp16")))


@frozen(kw_only=True)
class ToTorchScript:
    """``method``: "trace" records one run, "script" compiles the model's source, control flow included."""

    method: Literal["trace", "script"] = field(default="trace", validator=validators.in_(("trace", "script")))


_opset = validators.and_(validators.instance_of(int), validators.ge(OPSETS[0]), validators.le(OPSETS[1]))


@frozen(kw_only=True)
class Onnx:
    """``optimize``: fold constants and fuse nodes after the export. Opsets from 18 on can be written."""

    opset: int = field(default=20, validator=_opset)
    optimize: bool = field(default=True, validator=_flag)


@frozen(kw_only=True)
class OnnxByTorchScript:
    """``method``: what is exported, a trace or the compiled source; ``optimize``: fold constants. Opsets to 20."""

    method: Literal["trace", "script"] = field(default="trace", validator=validators.in_(("trace", "script")))
    opset: int = field(default=20, validator=_opset)
    optimize: bool = field(default=True, validator=_flag)


@frozen(kw_only=True)
class ToAotInductor:
    """``freezing``: weights are laid out for the kernels; ``max_autotune``: kernels are picked by their times."""

    freezing: bool = field(default=False, validator=_flag)
    max_autotune: bool = field(default=False, validator=_flag)


@frozen(kw_only=True)
class Eager:
    """``threads``: within one operator, on the CPU; 0 is torch's own choice.

    ``channels_last`` lays convolution weights out by channel last. ``autocast`` is what the variants of that name set:
    elsewhere the candidate would not compute in the precision that it promises, which is refused.
    """

    threads: int = field(default=0, validator=_threads)
    channels_last: bool = field(default=False, validator=_flag)
    autocast: Half | None = field(default=None, validator=_half)


@frozen(kw_only=True)
class Compile:
    """What `torch.compile` takes under the same names; ``dynamic=None`` lets it find dynamic axes by itself.

    ``freezing`` makes constants of the weights, which are then folded and packed for the kernels that use them. The
    others are those of ``torch-eager``.
    """

    mode: Mode = field(
        default="default",
        validator=validators.in_(("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")),
    )
    dynamic: bool | None = field(default=None, validator=validators.optional(_flag))
    fullgraph: bool = field(default=False, validator=_flag)
    freezing: bool = field(default=False, validator=_flag)
    threads: int = field(default=0, validator=_threads)
    channels_last: bool = field(default=False, validator=_flag)
    autocast: Half | None = field(default=None, validator=_half)


@frozen(kw_only=True)
class TorchScript:
    """``freeze`` inlines the weights as constants; ``optimize_for_inference`` freezes and then fuses as well."""

    freeze: bool = field(default=True, validator=_flag)
    optimize_for_inference: bool = field(default=False, validator=_flag)
    threads: int = field(default=0, validator=_threads)


@frozen(kw_only=True)
class ExportedProgram:
    """``threads``: within one operator, on the CPU; 0 is torch's own choice."""

    threads: int = field(default=0, validator=_threads)
