"""What plugins say: values that declare formats, conversions, runners, devices and what they need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs
import pluggy
from attrs import Factory, field, frozen

from navigator_core.signature import Names, Signature

if TYPE_CHECKING:
    import numpy as np

hookimpl = pluggy.HookimplMarker("navigator")

Tensor = Any
"""A tensor of any kind: numpy array, or a framework's own."""


@frozen
class Ref:
    """A dotted reference, ``"package.module:name"``, resolved only in the process that runs the step.

    >>> Ref("math:sqrt").resolve()(4.0)
    2.0
    """

    target: str

    def resolve(self) -> Any:
        """Import the module and return the object, or the module itself where no name is given.

        Raises ImportError or AttributeError as Python does.
        """
        module, _, path = self.target.partition(":")
        value: Any = import_module(module)
        for name in path.split(".") if path else ():
            value = getattr(value, name)
        return value

    def __str__(self) -> str:
        return self.target


@frozen
class Precision:
    """A number format: a value, not an enum. A stranger writes ``Precision("mxfp4", 2**-2)``.

    ``epsilon`` is the unit roundoff: it orders precisions and explains a candidate's error.
    """

    name: str
    epsilon: float


FP64 = Precision("fp64", 2.0**-53)
FP32 = Precision("fp32", 2.0**-24)
TF32 = Precision("tf32", 2.0**-11)
FP16 = Precision("fp16", 2.0**-11)
BF16 = Precision("bf16", 2.0**-8)
INT8 = Precision("int8", 2.0**-8)


def _several(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(values)


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _ref(value: str | Ref) -> Ref:
    return Ref(value) if isinstance(value, str) else value


@frozen
class Requirement:
    """Distributions of which one must be installed (PEP 508), asked of the installed metadata."""

    any_of: tuple[str, ...] = field(converter=_names)
    remedy: str | None = None
    """What really helps; None stands for ``pip install <the first>``."""


@frozen
class Probe:
    """A question only the machine can answer, asked in a worker after the requirements hold.

    ``check`` is ``() -> None`` when usable, else it returns one sentence saying why not.
    """

    check: Ref = field(converter=_ref)
    remedy: str


def _requirements(
    values: str | Requirement | Probe | Sequence[str | Requirement | Probe],
) -> tuple[Requirement | Probe, ...]:
    if isinstance(values, str | Requirement | Probe):
        values = (values,)
    return tuple(Requirement(value) if isinstance(value, str) else value for value in values)


@frozen
class Variant:
    """One way of taking an edge or of running: a name, its options, and the arithmetic it promises.

    The name "" is for the plain way, which needs none. ``precision=None`` keeps what came in. FP32 promises no TF32.
    A variant with a precision is left out where what comes in is as coarse already and another variant keeps that.
    """

    name: str
    options: Any = None
    precision: Precision | None = None
    requirements: tuple[Requirement | Probe, ...] = field(default=(), converter=_requirements)


def _variants(values: Iterable[Variant]) -> tuple[Variant, ...]:
    return tuple(values)


@frozen(kw_only=True)
class Format:
    """A kind of artifact on disk.

    ``file`` is the name inside the artifact's folder ("model.onnx"; side files lie beside it; a folder format
    names the folder). ``signature`` is ``(Path) -> Signature`` where such files may be a source, ``reference``
    the runner that then says what the file means. ``truth`` and ``noise`` are ``(source: Path, output: Path) -> None``
    and write the same model in higher precision, which takes and returns float64 by the same names, and with its
    weights moved by one unit in the last place. ``companions`` is
    ``(source: Path) -> paths relative to its folder`` of the files that belong to a source file. ``instead`` says
    what to do with a file that cannot be a source.
    """

    name: str
    file: str
    signature: Ref | None = None
    reference: str | None = None
    truth: Ref | None = None
    noise: Ref | None = None
    companions: Ref | None = None
    instead: str | None = None
    portable: bool = True
    executes_code: bool = False


@frozen(kw_only=True)
class Framework:
    """A kind of live model; its name lives among the format names.

    ``source`` names a module with ``parameters(model) -> inspect.Signature`` and
    ``fingerprint(model) -> str | None`` (None: never reuse results), and optionally ``truth(model)`` (the model in
    higher precision), ``noise(model)`` (its weights moved by one unit in the last place), ``state(model)``
    (sentences about what evaluation changes, such as training mode), ``advice(value)`` (what to do about an object
    among arguments or outputs that changes from call to call, else None), ``pack(model)`` (what goes to the workers in
    the model's place, such as the model with settings of this process that reach its results), ``prepare(model,
    device)`` (the model, or what ``pack`` made of it, ready to be evaluated), ``reducers()`` (``{type: reduce}`` for
    out-of-band pickling) and ``ship(model, folder)`` with ``receive(folder)`` for what pickle refuses.
    ``tensors`` is the kind it takes; None: whatever the caller passes.
    """

    name: str
    source: Ref
    reference: str
    tensors: str | None = "numpy"


@frozen(kw_only=True)
class Tensors:
    """A kind of tensor.

    ``source`` names a module with ``is_tensor(x) -> bool``, ``to_numpy(x)`` (types numpy lacks are widened to
    float32, exactly), ``from_numpy(array, device, dtype)`` and optionally ``dtype(x) -> str`` and
    ``adopt(array, device, dtype)``: as ``from_numpy``, for an array that nobody else keeps, so that its memory is free,
    and ``beside(array, tensor)``: as ``adopt``, on the device of another tensor and of the array's own type.
    """

    name: str
    source: Ref


@frozen(kw_only=True)
class Device:
    """A device kind; ``detect`` is ``() -> Sequence[DeviceInfo]``, asked in a worker.

    ``clocks`` is ``(name) -> Mapping[str, str]``: how fast a device is set to run at this moment, in words such as
    ``{"sm clock": "1410 MHz"}``. It is asked after each measurement, in the worker that has measured, and written down
    with it; what the device does not tell is left out.
    """

    kind: str
    detect: Ref
    clocks: Ref | None = None


@frozen
class DeviceInfo:
    """One device: ``name`` "cuda:0", a description that keys what is not portable, memory in bytes."""

    name: str
    description: str
    memory: int


@frozen(kw_only=True)
class _Implemented:
    implementation: Ref
    options: type | None = None
    variants: tuple[Variant, ...] = field(default=(), converter=_variants)
    requirements: tuple[Requirement | Probe, ...] = field(default=(), converter=_requirements)
    devices: tuple[str, ...] = field(default=("cpu",), converter=_names)


@frozen(kw_only=True)
class Exporter(_Implemented):
    """``implementation(model, output: Path, options, context: Context) -> Names | None``: live model to artifact.

    ``dead_ends`` are formats that no conversion makes of what it writes, though it is of the right format, each with
    the reason: {"onnx": "it is one operation, which the converter does not know"}.
    """

    source: str
    target: str
    dead_ends: Mapping[str, str] = field(factory=dict, hash=False)


@frozen(kw_only=True)
class Converter(_Implemented):
    """``implementation(source: Path, output: Path, options, context: Context) -> Names | None``.

    ``from_passes=False``: it starts from what was given or exported as it is, not from what a pass (onnx->onnx[slim])
    made of it or a variant rounded (torch->exported-program[bf16]). For a runtime that simplifies and rounds by itself,
    whose branches would only be multiplied. ``dead_ends``: as those of an `Exporter`.
    """

    source: str
    target: str
    from_passes: bool = True
    dead_ends: Mapping[str, str] = field(factory=dict, hash=False)


@frozen
class Knob:
    """A field of a runner's options that decides how fast it runs, with the values that are worth trying.

    A search tries them one after the other, and verifies each as it does every candidate. ``devices`` are the kinds
    on which it matters, none named: all.
    """

    field: str
    values: tuple[Any, ...] = attrs.field(converter=_several)
    devices: tuple[str, ...] = attrs.field(default=(), converter=_names)


def core_counts() -> tuple[int, ...]:
    """1, 2, 4, ... up to the cores that this process may use: the values of a `Knob` for threads.

    >>> core_counts()[0]
    1
    """
    cores = len(os.sched_getaffinity(0))
    return (*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores)


@frozen(kw_only=True)
class Runner(_Implemented):
    """``implementation(model or Path, options, context: Context) -> LoadedModel``.

    ``tensors`` is the kind it takes and returns; the core converts, outside the clock. None: as the caller passed.
    ``knobs`` are what a search may turn, the most telling first.
    """

    name: str
    formats: tuple[str, ...] = field(converter=_names)
    tensors: str | None = "numpy"
    knobs: tuple[Knob, ...] = field(default=(), converter=_several)


@frozen(kw_only=True)
class Profiler:
    """``implementation(context) -> measure(call) -> float``: runs ``call()`` once, returns the quantity in ``unit``.

    ``tensors`` limits it to runners that take this kind, where it asks a library about its own work; None: to none.
    ``memory`` says that it measures the most bytes that are held meanwhile, and where: "host", or the kind of device.
    It is then part of `Measurement.memory`, and ``call()`` is the whole timed run.
    """

    name: str
    unit: str
    implementation: Ref
    tensors: str | None = None
    memory: str | None = None
    devices: tuple[str, ...] = field(default=("cpu",), converter=_names)
    requirements: tuple[Requirement | Probe, ...] = field(default=(), converter=_requirements)


@frozen(kw_only=True)
class Deployer(_Implemented):
    """``implementation(source: Path, output: Path, options, context: Context) -> None``."""

    name: str
    formats: tuple[str, ...] = field(converter=_names)


@frozen(kw_only=True)
class Executor:
    """Where steps run: ``implementation(options)`` returns an object with ``run(job) -> outcome``.

    Local worker processes are the core's own.
    """

    name: str
    implementation: Ref
    requirements: tuple[Requirement | Probe, ...] = field(default=(), converter=_requirements)


def nothing() -> None:
    """The default of a runner with nothing to wait for and nothing to free."""


@frozen
class LoadedModel:
    """What a runner returns: three functions, and whether several threads may be in ``call`` at once.

    ``call`` takes and returns tensors by name. ``synchronize`` is needed where a call may return before its work
    is done. ``close`` frees what was loaded. Where it is not ``thread_safe``, the core lets threads take turns.
    """

    call: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
    synchronize: Callable[[], None] = nothing
    close: Callable[[], None] = nothing
    thread_safe: bool = False


@frozen(kw_only=True)
class Context:
    """What an implementation may know beyond its arguments. Data only: it is sent to a worker.

    ``samples`` are the user's, by name, as numpy arrays; use `navigator_core.samples.resize` for another batch.
    ``names`` says what the artifact that came in calls the signature's tensors.
    """

    signature: Signature
    samples: Sequence[Mapping[str, np.ndarray]] = ()
    calibration: Sequence[Mapping[str, np.ndarray]] = ()
    device: str = "cpu"
    precision: Precision = FP32
    names: Names = Factory(Names)


def type_names(value: object) -> set[str]:
    """Dotted names of a value's class and its bases: recognition without importing the framework.

    >>> "builtins.int" in type_names(True)
    True
    """
    return {f"{base.__module__}.{base.__qualname__}" for base in type(value).__mro__}
