"""Kinds of tensor: which one a value is, and the way to numpy and back. Plugins bring the kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    import numpy as np

    from navigator_core.declarations import Tensors

NUMPY = "numpy"
NATIVE = frozenset({"float16", "float32", "float64"})


@frozen
class Kind:
    """A kind of tensor with the module that knows it, and what that module may leave out.

    ``beside`` takes an array that nobody else keeps, and a tensor on whose device it becomes one of the same type.
    """

    name: str
    module: ModuleType
    adopt: Callable[[np.ndarray, str, str], Any]
    move: Callable[[Any, str], Any] | None = None
    tell_device: Callable[[Any], str] | None = None
    beside: Callable[[np.ndarray, Any], Any] | None = None


def _kind(name: str, module: ModuleType) -> Kind:
    adopt = getattr(module, "adopt", module.from_numpy)
    rest = (getattr(module, function, None) for function in ("to_device", "device", "beside"))
    return Kind(name, module, adopt, *rest)


_kinds: dict[str, Kind] = {}
_by_type: dict[type, Kind | None] = {}


def register(declared: Iterable[Tensors]) -> None:
    """Make kinds known in this process. Their modules are light: they import no framework until used."""
    for tensors in declared:
        if tensors.name not in _kinds:
            _kinds[tensors.name] = _kind(tensors.name, tensors.source.resolve())
            _by_type.clear()


def kind_of(value: Any) -> Kind | None:
    """The kind of a tensor; None for what is no tensor. Decided once for each type."""
    cls = type(value)
    if cls not in _by_type:
        matching = [kind for kind in _known().values() if kind.module.is_tensor(value)]
        _by_type[cls] = matching[0] if matching else None
    return _by_type[cls]


def is_tensor(value: Any) -> bool:
    """Whether any registered kind claims the value."""
    return kind_of(value) is not None


def kind(name: str) -> Kind:
    """A registered kind by name. Raises KeyError."""
    return _known()[name]


def to_numpy(value: Any) -> np.ndarray:
    """A tensor of any kind as a numpy array on the host; types numpy lacks come as float32, exactly."""
    found = kind_of(value)
    if found is None:
        raise TypeError(f"not a tensor: {type(value).__module__}.{type(value).__qualname__}")
    array: np.ndarray = found.module.to_numpy(value)
    return array


def dtype_of(value: Any) -> str:
    """The name of a tensor's element type: "float32", "bfloat16", "int64"."""
    found = kind_of(value)
    asked = getattr(found.module, "dtype", None) if found else None
    return str(asked(value)) if asked else str(to_numpy(value).dtype)


def is_native(dtype: str) -> bool:
    """Whether numpy itself has the element type: it lacks bfloat16 and the float8 ones, which go widened."""
    import numpy as np

    try:
        return np.dtype(dtype).kind in "biufc"
    except TypeError:
        return False


def shape_of(value: Any) -> tuple[int, ...]:
    """The sizes of a tensor's axes, of whatever kind; one that does not tell them is looked at as a numpy array."""
    try:
        return tuple(int(n) for n in value.shape)
    except (AttributeError, TypeError, ValueError):
        return tuple(to_numpy(value).shape)


def device_of(value: Any) -> str:
    """Where a tensor lies, as its kind says: "cuda:0"; "cpu" for a kind that knows no devices."""
    found = kind_of(value)
    return "cpu" if found is None or found.tell_device is None else str(found.tell_device(value))


def from_numpy(array: np.ndarray, kind_name: str, device: str = "cpu", dtype: str | None = None) -> Any:
    """A numpy array as a tensor of the named kind, on a device."""
    return kind(kind_name).module.from_numpy(array, device, dtype or array.dtype.name)


def convert(
    values: Mapping[str, Any], to: str | None, device: str, dtypes: Mapping[str, str], *, adopt: bool = False
) -> dict[str, Any]:
    """Every tensor as the named kind, on ``device``; what is of the kind already is passed on untouched.

    ``to=None`` leaves all as they are. ``dtypes`` restores types that numpy lacks ("bfloat16"). ``adopt``: nobody else
    keeps the values, so what is made of them may go on in their memory.
    """
    if to is None:
        return dict(values)
    target = kind(to)
    make = target.adopt if adopt else target.module.from_numpy
    return {name: _convert(value, target, make, device, dtypes.get(name)) for name, value in values.items()}


def converted(value: Any, to: Kind, device: str, dtype: str | None) -> Any:
    """One tensor as `convert` does it."""
    return _convert(value, to, to.module.from_numpy, device, dtype)


def hand_over(value: Any, to: Kind, device: str, dtype: str | None) -> Any:
    """One tensor as `convert` does it with ``adopt``."""
    return _convert(value, to, to.adopt, device, dtype)


def _convert(value: Any, to: Kind, make: Callable[[np.ndarray, str, str], Any], device: str, dtype: str | None) -> Any:
    if kind_of(value) is to:
        return value if to.move is None else to.move(value, device)
    array = to_numpy(value)
    return make(array, device, wanted(array.dtype, dtype))


@cache
def wanted(found: np.dtype[Any], declared: str | None) -> str:
    """The type to make of an array: the declared one only for what numpy widened, bfloat16 and its like."""
    name = found.name  # of any byte order
    if declared is None or declared == name or declared in NATIVE:
        return name
    return declared if "float" in declared and "float" in name else name


def _known() -> dict[str, Kind]:
    if NUMPY not in _kinds:  # the one kind that is always there
        from navigator_core import numpy_tensors

        _kinds[NUMPY] = _kind(NUMPY, numpy_tensors)
    return _kinds
