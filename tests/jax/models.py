"""Real models of every library, small, with random weights: what the tests and the table of what was seen go by."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen, nnx
from jax import lax


class ConvNet(nnx.Module):
    """Convolutions with batch norm and dropout; made in training mode, as ``nnx`` makes everything."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.second = nnx.Conv(8, 8, (3, 3), strides=2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        hidden = nnx.relu(self.norm(self.first(x)))
        hidden = nnx.relu(self.second(hidden)).mean(axis=(1, 2))
        return {"logits": self.head(self.dropout(hidden)), "hidden": hidden}


class Block(nnx.Module):
    """Attention and a feed-forward network, each after a layer norm and around a residual connection."""

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(heads, features, decode=False, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(features, rngs=rngs) for _ in range(2)])
        self.up = nnx.Linear(features, 2 * features, rngs=rngs)
        self.down = nnx.Linear(2 * features, features, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        x = x + self.attention(self.norms[0](x), mask=mask)
        return x + self.down(jax.nn.gelu(self.up(self.norms[1](x))))


class Encoder(nnx.Module):
    """Token ids and a mask of what is no padding to one vector for each text."""

    def __init__(self, rngs: nnx.Rngs, features: int = 16, vocabulary: int = 50, longest: int = 32) -> None:
        self.tokens = nnx.Embed(vocabulary, features, rngs=rngs)
        self.places = nnx.Embed(longest, features, rngs=rngs)
        self.blocks = nnx.List([Block(features, 2, rngs) for _ in range(2)])

    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        x = self.tokens(ids) + self.places(jnp.arange(ids.shape[1]))
        seen = mask[:, None, None, :].astype(bool)
        for block in self.blocks:
            x = block(x, seen)
        weights = mask[..., None].astype(x.dtype)
        return (x * weights).sum(axis=1) / weights.sum(axis=1)


class LinenNet(linen.Module):
    """Convolutions of the older library, in its compact form, with a type that is written down."""

    @linen.compact
    def __call__(self, x: jax.Array, scale: float = 1.0) -> jax.Array:
        x = linen.relu(linen.Conv(8, (3, 3), dtype=jnp.float32)(x))
        x = linen.avg_pool(x, (2, 2), strides=(2, 2))
        x = linen.GroupNorm(num_groups=4)(x)
        return linen.Dense(5)(x.reshape(x.shape[0], -1)) * scale


class LinenEncoder(linen.Module):
    """Self-attention over embedded tokens."""

    @linen.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        x = linen.Embed(50, 16)(ids)
        x = x + linen.MultiHeadDotProductAttention(num_heads=2)(linen.LayerNorm()(x))
        return linen.Dense(3)(linen.LayerNorm()(x))


class Attention(eqx.Module):
    """A block of equinox for one sequence; ``jax.vmap`` makes a batch of it."""

    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm
    dropout: eqx.nn.Dropout
    mlp: eqx.nn.MLP

    def __init__(self, features: int, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.attention = eqx.nn.MultiheadAttention(2, features, key=first)
        self.norm = eqx.nn.LayerNorm(features)
        self.dropout = eqx.nn.Dropout(0.5)
        self.mlp = eqx.nn.MLP(features, features, 2 * features, 1, key=second)

    def __call__(self, x: jax.Array) -> jax.Array:
        normed = jax.vmap(self.norm)(x)
        x = x + self.dropout(self.attention(normed, normed, normed))
        return x + jax.vmap(self.mlp)(x)


class Batched(eqx.Module):
    """A block for sequences, called with a batch of them."""

    block: Attention

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.vmap(self.block)(x)


WEIGHTS = jax.random.normal(jax.random.key(7), (8, 8)) / 3


def recurrent(x: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A loop over time by ``lax.scan``, and one that ends by the values by ``lax.while_loop``."""

    def step(state: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jnp.tanh(state @ WEIGHTS + row)
        return state, state

    last, states = lax.scan(step, start, x.swapaxes(0, 1))
    _, halved = lax.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, s[1] * jnp.float32(0.5)), (0, last))
    return states.swapaxes(0, 1), halved


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def ids(batch: int, length: int) -> jax.Array:
    return jax.random.randint(jax.random.key(length), (batch, length), 0, 50)


def mask(batch: int, length: int) -> jax.Array:
    """The last row is padded."""
    return jnp.ones((batch, length), jnp.int32).at[-1, length // 2 :].set(0)


def bound(module: linen.Module, *inputs: jax.Array) -> Any:
    return module.bind(module.init(jax.random.key(0), *inputs))


def applied(module: linen.Module, *inputs: jax.Array) -> Any:
    return functools.partial(module.apply, module.init(jax.random.key(0), *inputs))


MODELS: dict[str, tuple[Callable[[], Any], Callable[[], list[Any]]]] = {
    "flax nnx: convolutions, batch norm, dropout": (
        lambda: ConvNet(nnx.Rngs(0)),
        lambda: [normal(2, 8, 8, 3), normal(3, 8, 8, 3, seed=1)],
    ),
    "flax nnx: encoder of token ids with a mask": (
        lambda: Encoder(nnx.Rngs(0)),
        lambda: [(ids(2, 12), mask(2, 12)), (ids(3, 9), mask(3, 9))],
    ),
    "flax linen, bound: convolutions": (
        lambda: bound(LinenNet(), normal(1, 8, 8, 3)),
        lambda: [normal(2, 8, 8, 3), normal(3, 8, 8, 3, seed=1)],
    ),
    "flax linen, partial of apply: encoder": (
        lambda: applied(LinenEncoder(), ids(1, 12)),
        lambda: [ids(2, 12), ids(3, 9)],
    ),
    "equinox: MLP under vmap": (
        lambda: jax.vmap(eqx.nn.MLP(8, 3, 16, 2, key=jax.random.key(0))),
        lambda: [normal(2, 8), normal(3, 8, seed=1)],
    ),
    "equinox: attention block": (
        lambda: Batched(Attention(16, jax.random.key(0))),
        lambda: [normal(2, 6, 16), normal(3, 9, 16, seed=1)],
    ),
    "lax: loops by scan and while": (
        lambda: recurrent,
        lambda: [(normal(2, 5, 8), normal(2, 8, seed=2)), (normal(3, 5, 8, seed=1), normal(3, 8, seed=3))],
    ),
    "jitted function": (
        lambda: jax.jit(lambda x: jax.nn.softmax(x @ WEIGHTS)),
        lambda: [normal(2, 8), normal(3, 8, seed=1)],
    ),
}
