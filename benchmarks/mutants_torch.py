"""The mistakes of `mutants` in networks of torch, and honest architectures that every path must get right."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mutants
import numpy as np
import torch
from mutants import Compute, Facts, Trial, Weights
from torch import Tensor, nn

from navigator_core import Context, LoadedModel, Ref, tensors
from navigator_core.loading import Kinds
from navigator_core.plugins import installed
from navigator_core.reference import inspect as understand

HERE = __name__


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.batch = nn.LayerNorm(16), nn.BatchNorm1d(24)
        self.first, self.middle, self.last = nn.Linear(16, 24), nn.Linear(24, 24), nn.Linear(24, 10)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.gelu(self.first(self.norm(x)))
        hidden = self.batch(hidden + self.gelu(self.middle(hidden)))
        logits = self.last(hidden)
        return logits, logits.softmax(-1)


class Convnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.batch, self.last = nn.BatchNorm2d(8), nn.Linear(8, 8)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.batch(self.first(image)))
        features = self.second(nn.functional.max_pool2d(x, 2))
        return features, self.last(features.mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(200, 16), nn.Embedding(16, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        hidden = self.layer(x, src_key_padding_mask=mask == 0)
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        return {"hidden": hidden * kept, "pooled": (hidden * kept).sum(1) / kept.sum(1)}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 24, num_layers=2)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        sequence, last = self.gru(x, state)
        return sequence, last


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.GroupNorm(2, 8))
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.up(self.down(image)))


class Separable(nn.Module):
    """Depthwise convolutions, hard-swish, and a squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.deep, self.point = nn.Conv2d(16, 16, 5, 1, 2, groups=16), nn.Conv2d(16, 24, 1)
        self.squeeze, self.excite, self.head = nn.Linear(16, 4), nn.Linear(4, 16), nn.Linear(24, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.norm(self.stem(image)))
        x = self.deep(x)
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        x = self.point(x * weights[:, :, None, None])
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.c = nn.Conv2d(24, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        high = torch.relu(self.a(image))
        low = torch.relu(self.b(nn.functional.avg_pool2d(high, 2)))
        wide = nn.functional.interpolate(low, scale_factor=2.0, mode="nearest")
        return self.c(torch.cat([high, wide], 1))


class Vision(nn.Module):
    """Patches through a transformer with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 32)), nn.Parameter(torch.randn(1, 17, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 6)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.layers(x)[:, 0])


class Decoder(nn.Module):
    """Causal attention with rotary positions, RMS norm, and the weights of the words at its end too."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 32)
        self.norm, self.qkv, self.out = nn.RMSNorm(32), nn.Linear(32, 96, bias=False), nn.Linear(32, 32, bias=False)
        self.gate, self.up, self.down = (nn.Linear(*n, bias=False) for n in ((32, 64), (32, 64), (64, 32)))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        query, key, value = self.qkv(self.norm(x)).chunk(3, -1)
        query, key, value = (t.unflatten(-1, (4, 8)).transpose(1, 2) for t in (query, key, value))
        angles = torch.outer(torch.arange(ids.shape[1]).float(), 100.0 ** -(torch.arange(4).float() / 4))
        query, key = (self.turn(t, angles) for t in (query, key))
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        x = x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return x @ self.words.weight.T

    def turn(self, x: Tensor, angles: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.over, self.within = nn.Linear(9, 9), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = x + nn.functional.mish(self.over(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return x + nn.functional.elu(self.within(x))


class Temporal(nn.Module):
    """Dilated convolutions over time, of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=2**i, dilation=2**i) for i in range(3))
        self.norm = nn.InstanceNorm1d(8, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.norm(x)


class Wide(nn.Module):
    """Tables of categories beside numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 8) for n in (10, 50))
        self.deep, self.wide = nn.Sequential(nn.Linear(21, 32), nn.PReLU(), nn.Linear(32, 1)), nn.Linear(5, 1)

    def forward(self, numbers: Tensor, categories: Tensor) -> dict[str, Tensor]:
        found = [table(categories[:, i]) for i, table in enumerate(self.tables)]
        score = self.deep(torch.cat([numbers, *found], 1)) + self.wide(numbers)
        return {"score": score, "likely": score > 0, "rank": categories.argmax(1)}


class Attentive(nn.Module):
    """A query over memory: cross-attention, and the distances between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16)

    def forward(self, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        found, weights = self.attention(query, memory, memory)
        return self.norm(query + found), weights


Samples = Callable[[], Sequence[tuple[Tensor, ...]]]


def _sizes(make: Callable[[int, int], tuple[Tensor, ...]]) -> Samples:
    """Two and three rows with lengths of their own, and single rows."""
    return lambda: [make(rows, length) for rows, length in ((2, 9), (3, 5), (2, 12), *((1, 7),) * 8)]


def _padded(rows: int, length: int) -> tuple[Tensor, ...]:
    mask = torch.ones(rows, length, dtype=torch.int64)
    if rows > 1:
        mask[-1, length - 2 :] = 0
    return torch.randint(1, 200, (rows, length)), mask


NETS: dict[str, tuple[type[nn.Module], Samples]] = {
    "perceptron": (Perceptron, _sizes(lambda n, t: (torch.randn(n, 16),))),
    "convnet": (Convnet, _sizes(lambda n, t: (torch.rand(n, 3, 8, 8),))),
    "encoder": (Encoder, _sizes(_padded)),
    "recurrent": (Recurrent, _sizes(lambda n, t: (torch.randn(6, n, 6), torch.randn(2, n, 24)))),
    "autoencoder": (Autoencoder, _sizes(lambda n, t: (torch.rand(n, 1, 16, 16),))),
    "separable": (Separable, _sizes(lambda n, t: (torch.rand(n, 3, 16, 16),))),
    "unet": (Unet, _sizes(lambda n, t: (torch.rand(n, 3, 16, 16),))),
    "vision": (Vision, _sizes(lambda n, t: (torch.rand(n, 3, 16, 16),))),
    "decoder": (Decoder, _sizes(lambda n, t: (torch.randint(0, 100, (n, t)),))),
    "mixer": (Mixer, _sizes(lambda n, t: (torch.randn(n, 9, 12),))),
    "temporal": (Temporal, _sizes(lambda n, t: (torch.randn(n, 8, t),))),
    "wide": (Wide, _sizes(lambda n, t: (torch.randn(n, 5), torch.randint(0, 10, (n, 2))))),
    "attentive": (Attentive, _sizes(lambda n, t: (torch.randn(n, 4, 16), torch.randn(n, 6, 16)))),
}
"""The honest architectures; the first four also stand for the families that mistakes are made in."""

MISTAKEN = tuple(NETS)[:4]


def make(name: str, seed: int = 0) -> tuple[nn.Module, Sequence[tuple[Tensor, ...]]]:
    """The module in eval mode, its statistics of batches no longer those of a new one, and its samples."""
    torch.manual_seed(seed)
    cls, given = NETS[name]
    model = cls().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
    return model, given()


# mistakes that only modules can have


def _set(kind: type[nn.Module] | tuple[type[nn.Module], ...], **values: Any) -> Callable[[nn.Module], bool]:
    def change(model: nn.Module) -> bool:
        found = [module for module in model.modules() if isinstance(module, kind)]
        for module in found:
            for name, value in values.items():
                setattr(module, name, value)
        return bool(found)

    return change


NORMS = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)
FAULTS: dict[str, Callable[[nn.Module], bool]] = {
    "an epsilon of 1e-6 for 1e-5": _set(NORMS, eps=1e-6),
    "an epsilon of 1e-3 for 1e-5": _set(NORMS, eps=1e-3),
    "tanh for the exact GELU": _set(nn.GELU, approximate="tanh"),
    "batch norm in training": _set((nn.BatchNorm1d, nn.BatchNorm2d), training=True),
    "dropout in training": _set(nn.Dropout, training=True),
}


def load(model: nn.Module, options: mutants.Way, context: Context) -> LoadedModel:
    """A runner of numpy arrays: the module, wrong in one way, or honest."""
    call = wrong(model, options.way, options.facts(context))
    assert call is not None
    return LoadedModel(call)


def wrong(model: nn.Module, way: str, facts: Facts) -> Compute | None:
    """The call of a copy of the module that is wrong in this way; None where there is nothing to be done so to."""
    copied = copy.deepcopy(model)
    call = partial(_call, copied, facts)
    if way in FAULTS:
        return call if FAULTS[way](copied) else None
    weights = {**mutants.WEIGHTS, **mutants.HONEST_WEIGHTS}
    if way not in weights:
        return {**mutants.CALLS, **mutants.HONEST_CALLS}[way](call, facts)
    torch.manual_seed(1)
    own, other = _floats(model), _floats(type(model)())
    changed = weights[way](Weights({n: v.copy() for n, v in own.items()}, other))
    if changed is None:
        return None
    wide = any(value.dtype == np.float64 for value in changed.values())
    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in changed.items()}
    (copied.double() if wide else copied).load_state_dict(state, strict=False)
    return call


def _floats(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items() if value.dtype == torch.float32}


def _call(model: nn.Module, facts: Facts, inputs: Mapping[str, np.ndarray]) -> mutants.Arrays:
    wide = next(model.parameters()).dtype == torch.float64
    given = {name: torch.from_numpy(np.array(value)) for name, value in inputs.items()}
    given = {name: value.double() if wide and value.is_floating_point() else value for name, value in given.items()}
    with torch.inference_mode():
        found = facts.signature.call(model, given)
    kinds = {spec.name: spec.dtype for spec in facts.signature.outputs}
    arrays = {name: value.numpy() for name, value in found.items()}
    return {name: value.astype(kinds.get(name, value.dtype)) for name, value in arrays.items()}


def trial(name: str, folder: Path) -> Trial:
    """One of the modules, understood by the engine."""
    torch.set_num_threads(1)  # there is nothing to share out, and threads wait for each other on a busy machine
    plugins = installed()
    tensors.register(plugins.tensors.values())
    kinds = Kinds(declared=tuple(plugins.tensors.values()))
    model, given = make(name)
    framework, eager = plugins.formats["torch"], plugins.runners["torch-eager"]
    source, inspection = mutants.prepared(model, given, framework.source, Ref(f"{HERE}:eager"), "torch", folder, kinds)
    assert eager.implementation
    reference = understand(inspection, folder, lambda message: None)
    return Trial(
        family=f"torch {name}",
        reference=reference,
        folder=folder,
        candidate=source,
        implementation=Ref(f"{HERE}:load"),
        make=partial(wrong, model),
        faults=tuple(FAULTS),
        kinds=kinds,
    )


def eager(model: nn.Module, options: None, context: Context) -> LoadedModel:
    """The source, as the torch plugin's own runner has it without options."""
    from navigator_torch.run import calling

    return LoadedModel(calling(partial(context.signature.call, model), context))


# honest architectures, by every path


def optimize(name: str, workspace: str, runners: Sequence[str] | None = None) -> list[list[str]]:
    """A row for each candidate that was tried: name, precision, status, error and bar, reason."""
    import navigator as nav
    from navigator_core.rendering import error_and_bar

    model, given = make(name)
    chosen = [runner for runner in runners or nav.runners() if not runner.startswith("example")]  # eight operators
    right = nav.Objective(minimize="memory")  # nobody asks who is the fastest: no playoff
    report = nav.optimize(model, list(given), batch_sizes=[1], runners=chosen, objective=right, workspace=workspace)
    tried = [c for c in report.candidates if c.status != "unavailable"]
    return [[c.name, c.precision, c.status, error_and_bar(c), c.reason or ""] for c in tried]
