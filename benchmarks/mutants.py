"""Ways for a conversion to be wrong, honest ones beside them, and five small networks to try them on.

A plugin for the purpose: a kind of model, one format, and a runner whose option says in which way it is wrong. It
needs numpy alone. `Trial` puts one network through the engine's own steps in this process: the source is understood as
in any run, and `navigator_core.evaluation.evaluate` decides about each candidate.
"""

from __future__ import annotations

import inspect
import itertools
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from navigator_core import (
    FP32,
    Context,
    Dim,
    Exporter,
    Format,
    Framework,
    LoadedModel,
    Precision,
    Ref,
    Runner,
    Signature,
    arrays,
    hookimpl,
    samples,
    shipping,
    type_names,
)
from navigator_core.entrant import Entrant
from navigator_core.evaluation import Evaluated, Evaluation, evaluate
from navigator_core.inspection import Inspection
from navigator_core.loading import Kinds, RunnerUse, Source
from navigator_core.reference import Reference, StoredBatch
from navigator_core.reference import inspect as understand
from navigator_core.results import Tolerance
from navigator_core.verification import Noise

HERE = __name__
Arrays = dict[str, np.ndarray]
Compute = Callable[[Mapping[str, np.ndarray]], Arrays]
EPSILON = 2.0**-23
NOTICEABLE = 20.0
"""Times the source's noise, from which on a mistake must be caught."""

SMALL = 25.0
"""Times the source's noise by which the smallest mistakes here are off."""


# the networks


@frozen(eq=False)
class Net:
    """A network: its family, its weights, and all else that a conversion can get wrong."""

    family: str
    params: Mapping[str, np.ndarray]
    settings: Mapping[str, Any] = MappingProxyType({})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return FAMILIES[self.family].function(self, *args, **kwargs)

    def told(self, name: str, default: Any = None) -> Any:
        return self.settings.get(name, default)


@frozen
class Family:
    """``shapes`` are those of the weights, ``samples`` what it is called with; ``faults`` are settings by mistake."""

    function: Callable[..., Any]
    shapes: Mapping[str, tuple[int, ...]]
    samples: Callable[[np.random.Generator], Sequence[Mapping[str, np.ndarray]]]
    faults: Mapping[str, Mapping[str, Any]]

    def net(self, name: str, seed: int = 0) -> Net:
        rng = np.random.default_rng([seed, *name.encode()])
        return Net(name, {key: _initial(rng, key, shape) for key, shape in self.shapes.items()})


def _initial(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.standard_normal(shape) / math.sqrt(max(1, math.prod(shape[:-1]))) if len(shape) > 1 else None
    if values is None:
        values = rng.random(shape) + 0.5 if name.endswith(("gain", "variance")) else 0.3 * rng.standard_normal(shape)
    return values.astype(np.float32)


def normalized(net: Net, x: np.ndarray, name: str, axis: int = -1) -> np.ndarray:
    axis = net.told("norm axis", axis)
    centred = x - x.mean(axis, keepdims=True)
    variance = (centred * centred).mean(axis, keepdims=True)
    return centred / np.sqrt(variance + net.told("eps", 1e-5)) * net.params[f"{name}.gain"] + net.params[f"{name}.bias"]


def gelu(net: Net, x: np.ndarray) -> np.ndarray:
    if net.told("activation") == "tanh":
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    if net.told("activation") == "none":
        return x
    return x * (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2))) / 2


def softmax(net: Net, x: np.ndarray) -> np.ndarray:
    axis = net.told("softmax axis", -1)
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def dense(net: Net, x: np.ndarray, name: str) -> np.ndarray:
    """Scaled up and down again, as far as half precision does not reach."""
    kind = net.told("compute", x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        large = (x.astype(kind) * kind_of(kind, 3e4)) @ net.params[f"{name}.weight"].astype(kind)
        return (large / kind_of(kind, 3e4)).astype(x.dtype) + net.params[f"{name}.bias"]


def kind_of(dtype: Any, value: float) -> Any:
    return np.dtype(dtype).type(value)


def classifier(net: Net, x: np.ndarray, temperature: np.ndarray) -> dict[str, np.ndarray]:
    """A perceptron with a residual, batch norm and a softmax; ``label`` is the class."""
    hidden = gelu(net, dense(net, normalized(net, x, "norm"), "in"))
    if not net.told("skip"):
        hidden = hidden + gelu(net, dense(net, hidden, "middle"))
    mean, variance = net.params["batch.mean"], net.params["batch.variance"]
    if net.told("training"):
        mean, variance = hidden.mean(0), hidden.var(0)
    hidden = (hidden - mean) / np.sqrt(variance + net.told("eps", 1e-5))
    logits = dense(net, hidden, "out") / temperature
    return {"logits": logits, "probabilities": softmax(net, logits), "label": logits.argmax(-1)}


def convolution(net: Net, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two convolutions with batch norm, a pool between them, and a dense layer on the mean."""
    x = convolved(net, image, "first")
    mean, variance = net.params["batch.mean"], net.params["batch.variance"]
    if net.told("training"):
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    x = (x - mean[:, None, None]) / np.sqrt(variance + net.told("eps", 1e-5))[:, None, None]
    x = x if net.told("activation") == "none" else np.maximum(x, 0)
    tiles = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    x = tiles.mean((3, 5)) if net.told("pool") == "mean" else tiles.max((3, 5))
    features = convolved(net, x, "second")
    pooled = features.mean((2, 3)) if not net.told("skip") else features.max((2, 3))
    return features, dense(net, pooled, "out")


def convolved(net: Net, x: np.ndarray, name: str) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge" if net.told("padding") else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    weight = net.params[f"{name}.weight"]
    if net.told("flipped"):
        weight = weight[..., ::-1, :]
    dtype = net.told("compute", x.dtype)
    found = np.einsum("bihwkl,oikl->bohw", windows.astype(dtype), weight.astype(dtype))
    return found.astype(x.dtype) + net.params[f"{name}.bias"][:, None, None]


def encoder(net: Net, ids: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """One block of a transformer over padded text, and the mean over what is no padding."""
    places = np.arange(ids.shape[1]) + net.told("first place", 0)
    x = net.params["words.weight"][ids] + net.params["places.weight"][places]
    y = normalized(net, x, "before")
    query, key, value = (dense(net, y, name) for name in ("query", "key", "value"))
    width = 1.0 if net.told("unscaled") else math.sqrt(query.shape[-1])
    scores = query @ key.swapaxes(-1, -2) / kind_of(x.dtype, width)
    seen = np.broadcast_to(mask[:, None, :] != 0, scores.shape)
    if net.told("unmasked"):
        seen = np.ones_like(seen)
    if net.told("causal"):
        seen = seen & np.tri(ids.shape[1], dtype=bool)
    x = x + softmax(net, np.where(seen, scores, kind_of(x.dtype, -1e9))) @ value
    if not net.told("skip"):
        x = x + dense(net, gelu(net, dense(net, normalized(net, x, "after"), "up")), "down")
    count = mask.sum(1, keepdims=True).astype(x.dtype)
    return {"hidden": x, "pooled": (x * mask[..., None].astype(x.dtype)).sum(1) / count}


def recurrent(net: Net, x: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A gated recurrent unit, time first; every state and the last one."""
    if net.told("stateless"):
        state = np.zeros_like(state)
    states = []
    for row in x[::-1] if net.told("reversed") else x:
        gates = dense(net, row, "input") + dense(net, state, "state")
        update, reset = 1 / (1 + np.exp(-gates[:, :24])), 1 / (1 + np.exp(-gates[:, 24:48]))
        if net.told("gates"):
            update, reset = reset, update
        new = np.tanh(gates[:, 48:] * reset)
        if net.told("activation") == "none":
            new = gates[:, 48:] * reset
        state = update * state + (1 - update) * new
        states.append(state)
    return np.stack(states), state


def detector(net: Net, points: np.ndarray, valid: np.ndarray) -> dict[str, Any]:
    """Boxes in order of their scores: scores that are -inf, boxes that are NaN where nothing is, ids and flags."""
    boxes = dense(net, np.tanh(dense(net, points, "in")), "out")
    scores = np.where(valid, (boxes * net.params["score.weight"][:, 0]).sum(-1), -np.inf).astype(boxes.dtype)
    order = np.argsort(-scores if not net.told("ascending") else scores, -1, kind="stable")
    boxes = np.where(valid[..., None], boxes, np.nan).astype(boxes.dtype)
    boxes, scores = np.take_along_axis(boxes, order[..., None], 1), np.take_along_axis(scores, order, 1)
    bound = kind_of(scores.dtype, net.told("threshold", 0.0))
    return {"boxes": boxes, "scores": scores, "ids": order, "keep": scores > bound}


def _texts(rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    found = []
    for rows, length in ((2, 9), (3, 5), (2, 12), *((1, 7),) * 8):
        mask = np.ones((rows, length), np.int64)
        mask[-1, length - 2 :] = 0 if rows > 1 else 1
        found.append({"ids": rng.integers(1, 200, (rows, length)), "mask": mask})
    return found


def _boxes(rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    return [
        {"points": rng.standard_normal((rows, 7, 6)).astype(np.float32), "valid": rng.random((rows, 7)) > 0.2}
        for rows in (2, 3, *(1,) * 9)
    ]


ANY = {
    "activation dropped": {"activation": "none"},
    "computed in half precision": {"compute": np.float16},
}
NORM = {
    "an epsilon of 1e-6 for 1e-5": {"eps": 1e-6},
    "an epsilon of 1e-3 for 1e-5": {"eps": 1e-3},
    "another axis normalized": {"norm axis": 1},
}
FAMILIES: dict[str, Family] = {
    "classifier": Family(
        classifier,
        {
            "norm.gain": (16,), "norm.bias": (16,), "in.weight": (16, 24), "in.bias": (24,),
            "middle.weight": (24, 24), "middle.bias": (24,), "batch.mean": (24,), "batch.variance": (24,),
            "out.weight": (24, 10), "out.bias": (10,),
        },
        lambda rng: [
            {"x": rng.standard_normal((rows, 16)).astype(np.float32), "temperature": np.float32(1 + rows / 4)}
            for rows in (2, 4, *(1,) * 9)
        ],
        {
            **ANY,
            **NORM,
            "another axis normalized": {"norm axis": 0},
            "tanh for the exact GELU": {"activation": "tanh"},
            "softmax over another axis": {"softmax axis": 0},
            "batch norm in training": {"training": True},
            "a layer skipped": {"skip": True},
        },
    ),
    "convolution": Family(
        convolution,
        {
            "first.weight": (8, 3, 3, 3), "first.bias": (8,), "batch.mean": (8,), "batch.variance": (8,),
            "second.weight": (8, 8, 3, 3), "second.bias": (8,), "out.weight": (8, 8), "out.bias": (8,),
        },
        lambda rng: [{"image": rng.random((rows, 3, 8, 8), "float32")} for rows in (2, 3, *(1,) * 9)],
        {
            **ANY,
            "an epsilon of 1e-6 for 1e-5": {"eps": 1e-6},
            "an epsilon of 1e-3 for 1e-5": {"eps": 1e-3},
            "batch norm in training": {"training": True},
            "a mean pool for a maximum pool": {"pool": "mean"},
            "edges padded by themselves": {"padding": True},
            "kernels turned over": {"flipped": True},
            "maximum for the mean at the end": {"skip": True},
        },
    ),
    "encoder": Family(
        encoder,
        {
            "words.weight": (200, 16), "places.weight": (16, 16), "before.gain": (16,), "before.bias": (16,),
            "query.weight": (16, 16), "query.bias": (16,), "key.weight": (16, 16), "key.bias": (16,),
            "value.weight": (16, 16), "value.bias": (16,), "after.gain": (16,), "after.bias": (16,),
            "up.weight": (16, 48), "up.bias": (48,), "down.weight": (48, 16), "down.bias": (16,),
        },
        _texts,
        {
            **ANY,
            **NORM,
            "tanh for the exact GELU": {"activation": "tanh"},
            "softmax over another axis": {"softmax axis": -2},
            "attention without its scale": {"unscaled": True},
            "padding attended to": {"unmasked": True},
            "attention made causal": {"causal": True},
            "positions off by one": {"first place": 1},
            "a layer skipped": {"skip": True},
        },
    ),
    "recurrent": Family(
        recurrent,
        {"input.weight": (6, 72), "input.bias": (72,), "state.weight": (24, 72), "state.bias": (72,)},
        lambda rng: [
            {
                "x": rng.standard_normal((time, rows, 6)).astype(np.float32),
                "state": rng.standard_normal((rows, 24)).astype(np.float32),
            }
            for time, rows in ((6, 2), (9, 3), (4, 2), *((7, 1),) * 8)
        ],
        {
            **ANY,
            "the state that is passed in ignored": {"stateless": True},
            "time turned round": {"reversed": True},
            "two gates mixed up": {"gates": True},
        },
    ),
    "detector": Family(
        detector,
        {
            "in.weight": (6, 6), "in.bias": (6,), "out.weight": (6, 6), "out.bias": (6,), "score.weight": (6, 6),
        },
        _boxes,
        {
            "computed in half precision": {"compute": np.float16},
            "sorted the other way": {"ascending": True},
            "another threshold": {"threshold": 0.5},
        },
    ),
}  # fmt: skip


# mistakes in weights, of any network


@frozen
class Weights:
    """What a mistake in weights may use: those of the network, and those of another checkpoint."""

    own: Arrays
    other: Arrays

    def named(self, *endings: str) -> list[str]:
        return [name for name in self.own if name.endswith(endings)]

    def square(self) -> list[str]:
        return [name for name, value in self.own.items() if value.ndim >= 2 and value.shape[0] == value.shape[1]]

    def matrices(self) -> list[str]:
        """The largest first."""
        found = [name for name, value in self.own.items() if value.ndim >= 2]
        return sorted(found, key=lambda name: -self.own[name].size)

    def alike(self, names: Sequence[str]) -> tuple[str, str] | None:
        """Two of one shape."""
        pairs = itertools.combinations(names, 2)
        return next(((a, b) for a, b in pairs if self.own[a].shape == self.own[b].shape), None)

    def with_(self, **changed: np.ndarray) -> Arrays:
        return {**self.own, **{name.replace("__", "."): value for name, value in changed.items()}}


def _one(weights: Weights, names: Sequence[str], change: Callable[[np.ndarray], np.ndarray]) -> Arrays | None:
    """The weights with the first of these changed; None where there is none."""
    return {**weights.own, names[0]: change(weights.own[names[0]].copy())} if names else None


def _swapped(weights: Weights, names: Sequence[str]) -> Arrays | None:
    pair = weights.alike(names)
    if pair is None:
        return None
    a, b = pair
    return {**weights.own, a: weights.own[b], b: weights.own[a]}


def _bfloat16(value: np.ndarray) -> np.ndarray:
    bits = value.astype(np.float32).view(np.uint32)
    return ((bits + 0x8000) & np.uint32(0xFFFF0000)).view(np.float32)


def _int8(value: np.ndarray, reach: float) -> np.ndarray:
    """Rounded to 255 steps between minus and plus ``reach`` times the largest; what is beyond is saturated."""
    step = np.abs(value).max() * reach / 127
    return (np.clip(np.round(value / step), -127, 127) * step).astype(value.dtype) if step else value


def _first_element(value: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray:
    value.flat[np.abs(value).argmax()] = change(value.flat[np.abs(value).argmax()])
    return value


def _zero_row(value: np.ndarray) -> np.ndarray:
    value[np.abs(value).reshape(len(value), -1).sum(1).argmax()] = 0
    return value


WEIGHTS: dict[str, Callable[[Weights], Arrays | None]] = {
    "a square weight transposed": lambda w: _one(w, w.square(), lambda v: v.swapaxes(0, 1).copy()),
    "a bias dropped": lambda w: _one(w, w.named("bias"), np.zeros_like),
    "two biases swapped": lambda w: _swapped(w, w.named("bias")),
    "two weights swapped": lambda w: _swapped(w, w.matrices()),
    "weights of another checkpoint": lambda w: dict(w.other),
    "one weight of another checkpoint": lambda w: {**w.own, w.matrices()[0]: w.other[w.matrices()[0]]},
    "weights in fp16": lambda w: {n: v.astype(np.float16).astype(v.dtype) for n, v in w.own.items()},
    "weights in bf16": lambda w: {n: _bfloat16(v).astype(v.dtype) for n, v in w.own.items()},
    "weights in int8": lambda w: {n: _int8(v, 1.0) if v.ndim > 1 else v for n, v in w.own.items()},
    "weights in int8, saturated": lambda w: {n: _int8(v, 0.3) if v.ndim > 1 else v for n, v in w.own.items()},
    "a weight's largest element negated": lambda w: _one(w, w.matrices(), lambda v: _first_element(v, lambda x: -x)),
    "a weight's largest element off by 1e-3": lambda w: _one(
        w, w.matrices(), lambda v: _first_element(v, lambda x: x * 1.001)
    ),
    "a row of a weight zeroed": lambda w: _one(w, w.matrices(), _zero_row),
    "a weight rolled by one": lambda w: _one(w, w.matrices(), lambda v: np.roll(v, 1, 0)),
}


# mistakes around a call, of any network


@frozen
class Facts:
    """What a mistake around a call may know: the signature, the example that the model was exported with, a rare one.

    ``noise`` is the source's own error at its largest, by output.
    """

    signature: Signature
    example: Arrays
    rare: Arrays
    noise: Mapping[str, float]

    def rows(self, inputs: Mapping[str, np.ndarray]) -> int:
        axes = ((spec.name, spec.batch_axis) for spec in self.signature.inputs)
        return next((inputs[name].shape[axis] for name, axis in axes if axis is not None), 1)

    def first_input(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Row by row, what goes into the first input that has rows."""
        name, axis = next((spec.name, axis) for spec in self.signature.inputs if (axis := spec.batch_axis) is not None)
        return np.ascontiguousarray(np.moveaxis(inputs[name], axis, 0))

    def axis(self, output: str) -> int | None:
        return next(spec.batch_axis for spec in self.signature.outputs if spec.name == output)

    def each_row(self, outputs: Mapping[str, np.ndarray], change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
        """Every output that has rows, changed with these as its first axis."""
        found = dict(outputs)
        for name, value in outputs.items():
            axis = self.axis(name)
            if axis is not None:
                found[name] = np.moveaxis(change(np.moveaxis(value, axis, 0).copy()), 0, axis)
        return found


def _floats(outputs: Mapping[str, np.ndarray], change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    return {name: change(value) if value.dtype.kind == "f" else value for name, value in outputs.items()}


def outputs_swapped(call: Compute, facts: Facts) -> Compute | None:
    pairs = itertools.combinations(facts.signature.outputs, 2)
    pair = next(((a.name, b.name) for a, b in pairs if (a.dtype, len(a.shape)) == (b.dtype, len(b.shape))), None)
    if pair is None:
        return None

    def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
        found = call(inputs)
        return {**found, pair[0]: found[pair[1]], pair[1]: found[pair[0]]}

    return wrong


def after(change: Callable[[Arrays, Mapping[str, np.ndarray], Facts], Arrays]) -> Callable[[Compute, Facts], Compute]:
    """A mistake that is a function of the right outputs and the inputs."""
    return lambda call, facts: lambda inputs: change(call(inputs), inputs, facts)


def counted(change: Callable[[Arrays, int], Arrays]) -> Callable[[Compute, Facts], Compute]:
    """A mistake that depends on how many calls there were."""

    def make(call: Compute, facts: Facts) -> Compute:
        calls = itertools.count(1)
        return lambda inputs: change(call(inputs), next(calls))

    return make


def _shapes(inputs: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
    return tuple(value.shape for value in inputs.values())


def previous_result(call: Compute, facts: Facts) -> Compute:
    """The result of a call comes with the next one of the same shapes, as with a buffer read too early."""
    last: dict[Any, Arrays] = {}

    def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
        found, key = call(inputs), _shapes(inputs)
        before, last[key] = last.get(key, found), found
        return before

    return wrong


def first_result(call: Compute, facts: Facts) -> Compute:
    """One result for each set of shapes, as with a graph that was captured with its inputs."""
    known: dict[Any, Arrays] = {}
    return lambda inputs: known.setdefault(_shapes(inputs), call(inputs))


def state_kept(call: Compute, facts: Facts) -> Compute:
    """A little of the last outputs stays in the next ones of the same shape."""
    last: dict[Any, Arrays] = {}

    def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
        found, key = call(inputs), _shapes(inputs)
        before = last.get(key)
        if before is not None:
            found = {n: v + np.nan_to_num(before[n] * v.dtype.type(1e-3)) if v.dtype.kind == "f" else v
                     for n, v in found.items()}  # fmt: skip
        last[key] = found
        return found

    return wrong


def batch_folded(call: Compute, facts: Facts) -> Compute | None:
    """As many rows as the example had, whatever comes: the others are cut off, or the first ones again."""
    if facts.rows(facts.example) < 2:
        return None
    count = facts.rows(facts.example)

    def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
        rows = facts.rows(inputs)
        return facts.each_row(call(inputs), lambda v: v[np.arange(rows) % min(count, rows)])

    return wrong


def one_row_at_a_time(call: Compute, facts: Facts) -> Compute:
    """Only the first row is computed; the others come out as it does."""
    return lambda inputs: facts.each_row(call(inputs), lambda v: np.repeat(v[:1], len(v), 0))


def axis_frozen(call: Compute, facts: Facts) -> Compute | None:
    """An axis that should be dynamic has the example's length: what is beyond it is zero."""
    dynamic = [
        (spec.name, axis)
        for spec in facts.signature.outputs
        for axis, n in enumerate(spec.shape)
        if not isinstance(n, int) and axis != spec.batch_axis
    ]
    if not dynamic:
        return None
    lengths = {name: call(facts.example)[name].shape[axis] for name, axis in dynamic}

    def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
        found = call(inputs)
        for name, axis in dynamic:
            value = np.moveaxis(found[name].copy(), axis, 0)
            value[lengths[name] :] = 0
            found[name] = np.moveaxis(value, 0, axis)
        return found

    return wrong


def input_folded(call: Compute, facts: Facts) -> Compute | None:
    """The last of several inputs is a constant: the example's, as far as it fits."""
    names = [spec.name for spec in facts.signature.inputs]
    if len(names) < 2:
        return None

    def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
        constant, value = facts.example[names[-1]], inputs[names[-1]]
        fits = np.resize(constant, value.shape).astype(value.dtype)
        return call({**inputs, names[-1]: fits})

    return wrong


def narrowed(call: Compute, facts: Facts) -> Compute:
    """Inputs go through narrower types: int8 for integers, half precision for numbers."""

    def narrow(value: np.ndarray) -> np.ndarray:
        kinds = {"i": np.int8, "f": np.float16}
        return value.astype(kinds[value.dtype.kind]).astype(value.dtype) if value.dtype.kind in kinds else value

    return lambda inputs: call({name: narrow(value) for name, value in inputs.items()})


def rare(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Compute, Facts], Compute]:
    """A mistake on one input in many: on rows as in the last sample."""

    def make(call: Compute, facts: Facts) -> Compute:
        def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
            found = call(inputs)
            rows = {row.tobytes() for row in facts.first_input(facts.rare)}
            chosen = np.array([row.tobytes() in rows for row in facts.first_input(inputs)])

            def marked(value: np.ndarray) -> np.ndarray:
                value[chosen] = change(value[chosen])
                return value

            return facts.each_row(found, lambda v: marked(v) if v.dtype.kind == "f" else v)

        return wrong

    return make


def _leak(share: float) -> Callable[[np.ndarray], np.ndarray]:
    def mixed(value: np.ndarray) -> np.ndarray:
        if value.dtype.kind != "f":
            return value
        with np.errstate(invalid="ignore"):
            return (value + np.nan_to_num(np.roll(value, 1, 0) * share, posinf=0, neginf=0)).astype(value.dtype)

    return lambda value: mixed(value) if len(value) > 1 else value


def _spoil(value: np.ndarray, where: Any, change: Callable[[Any], Any]) -> np.ndarray:
    """One element changed."""
    value = value.copy()
    if value.size:
        value.flat[where] = change(value.flat[where])
    return value


def _last_row(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind == "f" and len(value) > 2:
        value[-1] = value[-1] * value.dtype.type(1.001)
    return value


def _kind(kind: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Compute, Facts], Compute | None]:
    """A mistake in every output of a kind of number; None where there is none."""

    def make(call: Compute, facts: Facts) -> Compute | None:
        names = [spec.name for spec in facts.signature.outputs if np.dtype(spec.dtype).kind in kind]
        if not names:
            return None
        return lambda inputs: {n: change(v) if n in names else v for n, v in call(inputs).items()}

    return make


def special(call: Compute, facts: Facts) -> Compute | None:
    """Numbers in place of NaN and infinity; None where the model has neither."""
    if all(np.isfinite(value).all() for value in call(facts.example).values() if value.dtype.kind == "f"):
        return None
    return lambda inputs: _floats(call(inputs), lambda v: np.nan_to_num(v).astype(v.dtype))


def _noisy(call: Compute, facts: Facts) -> Compute:
    rng = np.random.default_rng(0)
    return lambda inputs: _floats(
        call(inputs), lambda v: (v * (1 + 1e-3 * rng.standard_normal(v.shape))).astype(v.dtype)
    )


def slightly(
    where: Callable[[Arrays, np.ndarray, int, Facts], np.ndarray | bool],
) -> Callable[[Compute, Facts], Compute]:
    """The smallest mistakes: `SMALL` times the noise, where this says.

    It is asked with the inputs, an output with its rows first, and how many calls there were.
    """

    def make(call: Compute, facts: Facts) -> Compute:
        calls = itertools.count(1)

        def wrong(inputs: Mapping[str, np.ndarray]) -> Arrays:
            found, number = call(inputs), next(calls)
            for name, value in found.items():
                if value.dtype.kind == "f":
                    axis = facts.axis(name) or 0
                    rows = np.moveaxis(value, axis, 0).copy()
                    chosen = np.broadcast_to(where(dict(inputs), rows, number, facts), rows.shape)
                    rows = np.where(chosen, rows + rows.dtype.type(SMALL * facts.noise[name]), rows)
                    found[name] = np.moveaxis(rows, 0, axis)
            return found

        return wrong

    return make


def _row(number: int) -> Callable[[Arrays, np.ndarray, int, Facts], np.ndarray]:
    def chosen(inputs: Arrays, value: np.ndarray, calls: int, facts: Facts) -> np.ndarray:
        places = np.zeros(value.shape, bool)
        if len(value) > 1:
            places[number] = True
        return places

    return chosen


def _largest(inputs: Arrays, value: np.ndarray, calls: int, facts: Facts) -> np.ndarray:
    places = np.zeros(value.shape, bool)
    places.flat[np.nan_to_num(value, posinf=0, neginf=0).argmax()] = True
    return places


def _rarely(inputs: Arrays, value: np.ndarray, calls: int, facts: Facts) -> np.ndarray:
    rows = {row.tobytes() for row in facts.first_input(facts.rare)}
    chosen = np.array([row.tobytes() in rows for row in facts.first_input(inputs)])
    return chosen.reshape(-1, *(1,) * (value.ndim - 1)) if len(value) == len(chosen) else np.asarray(chosen.any())


def _longest(inputs: Arrays, value: np.ndarray, calls: int, facts: Facts) -> bool:
    """Where a dynamic axis is at its end."""
    lengths = [(facts.signature.inputs[i].shape, v.shape) for i, v in enumerate(inputs.values())]
    dims = [(n, size) for shape, sizes in lengths for n, size in zip(shape, sizes, strict=True) if isinstance(n, Dim)]
    return any(n.name != "batch" and size == n.max for n, size in dims)


SLIGHT: dict[str, Callable[[Compute, Facts], Compute]] = {
    "slightly off everywhere": slightly(lambda x, v, n, f: True),
    "slightly off in one element": slightly(_largest),
    "slightly off in the first of several rows": slightly(_row(0)),
    "slightly off in the last of several rows": slightly(_row(-1)),
    "slightly off at even batches": slightly(lambda x, v, n, f: f.rows(x) % 2 == 0),
    "slightly off on rare inputs": slightly(_rarely),
    "slightly off at the end of a dynamic axis": slightly(_longest),
    "slightly off from the sixth call on": slightly(lambda x, v, n, f: n > 5),
    "slightly off in every third call": slightly(lambda x, v, n, f: n % 3 == 0),
}

CALLS: dict[str, Callable[[Compute, Facts], Compute | None]] = {
    **SLIGHT,
    "two outputs swapped": outputs_swapped,
    "an output missing": after(lambda y, x, f: dict(list(y.items())[1:])),
    "an output without its batch axis at batch 1": after(
        lambda y, x, f: {n: v.squeeze(f.axis(n)) if f.axis(n) is not None and f.rows(x) == 1 else v
                         for n, v in y.items()}
    ),
    "floats come as integers": after(lambda y, x, f: _floats(y, lambda v: np.nan_to_num(v).astype(np.int64))),
    "rows off by one": after(lambda y, x, f: f.each_row(y, lambda v: np.roll(v, 1, 0))),
    "rows in the opposite order": after(lambda y, x, f: f.each_row(y, lambda v: v[::-1])),
    "a neighbour's row leaks in by 1e-2": after(lambda y, x, f: f.each_row(y, _leak(1e-2))),
    "a neighbour's row leaks in by 1e-5": after(lambda y, x, f: f.each_row(y, _leak(1e-5))),
    "only batch 1 is right": after(
        lambda y, x, f: f.each_row(y, lambda v: np.concatenate([v[:1], np.zeros_like(v[1:])]))
    ),
    "only the first row is computed": one_row_at_a_time,
    "the last of three rows is off": after(lambda y, x, f: f.each_row(y, _last_row)),
    "wrong at even batches": after(
        lambda y, x, f: _floats(y, lambda v: v * v.dtype.type(1.0 if f.rows(x) % 2 else 1.001))
    ),
    "the batch is folded in": batch_folded,
    "a dynamic axis is frozen": axis_frozen,
    "an input is folded in": input_folded,
    "inputs go through narrower types": narrowed,
    "the result of the call before": previous_result,
    "the first result for ever": first_result,
    "state kept between calls": state_kept,
    "every call drifts by 1e-5": counted(lambda y, n: _floats(y, lambda v: v * v.dtype.type(1 + 1e-5 * n))),
    "every third call is off": counted(lambda y, n: _floats(y, lambda v: v * v.dtype.type(1 if n % 3 else 1.001))),
    "right for the first five calls": counted(lambda y, n: _floats(y, lambda v: v * v.dtype.type(1.001 ** (n > 5)))),
    "NaN on rare inputs": rare(lambda v: np.full_like(v, np.nan)),
    "zeros on rare inputs": rare(np.zeros_like),
    "rare inputs off by 1e-3": rare(lambda v: v * v.dtype.type(1.001)),
    "dropout left on": _noisy,
    "one element off by 1e-3": after(lambda y, x, f: _floats(y, lambda v: _spoil(v, -1, lambda e: e * 1.001 + 1e-3))),
    "rounded to three digits": after(lambda y, x, f: _floats(y, lambda v: np.round(v, 3))),
    "clipped to one": after(lambda y, x, f: _floats(y, lambda v: np.clip(v, -1, 1))),
    "off by a constant of 1e-4": after(lambda y, x, f: _floats(y, lambda v: v + v.dtype.type(1e-4))),
    "NaN and infinity replaced": special,
    "an integer off by one": _kind("iu", lambda v: _spoil(v, 0, lambda e: e + 1)),
    "a flag the other way": _kind("b", lambda v: _spoil(v, 0, lambda e: not e)),
}  # fmt: skip


# honest conversions, of any network


def one_buffer(call: Compute, facts: Facts) -> Compute:
    """The same memory for the outputs of every call."""
    buffers: dict[Any, np.ndarray] = {}

    def right(inputs: Mapping[str, np.ndarray]) -> Arrays:
        found = call(inputs)
        for name, value in found.items():
            buffer = buffers.setdefault((name, value.shape), np.empty_like(value))
            buffer[...] = value
            found[name] = buffer
        return found

    return right


def inputs_used_up(call: Compute, facts: Facts) -> Compute:
    """The inputs' memory is written to after they were read."""

    def right(inputs: Mapping[str, np.ndarray]) -> Arrays:
        found = {name: value.copy() for name, value in call(inputs).items()}
        for value in inputs.values():
            if value.flags.writeable and value.ndim:
                value[...] = 0
        return found

    return right


def row_by_row(call: Compute, facts: Facts) -> Compute:
    """Each row by itself: other shapes, and sums in another order."""

    def right(inputs: Mapping[str, np.ndarray]) -> Arrays:
        axes = {spec.name: spec.batch_axis for spec in facts.signature.inputs}
        rows = [
            call({n: v if (axis := axes[n]) is None else np.take(v, [row], axis) for n, v in inputs.items()})
            for row in range(facts.rows(inputs))
        ]
        return {
            n: v if (axis := facts.axis(n)) is None else np.concatenate([row[n] for row in rows], axis)
            for n, v in rows[0].items()
        }

    return right


def permuted(weights: Weights) -> Arrays:
    """The same weights in another memory layout, which BLAS sums in another order."""
    return {name: np.asfortranarray(value) for name, value in weights.own.items()}


HONEST_WEIGHTS: dict[str, Callable[[Weights], Arrays | None]] = {
    "as it is": lambda w: dict(w.own),
    "weights in another order of memory": permuted,
    "computed in fp64": lambda w: {name: value.astype(np.float64) for name, value in w.own.items()},
}
HONEST_CALLS: dict[str, Callable[[Compute, Facts], Compute | None]] = {
    "row by row": row_by_row,
    "outputs in one buffer": one_buffer,
    "inputs used up": inputs_used_up,
    "outputs in another order": lambda call, facts: lambda inputs: dict(reversed(call(inputs).items())),
    "integers in 32 bits": _kind("i", lambda v: v.astype(np.int32)),
    "floats come in 64 bits": _kind("f", lambda v: v.astype(np.float64)),
}


# the plugin


@frozen
class Way:
    """The runner's options: the name of a mistake, or of an honest way, and what `Facts` needs beside the context."""

    way: str = "as it is"
    noise: Mapping[str, float] = field(factory=dict)
    rare: str = ""

    def facts(self, context: Context) -> Facts:
        example = dict(context.samples[0])
        return Facts(context.signature, example, arrays.load(Path(self.rare)) if self.rare else example, self.noise)


@hookimpl
def identify_model(model: Any) -> str | None:
    return "net" if f"{HERE}.Net" in type_names(model) else None


@hookimpl
def declare_formats() -> list[Format | Framework]:
    return [Framework(name="net", source=Ref(HERE), reference="net-eager"), Format(name="net-file", file="net.pkl")]


@hookimpl
def declare_exporters() -> list[Exporter]:
    return [Exporter(source="net", target="net-file", implementation=Ref(f"{HERE}:export"))]


@hookimpl
def declare_runners() -> list[Runner]:
    return [
        Runner(name="net-eager", formats=("net",), implementation=Ref(f"{HERE}:eager")),
        Runner(name="net-runtime", formats=("net-file",), implementation=Ref(f"{HERE}:load"), options=Way),
    ]


def parameters(model: Net) -> inspect.Signature:
    return inspect.signature(partial(FAMILIES[model.family].function, model))


def fingerprint(model: Net) -> None:
    return None


def truth(model: Net) -> Net:
    return evolve(model, params={name: value.astype(np.float64) for name, value in model.params.items()})


def export(model: Net, output: Path, options: None, context: Context) -> None:
    output.write_bytes(pickle.dumps((model.family, dict(model.params))))


def eager(model: Net, options: None, context: Context) -> LoadedModel:
    return LoadedModel(partial(_call, model, context.signature))


def load(source: Path, options: Way, context: Context) -> LoadedModel:
    """A network that is wrong in one way, or honest."""
    family, params = pickle.loads(source.read_bytes())
    call = wrong(family, params, options.way, options.facts(context))
    if call is None:
        raise LookupError(f"{family} cannot be wrong in this way: {options.way}")
    return LoadedModel(call)


def given(family: str) -> Sequence[Arrays]:
    return [dict(sample) for sample in FAMILIES[family].samples(np.random.default_rng(7))]


def wrong(family: str, params: Arrays, way: str, facts: Facts) -> Compute | None:
    """The call of a network converted in this way; None where the family has nothing that could be done so to."""
    net = Net(family, params)
    if way in FAMILIES[family].faults:
        return partial(_call, evolve(net, settings=FAMILIES[family].faults[way]), facts.signature)
    weights = {**WEIGHTS, **HONEST_WEIGHTS}
    if way in weights:
        changed = weights[way](Weights(params, dict(FAMILIES[family].net(family, seed=1).params)))
        return None if changed is None else partial(_call, evolve(net, params=changed), facts.signature)
    return {**CALLS, **HONEST_CALLS}[way](partial(_call, net, facts.signature), facts)


def _call(net: Net, signature: Signature, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Outputs of the source's own type, whatever they were computed in."""
    kinds = {spec.name: spec.dtype for spec in signature.outputs}
    found = signature.call(net, inputs)
    wide = any(value.dtype == np.float64 for value in net.params.values())
    mixed = wide and not any(value.dtype == np.float64 for value in inputs.values())
    return {name: value.astype(kinds[name]) if mixed and name in kinds else value for name, value in found.items()}


# the trial


@frozen(kw_only=True)
class Found:
    """What came of one way: its ``effect`` on the samples in units of the source's noise, and the engine's word."""

    family: str
    way: str
    honest: bool
    effect: float
    reason: str | None

    @property
    def caught(self) -> bool:
        return self.reason is not None

    @property
    def mistaken(self) -> bool:
        """Whether the engine let a noticeable mistake pass, or refused what is honest."""
        return self.caught if self.honest else not self.caught and self.effect > NOTICEABLE


@frozen(kw_only=True)
class Trial:
    """A source, understood once, and what makes a candidate of it in each way.

    ``candidate`` is the source's folder or file for the candidate's runner ``use``.
    """

    family: str
    reference: Reference
    folder: Path
    candidate: Source
    implementation: Ref
    make: Callable[[str, Facts], Compute | None]
    faults: tuple[str, ...] = ()
    kinds: Kinds = field(factory=lambda: Kinds(declared=()))
    tolerance: Mapping[str, Tolerance] = field(factory=dict)
    verify: Path | None = None
    precision: Precision = FP32

    def ways(self) -> Iterator[tuple[str, bool]]:
        """The names of all ways that the family can be converted in, and whether they are honest."""
        for way in (*self.faults, *WEIGHTS, *CALLS, *HONEST_WEIGHTS, *HONEST_CALLS):
            if self.make(way, self.facts()) is not None:
                yield way, way in {**HONEST_WEIGHTS, **HONEST_CALLS}

    def facts(self) -> Facts:
        first = self.reference.batches[0]
        noise = {n: max(one.max_absolute, EPSILON * one.scale) for n, one in self.reference.noise.items()}
        return Facts(self.reference.signature, first.inputs(self.folder), self._given()[-1].inputs(self.folder), noise)

    def _given(self) -> list[StoredBatch]:
        return [batch for batch in self.reference.batches if batch.name.startswith("sample ")]

    def of(self, way: str, honest: bool) -> Found:
        told = self.evaluated(way)
        return Found(family=self.family, way=way, honest=honest, effect=self.effect(way), reason=told.reason)

    def evaluated(self, way: str) -> Evaluated:
        """The engine's word on a candidate."""
        rare = self.folder / self._given()[-1].folder / "inputs.npz"
        use = RunnerUse(
            name="wrong", implementation=self.implementation, options_type=Ref(f"{HERE}:Way"), tensors="numpy",
            options={"way": way, "noise": dict(self.facts().noise), "rare": str(rare)},
        )  # fmt: skip
        entrant = Entrant(
            source=self.candidate, runner=use, kinds=self.kinds, reference=self.reference,
            reference_folder=self.folder, precision=self.precision,
        )  # fmt: skip
        asked = Evaluation(entrant=entrant, tolerance=self.tolerance, verify=self.verify, seconds=0.0)
        try:
            with np.errstate(all="ignore"):  # what overflows is meant to
                return evaluate(asked, self.folder, lambda message: None)
        except Exception as error:
            return Evaluated(verdict=None, reason=f"raised {type(error).__name__}: {error}", failed=True)

    def effect(self, way: str) -> float:
        """How far a candidate is off the truth on the samples and their single rows, in units of the noise.

        In one process, in order, each once. The noise counts as at least half a unit in the last place. Infinite for
        what no number describes.
        """
        call = self.make(way, self.facts())
        assert call is not None
        return max((self._effect(call, *one) for one in self._samples()), default=0.0)

    def _samples(self) -> Iterator[tuple[Arrays, Arrays, Arrays]]:
        """Inputs, what the source answers and the truth: the samples and the batches of one row."""
        for batch in self.reference.batches:
            if batch.name.startswith(("sample ", "batch 1 ")) or batch.name == "batch 1":
                yield batch.inputs(self.folder), batch.reference(self.folder), batch.truth(self.folder)

    def _effect(self, call: Compute, inputs: Arrays, source: Arrays, true: Arrays) -> float:
        try:
            with np.errstate(all="ignore"):
                outputs = {n: v.copy() for n, v in call({n: v.copy() for n, v in inputs.items()}).items()}
        except Exception:
            return math.inf
        if set(outputs) != set(source):
            return math.inf
        return max(_off(outputs[n], source[n], true[n], self.reference.noise[n]) for n in source)


def _off(found: np.ndarray, source: np.ndarray, true: np.ndarray, noise: Noise) -> float:
    if found.shape != source.shape or found.dtype.kind != source.dtype.kind:
        return math.inf
    if source.dtype.kind != "f":
        return 0.0 if np.array_equal(found, source) else math.inf
    inside = np.isfinite(source)
    if not np.array_equal(np.isfinite(found), inside) or not np.array_equal(found[~inside], source[~inside], True):
        return math.inf
    error = np.abs(found[inside].astype(np.float64) - true[inside].astype(np.float64))
    if not error.size:
        return 0.0
    whole = math.sqrt(float((error**2).mean())) / noise.rms / max(noise.relative_l2, EPSILON)
    worst = float(error.max()) / max(noise.max_absolute, EPSILON * noise.scale)
    return max(whole, worst)


def trial(family: str, folder: Path, masks: Mapping[str, str] = MappingProxyType({})) -> Trial:
    """One of the families here, understood by the engine."""
    net = FAMILIES[family].net(family)
    _, inspection = prepared(net, given(family), Ref(HERE), Ref(f"{HERE}:eager"), "net", folder)
    reference = understand(evolve(inspection, masks=masks), folder, lambda message: None)
    artifact = folder / "net.pkl"
    export(net, artifact, None, Context(signature=reference.signature))
    return Trial(
        family=family,
        reference=reference,
        folder=folder,
        candidate=Source(format="net-file", path=artifact),
        implementation=Ref(f"{HERE}:load"),
        make=partial(wrong, family, dict(net.params)),
        faults=tuple(FAMILIES[family].faults),
    )


def prepared(
    model: Any, given: Sequence[Mapping[str, Any]], framework: Ref, runner: Ref, name: str, folder: Path,
    kinds: Kinds | None = None,
) -> tuple[Source, Inspection]:  # fmt: skip
    """A live model and its samples where the engine's steps find them in this process."""
    module = framework.resolve()
    calls, _ = samples.read(list(given))
    accepted, rest = samples.parameters_of(module.parameters(model))
    found = samples.gather(calls, accepted, rest, None)
    paths = tuple(folder / f"sample-{number}.npz" for number in range(len(found.arrays)))
    for path, sample in zip(paths, found.arrays, strict=True):
        arrays.save(path, sample)
    source = Source(format=name, path=folder / "source", framework=framework)
    shipping.keep(source.path, model, found.parameters)
    use = RunnerUse(
        name=f"{name}-eager", implementation=runner, options_type=None, options=None, tensors=None, passed=found.kind
    )
    return source, Inspection(
        source=source, runner=use, kinds=kinds or Kinds(declared=()), samples=paths, dtypes=found.dtypes,
        batch_sizes=(1, 2),
    )  # fmt: skip
