"""Running live models: as they are, as one graph, and compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from navigator_core import FP32, Context, LoadedModel
from navigator_core.errors import NavigatorError
from navigator_tf import threads
from navigator_tf.copies import Copy
from navigator_tf.engine import on, tf, without_tf32
from navigator_tf.models import Ready, prepare
from navigator_tf.options import Threads
from navigator_tf.tracing import by_name, function, traced

Call = Callable[[Mapping[str, Any]], dict[str, Any]]


def eager(model: Any, options: Threads, context: Context) -> LoadedModel:
    """The model as it is, one operation after the other unless it is a ``tf.function`` itself."""
    threads.use(options)
    if isinstance(model, Copy):
        return loaded(model.loaded(context.signature), context)
    ready, signature = prepare(model, context.device), context.signature

    def call(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: tf.convert_to_tensor(value) for name, value in signature.call(ready, inputs).items()}

    return loaded(call, context)


def graph(model: Any, options: Threads, context: Context) -> LoadedModel:
    """The whole model as one graph, which TensorFlow optimizes."""
    return _compiled(model, options, context)


def xla(model: Any, options: Threads, context: Context) -> LoadedModel:
    """The whole model as one program, compiled at the first call of each shape."""
    return _compiled(model, options, context, jit_compile=True)


def _compiled(model: Any, options: Threads, context: Context, **how: Any) -> LoadedModel:
    """Traced once for all sizes of the dynamic axes where that is possible, else once for each."""
    threads.use(options)
    ready, signature = prepare(model, context.device), context.signature
    with on(context.device):
        try:
            run = traced(ready, signature, **how)
        except NavigatorError:
            run = function(ready, signature, **how)

    return loaded(by_name(_Graph(ready, run), signature), context)


@frozen(eq=False)
class _Graph:
    """A traced model, kept with it: a graph holds its variables by weak references only."""

    ready: Ready
    run: Callable[..., Sequence[Any]]

    def __call__(self, *values: Any) -> Sequence[Any]:
        return self.run(*values)


def loaded(call: Call, context: Context) -> LoadedModel:
    """The call on the context's device, without TF32 where FP32 is promised."""
    where = context.device
    if where == "cpu" and not tf.config.list_physical_devices("GPU"):
        return LoadedModel(call, thread_safe=True)
    exact = where != "cpu" and context.precision == FP32

    def placed(inputs: Mapping[str, Any]) -> dict[str, Any]:
        with on(where):
            return call(inputs)

    def exactly(inputs: Mapping[str, Any]) -> dict[str, Any]:
        with without_tf32():
            return placed(inputs)

    wait = tf.test.experimental.sync_devices if where != "cpu" else None
    run = exactly if exact else placed
    return LoadedModel(run, thread_safe=True) if wait is None else LoadedModel(run, wait, thread_safe=True)
