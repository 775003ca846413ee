"""JAX's own settings that reach a model's results: they travel with it, and hold whenever it is traced or called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import jax
from attrs import evolve, frozen

from navigator_core import FP32, Context


@frozen
class Settings:
    """``x64`` is ``jax_enable_x64``: whether there are types of 64 bits, and whether Python's numbers are of them."""

    x64: bool = False
    matmul_precision: str | None = None
    dtype_promotion: str = "standard"
    threefry_partitionable: bool = True

    def active(self) -> AbstractContextManager[None]:
        """Within it they hold, in this thread; nothing is done where they do already."""
        return nullcontext() if self == current() else self._changed()

    @contextmanager
    def _changed(self) -> Iterator[None]:
        with ExitStack() as stack:
            for set_to, value in (
                (jax.enable_x64, self.x64),
                (jax.default_matmul_precision, self.matmul_precision),
                (jax.numpy_dtype_promotion, self.dtype_promotion),
                (jax.threefry_partitionable, self.threefry_partitionable),
            ):
                stack.enter_context(set_to(value))
            yield

    def for_candidate(self, context: Context) -> Settings:
        """FP32 promises no TF32, which JAX takes for products on a GPU unless it is told otherwise."""
        unsaid = self.matmul_precision is None and context.precision == FP32
        return evolve(self, matmul_precision="highest") if unsaid and context.device != "cpu" else self


def current() -> Settings:
    """What holds in this thread."""
    return Settings(
        jax.config.jax_enable_x64,
        jax.config.jax_default_matmul_precision,
        jax.config.jax_numpy_dtype_promotion,
        jax.config.jax_threefry_partitionable,
    )


def under(settings: Settings, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, while the settings hold."""

    def held(*args: Any) -> Any:
        with settings.active():
            return call(*args)

    return held
