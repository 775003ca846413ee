"""What the user gave to try the model with: read once, bound to the model's parameters, checked, copied to numpy."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from navigator_core import structure as trees
from navigator_core import tensors
from navigator_core.errors import RequestError
from navigator_core.made_up import Range, has_specs, make_up
from navigator_core.signature import Call, Dim, Parameter, Signature, Structure, TensorSpec

MOST_SAMPLES = 64
MOST_BYTES = 2**30
LABELS = "labels? write (x for x, _ in loader)"

Arrays = Mapping[str, np.ndarray]


@frozen
class Samples:
    """Samples by input name, and how the model's call is built around them.

    ``dtypes`` are the element types as given ("bfloat16" where the array is float32). ``kind`` is the kind of tensor
    passed in. ``allowed`` names the axes that a file declares dynamic; None: every axis may be.
    """

    arrays: tuple[Arrays, ...]
    dtypes: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    kind: str
    made_up: bool = False
    notes: tuple[str, ...] = ()
    allowed: Mapping[str, frozenset[int]] | None = field(default=None)

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs in order."""
        return tuple(self.arrays[0])

    def of_kind(self, kind: str) -> Samples:
        """The same samples, passed as another kind of tensor."""
        return evolve(self, kind=kind)

    def restricted(self, allowed: Mapping[str, frozenset[int]]) -> Samples:
        """The same samples, with only the named axes dynamic."""
        return evolve(self, allowed=allowed)

    def shapes(self) -> dict[str, list[tuple[int, ...]]]:
        """The shapes of each input over the samples."""
        return {name: [sample[name].shape for sample in self.arrays] for name in self.names}


def gather(
    calls: Sequence[Call],
    parameters: Sequence[Parameter],
    rest: bool,
    input_names: Sequence[str] | None,
    ranges: Mapping[str, Range] | None = None,
) -> Samples:
    """Bind each sample to the model's parameters and copy its tensors.

    ``rest`` says whether the model takes any keyword, ``ranges`` which values made-up inputs take. Raises RequestError
    for samples that do not fit the parameters, disagree with each other or hold NaN.
    """
    notes: tuple[str, ...] = ()
    made_up = any(has_specs(call) for call in calls)
    if made_up:
        calls = [made for call in calls for made in make_up(call, ranges)]
        inside = "".join(f", {name} from {low} to {high}" for name, (low, high) in (ranges or {}).items())
        notes = (f"the samples were made up from shapes{inside}: errors on real data may differ",)
    described = [_describe(call, parameters, rest, number) for number, call in enumerate(calls)]
    names = _names(described[0][1], input_names)
    bound = tuple(evolve(p, node=trees.rename(p.node, names)) if p.node else p for p in described[0][0])
    _agree([parameters for parameters, _ in described], [found for _, found in described])
    leaves = [{name: found[path] for path, name in names.items()} for _, found in described]
    arrays = tuple({name: _array(value, name, n) for name, value in found.items()} for n, found in enumerate(leaves))
    kinds = [kind.name for kind in map(tensors.kind_of, leaves[0].values()) if kind]
    dtypes = {name: tensors.dtype_of(value) for name, value in leaves[0].items()}
    return Samples(arrays, dtypes, bound, kinds[0] if kinds else tensors.NUMPY, made_up, notes)


def read(samples: Any) -> tuple[list[Call], tuple[str, ...]]:
    """The samples as calls. One tensor, tuple, Mapping or `Call` is one sample; any other iterable is several."""
    one = _one(samples, in_iterable=False)
    if one is not None:
        return [one], ()
    if isinstance(samples, str | bytes) or not isinstance(samples, Iterable):
        raise RequestError(
            f"samples is {trees.brief(samples)}; expected a tensor, a tuple, a Mapping, nav.call(...), "
            "or an iterable of these"
        )
    calls: list[Call] = []
    size = 0
    for item in samples:
        call = _one(item if isinstance(samples, Sequence) else _own(item), in_iterable=True)
        if call is None:
            raise RequestError(
                f"sample {len(calls)} is {trees.brief(item)}; expected a tensor, a tuple, a Mapping or nav.call(...)"
            )
        calls.append(call)
        size += _size(call)
        if len(calls) == MOST_SAMPLES or size >= MOST_BYTES:
            whole = _length(samples) == len(calls)
            note = f"{len(calls)} samples were read ({size / 2**20:.0f} MiB), the rest left unread"
            return calls, () if whole else (note,)
    if not calls:
        raise RequestError("samples is empty; give at least one sample, such as one batch of real inputs")
    return calls, ()


def _one(value: Any, *, in_iterable: bool) -> Call | None:
    if isinstance(value, Call):
        return value
    if isinstance(value, TensorSpec) or tensors.is_tensor(value):
        return Call((value,))
    if isinstance(value, Mapping):
        return Call((), dict(value))
    if isinstance(value, tuple) or (in_iterable and isinstance(value, list)):
        return Call(tuple(value))
    return None


def _own(value: Any) -> Any:
    """The value with arrays of its own: a loader may fill the same ones again."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, TensorSpec | Call) or tensors.is_tensor(value):
        return value
    return trees.replace_children(value, _own)


def _length(samples: Any) -> int | None:
    try:
        return len(samples)
    except Exception:  # a generator has none, and a loader of a stream raises
        return None


def _size(value: Any) -> int:
    if isinstance(value, Call):
        return sum(map(_size, (*value.args, *value.kwargs.values())))
    if tensors.is_tensor(value):
        size = getattr(value, "nbytes", None)
        return size if isinstance(size, int) else int(np.prod(tensors.shape_of(value), dtype=np.int64)) * 4
    items = trees.children(value)
    return sum(map(_size, items[1].values())) if items and not isinstance(value, TensorSpec) else 0


def parameters_of(signature: inspect.Signature) -> tuple[tuple[Parameter, ...], bool]:
    """Python's own description of a call as ours, and whether it takes any keyword (``**kwargs``)."""
    kinds = inspect.Parameter
    ours: dict[Any, Any] = {
        kinds.POSITIONAL_ONLY: "positional",
        kinds.POSITIONAL_OR_KEYWORD: "either",
        kinds.KEYWORD_ONLY: "keyword",
        kinds.VAR_POSITIONAL: "variadic",
    }
    found = signature.parameters.values()
    needed = {kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY}
    parameters = tuple(
        # "given" is overwritten by the first sample; until then it says whether a sample must give it
        Parameter(p.name, ours[p.kind], "absent" if p.default is not p.empty or p.kind not in needed else "positional")
        for p in found
        if p.kind is not kinds.VAR_KEYWORD
    )
    return parameters, any(p.kind is kinds.VAR_KEYWORD for p in found)


def dynamic_axes(signature: Signature) -> dict[str, frozenset[int]]:
    """The axes of each input that a signature declares dynamic."""
    return {
        spec.name: frozenset(axis for axis, n in enumerate(spec.shape) if isinstance(n, Dim))
        for spec in signature.inputs
    }


def file_parameters(signature: Signature) -> tuple[Parameter, ...]:
    """The parameters of a file: its inputs, by name or in declared order."""
    return tuple(Parameter(spec.name, "either", "keyword") for spec in signature.inputs)


def _describe(
    call: Call, parameters: Sequence[Parameter], rest: bool, number: int
) -> tuple[list[Parameter], dict[str, Any]]:
    """One sample bound to the parameters: each with the way it is given and its tree, and the leaves by path."""
    positional = [p for p in parameters if p.kind in ("positional", "either")]
    variadic = next((p for p in parameters if p.kind == "variadic"), None)
    if len(call.args) > len(positional) and variadic is None:
        takes = ", ".join(p.name for p in positional) or "none"
        raise RequestError(
            f"sample {number} has {len(call.args)} positional values, but the model takes {len(positional)} ({takes}): "
            f"{LABELS}; for a model whose one argument is itself a container, nav.call([...])"
        )
    given: dict[str, tuple[Parameter, Any]] = {}
    for parameter, value in zip(positional, call.args, strict=False):
        given[parameter.name] = (evolve(parameter, given="positional"), value)
    if variadic is not None and len(call.args) > len(positional):
        given[variadic.name] = (evolve(variadic, given="positional"), tuple(call.args[len(positional) :]))
    known = {p.name: p for p in parameters if p.kind in ("either", "keyword")}
    for name, value in call.kwargs.items():
        if name in given:
            raise RequestError(f"sample {number} gives {name!r} twice: by position and by name")
        if name not in known and not rest:
            takes = ", ".join(known) or "no keywords"
            raise RequestError(
                f"sample {number} gives {name!r}, which the model does not take (it takes {takes}); "
                "for a model whose one argument is itself a dict, write nav.call({...})"
            )
        given[name] = (evolve(known.get(name, Parameter(name, "keyword", "keyword")), given="keyword"), value)
    missing = [p.name for p in parameters if p.given != "absent" and p.name not in given and p.kind != "variadic"]
    if missing:
        raise RequestError(
            f"sample {number} does not give {', '.join(map(repr, missing))}, which the model needs; a tuple is "
            "positional arguments, a Mapping keyword arguments, nav.call(...) both"
        )
    bound: list[Parameter] = []
    leaves: dict[str, Any] = {}
    extra = [name for name in given if name not in {p.name for p in parameters}]
    for parameter in (*parameters, *(given[name][0] for name in extra)):
        if parameter.name in given:
            found, value = given[parameter.name]
            node, inside = trees.describe(value, parameter.name)
            leaves.update(inside)
            bound.append(evolve(found, node=node))
        else:
            bound.append(evolve(parameter, given="absent"))
    if not leaves:
        raise RequestError(f"sample {number} holds no tensor; values that change from call to call must be tensors")
    return bound, leaves


def _names(leaves: Mapping[str, Any], wanted: Sequence[str] | None) -> dict[str, str]:
    if wanted is None:
        return {path: path for path in leaves}
    if len(wanted) != len(leaves) or len(set(wanted)) != len(wanted):
        raise RequestError(f"input_names must be {len(leaves)} different names, for {', '.join(leaves)}")
    return dict(zip(leaves, wanted, strict=True))


def _agree(parameters: Sequence[Sequence[Parameter]], leaves: Sequence[Mapping[str, Any]]) -> None:
    """Every sample is built like the first. Raises RequestError saying where they differ."""
    first = parameters[0]
    for number, (other, found) in enumerate(zip(parameters[1:], leaves[1:], strict=True), start=1):
        for ours, theirs in zip(first, other, strict=False):
            if (ours.node is None) != (theirs.node is None):
                raise RequestError(f"samples 0 and {number} disagree: only one of them gives {ours.name!r}")
        if len(first) != len(other) or set(found) != set(leaves[0]):
            differing = sorted(set(found) ^ set(leaves[0]))
            raise RequestError(f"samples 0 and {number} are built differently: {', '.join(differing)}")
        theirs_by_name = {parameter.name: parameter for parameter in other}
        for ours in first:
            theirs = theirs_by_name.get(ours.name, ours)
            _same_constants(ours.node, theirs.node, ours.name, number)
        for name, value in found.items():
            a, b = leaves[0][name], value
            if tensors.dtype_of(a) != tensors.dtype_of(b):
                raise RequestError(
                    f"input {name!r} is {tensors.dtype_of(a)} in sample 0 and {tensors.dtype_of(b)} in sample "
                    f"{number}; element types are never cast: make them equal"
                )
            axes, others = len(tensors.shape_of(a)), len(tensors.shape_of(b))
            if axes != others:
                raise RequestError(f"input {name!r} has {axes} axes in sample 0 and {others} in sample {number}")


def _same_constants(ours: trees.Node | None, theirs: trees.Node | None, path: str, number: int) -> None:
    if (
        isinstance(ours, trees.Constant)
        and isinstance(theirs, trees.Constant)
        and not trees.same(ours.value, theirs.value)
    ):
        raise RequestError(
            f"{path!r} is {trees.brief(ours.value)} in sample 0 and {trees.brief(theirs.value)} in sample {number}; "
            "a value that changes from call to call must be a tensor"
        )
    if isinstance(ours, trees.Container) and isinstance(theirs, trees.Container):
        if set(ours.keys) != set(theirs.keys) or ours.kind != theirs.kind:
            raise RequestError(
                f"{path!r} is {trees.outline(ours)} in sample 0 and {trees.outline(theirs)} in sample {number}"
            )
        there = dict(zip(theirs.keys, theirs.children, strict=True))
        for key, child in zip(ours.keys, ours.children, strict=True):
            _same_constants(child, there[key], f"{path}.{key}", number)


def _array(value: Any, name: str, number: int) -> np.ndarray:
    array = np.array(tensors.to_numpy(value), copy=True)  # a loader may reuse its buffers
    if array.dtype.kind in "OSU":
        raise RequestError(f"input {name!r} of sample {number} holds {array.dtype}, which is no tensor of numbers")
    if array.dtype.kind in "fc" and np.isnan(array).any():
        raise RequestError(
            f"input {name!r} of sample {number} has NaN in {int(np.isnan(array).sum())} of {array.size} values; "
            "leave such samples out"
        )
    if array.size == 0:
        raise RequestError(f"input {name!r} of sample {number} is empty, of shape {array.shape}")
    return array


def check_fit(samples: Samples, declared: Signature) -> None:
    """Samples are what a file declares it takes. Raises RequestError naming the input that is not."""
    if len(samples.names) != len(declared.inputs):
        takes = ", ".join(spec.name for spec in declared.inputs)
        raise RequestError(f"the samples hold {', '.join(samples.names)}, but the file takes {takes}")
    for name, spec in zip(samples.names, declared.inputs, strict=True):
        if samples.dtypes[name] != spec.dtype and tensors.is_native(spec.dtype):
            raise RequestError(
                f"input {name!r} is {samples.dtypes[name]} in the samples, but the file takes {spec.dtype}; "
                "element types are never cast: convert the samples"
            )
        for number, shape in enumerate(samples.shapes()[name]):
            fixed = zip(shape, spec.shape, strict=False)
            if len(shape) != len(spec.shape) or any(have != n for have, n in fixed if not isinstance(n, Dim)):
                takes = ", ".join(n.name if isinstance(n, Dim) else str(n) for n in spec.shape)
                raise RequestError(
                    f"input {name!r} of sample {number} is of shape {list(shape)}, but the file takes [{takes}]"
                )


def initial_signature(samples: Samples) -> Signature:
    """The signature before any axis is known to be dynamic: the shapes of the first sample."""
    specs = tuple(
        TensorSpec(name, samples.dtypes[name], tuple(array.shape)) for name, array in samples.arrays[0].items()
    )
    return Signature(specs, (), Structure(samples.parameters))


def resize(sample: Arrays, signature: Signature, batch: int) -> dict[str, np.ndarray]:
    """The sample with ``batch`` rows: rows are repeated in turn, or cut; inputs without a batch axis stay.

    >>> import numpy as np
    >>> spec = TensorSpec("x", "float32", (Dim("batch"), 2))
    >>> resize({"x": np.zeros((1, 2))}, Signature((spec,)), 3)["x"].shape
    (3, 2)
    """
    axes = {spec.name: spec.batch_axis for spec in signature.inputs}
    return {name: _take(array, axes.get(name), batch) for name, array in sample.items()}


def _take(array: np.ndarray, axis: int | None, batch: int) -> np.ndarray:
    if axis is None:
        return array
    taken: np.ndarray = np.take(array, np.arange(batch) % array.shape[axis], axis=axis)
    return taken
