"""What every runner keeps to: tensors go by name, outputs stay as they were, closing twice is once."""

from __future__ import annotations

import gc
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
from attrs import evolve, frozen

from navigator_core import tensors
from navigator_core.declarations import Context, LoadedModel, Runner
from navigator_core.plugins import discover
from navigator_core.signature import Dim, Names, Signature, TensorSpec
from navigator_core.survey import kind

Arrays = Mapping[str, np.ndarray]

THREADS = 4
"""That call at once a model which says that they may."""


LAYOUTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran-ordered": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    "foreign-endian": lambda array: array.astype(array.dtype.newbyteorder()),
}
"""Ways in which the same numbers may lie in memory."""


@frozen
class RunnerCase:
    """What a runner is tried with: a live model or a path, its context, and calls as (inputs, expected outputs)."""

    model: Any
    context: Context
    calls: Sequence[tuple[Arrays, Arrays]]


class RunnerContract:
    """Run for every runner. ``module`` is the plugin's, ``runner`` the name it declares, ``case`` a small model for it.

    Give at least two calls, of different batch sizes where the model has a batch axis::

        class TestRuntime(testing.RunnerContract):
            module = "navigator_tinyrt.plugin"
            runner = "tinyrt-runtime"

            def case(self, folder):
                write_tiny_model(folder / "model.tiny")     # y = 2 x
                signature = Signature((TensorSpec("x", "float32", (Dim("batch"), 3)),),
                                      (TensorSpec("y", "float32", (Dim("batch"), 3)),))
                batches = [np.random.default_rng(n).random((n, 3), "float32") for n in (1, 3, 8)]
                calls = [({"x": x}, {"y": 2 * x}) for x in batches]
                return testing.RunnerCase(folder / "model.tiny", Context(signature=signature), calls)
    """

    module: str
    runner: str
    options: Any = None
    """None: the runner's defaults."""
    rtol: float = 1e-5
    atol: float = 1e-6
    same_bits: bool = True
    """False: two answers to one question may differ in the last bits, as where kernels are picked by their times."""
    named: bool = True
    """False: the artifact keeps no names, so that the signature's order is all there is."""

    def case(self, folder: Path) -> RunnerCase:
        """The model, made anew for each test in an empty folder."""
        raise NotImplementedError(f"{type(self).__name__}.case must return a RunnerCase")

    def test_outputs_are_those_expected_under_the_signatures_names(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            for inputs, expected in case.calls:
                self._close(run(inputs), expected, f"called with {_shapes(inputs)}")

    def test_output_types_are_the_signatures(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            outputs = run.raw(case.calls[0][0])
            found = {spec.name: tensors.dtype_of(outputs[spec.name]) for spec in case.context.signature.outputs}
        assert found == {spec.name: spec.dtype for spec in case.context.signature.outputs}

    def test_inputs_go_by_name_whatever_their_order(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        inputs, expected = case.calls[0]
        with self.loaded(case) as run:
            self._close(
                run({name: inputs[name] for name in reversed(list(inputs))}),
                expected,
                "called with the inputs in another order",
            )

    def test_a_repeated_call_gives_the_same_answer_whatever_came_between(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            first = [_copied(run(inputs)) for inputs, _ in case.calls]
            for again in range(2):
                order = list(zip(case.calls, first, strict=True))[:: -1 if again else 1]
                for (inputs, expected), before in order:
                    found = run(inputs)
                    self._close(found, expected, f"called again with {_shapes(inputs)}")
                    self._same(found, before, f"called again with {_shapes(inputs)}")

    def test_the_order_in_which_the_signature_lists_tensors_decides_nothing(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        signature = case.context.signature
        if not isinstance(case.model, Path):
            raise SkipTest("a live model is called in the order that its signature says")
        if not self.named:
            raise SkipTest("the artifact keeps no names: it goes by the signature's order")
        if len(signature.inputs) < 2 and len(signature.outputs) < 2:
            raise SkipTest("with one input and one output there is nothing to mix up")
        other = Signature(signature.inputs[::-1], signature.outputs[::-1])
        inputs, expected = case.calls[0]
        with self.loaded(evolve(case, context=evolve(case.context, signature=other))) as run:
            try:
                self._close(run(inputs), expected, "loaded with a signature in reversed order")
            except Exception as error:
                hint = "match tensors by name, or say named = False where the artifact keeps none"
                raise AssertionError(f"{hint}; {type(error).__name__}: {error}") from error

    def test_arrays_are_taken_however_they_lie_in_memory(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            for inputs, expected in case.calls:
                for what, lay in LAYOUTS.items():
                    found = run({name: lay(array) for name, array in inputs.items()})
                    self._close(found, expected, f"called with {what} arrays")

    def test_outputs_belong_to_the_caller_who_may_write_into_them(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            for inputs, expected in case.calls:
                given = run.bring_in(inputs)
                for array in _numpy(run.call(given)).values():
                    if array.flags.writeable:
                        array[...] = 0
                self._close(_numpy(run.call(given)), expected, "after the caller wrote into the first outputs")

    def test_outputs_of_an_earlier_call_are_not_overwritten(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            inputs, expected = case.calls[0]
            early = run.raw(inputs)
            for others, _ in case.calls[1:]:
                run.raw(others)
            late = run({name: np.zeros_like(array) for name, array in inputs.items()})
            self._close(_numpy(early), expected, "after later calls")
        told_apart = any(not np.array_equal(late[name], array) for name, array in expected.items())
        assert told_apart, "the first call answers as one with zeros does: this case could not tell; choose another"

    def test_inputs_are_left_as_they_were(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        inputs, _ = case.calls[0]
        kept = {name: array.copy() for name, array in inputs.items()}
        with self.loaded(case) as run:
            given = run.bring_in(inputs)
            run.call(given)
            changed = [
                name for name, tensor in given.items() if not np.array_equal(tensors.to_numpy(tensor), kept[name])
            ]
        assert changed == [], f"the call changed its inputs {changed}"

    def test_a_dynamic_axis_takes_other_sizes_and_outputs_follow(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        signature = case.context.signature
        seen: dict[str, set[int]] = {name: set() for name in signature.dims()}
        with self.loaded(case) as run:
            for inputs, _ in case.calls:
                sizes = _sizes(signature.inputs, inputs)
                outputs = _sizes(signature.outputs, run(inputs))
                for name, size in sizes.items():
                    seen[name].add(size)
                wrong = {name: size for name, size in outputs.items() if size != sizes.get(name, size)}
                assert wrong == {}, f"called with {_shapes(inputs)}, axes of the outputs have the sizes {wrong}"
        alike = [name for name, found in seen.items() if len(found) < 2]
        assert alike == [], f"all calls have the same size of {alike}: give calls of two sizes of each dynamic axis"

    def test_outputs_are_of_the_kind_that_is_declared_and_on_the_device(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        device = case.context.device
        with self.loaded(case) as run:
            meant = run.runner.devices or (kind(device),)
            assert kind(device) in meant, f"the case is for {device}, {self.runner} is declared for {', '.join(meant)}"
            given = run.bring_in(case.calls[0][0])
            passed = tensors.kind_of(next(iter(given.values())))
            for name, value in run.call(given).items():
                found = tensors.kind_of(value)
                assert found == passed, (
                    f"output {name!r} is a {type(value).__name__}, no tensor of {run.runner.tensors}"
                )
                here = tensors.device_of(value) if found and hasattr(found.module, "device") else device
                assert kind(here) == kind(device), f"output {name!r} is on {here}, where {device} was asked for"

    def test_names_that_the_artifact_has_for_its_tensors_are_followed(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        if not isinstance(case.model, Path):
            raise SkipTest("a live model has no names of its own: it is called as the signature says")
        inputs, expected = case.calls[0]
        with self.loaded(evolve(case, context=_renamed(case.context))) as run:
            found = run({_ours(name): array for name, array in inputs.items()})
        self._close(found, {_ours(name): array for name, array in expected.items()}, "called by other names of ours")

    def test_two_loads_give_the_same_answers(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        answers = []
        for _ in range(2):
            with self.loaded(case) as run:
                answers.append([run(inputs) for inputs, _ in case.calls])
        for (inputs, _), first, second in zip(case.calls, *answers, strict=True):
            self._close(second, first, f"loaded again and called with {_shapes(inputs)}")
            self._same(second, first, f"loaded again and called with {_shapes(inputs)}")

    def test_a_missing_input_is_named(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        inputs, _ = case.calls[0]
        missing = next(iter(inputs))
        with self.loaded(case) as run:
            try:
                run({name: array for name, array in inputs.items() if name != missing})
            except Exception as error:
                assert missing in str(error), f"the error does not name {missing!r}: {type(error).__name__}: {error}"
            else:
                raise AssertionError(f"the call was made without {missing!r}")

    def test_two_models_loaded_side_by_side_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        inputs, expected = case.calls[0]
        with self.loaded(case) as one:
            with self.loaded(case) as other:
                self._close(other(inputs), expected, "called beside another one")
            self._close(one(inputs), expected, "called after another one was closed")

    def test_threads_that_call_at_once_get_their_own_answers_where_it_says_that_they_may(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            if not run.model.thread_safe:
                raise SkipTest("it does not say thread_safe: the core lets threads take turns")
            given = [(run.bring_in(inputs), inputs, expected) for inputs, expected in case.calls]
            run(case.calls[0][0])  # the first may compile

            def work(place: int) -> list[tuple[Arrays, Arrays, Any]]:
                turned = [given[(place + number) % len(given)] for number in range(THREADS * len(given))]
                return [(inputs, expected, run.call(ready)) for ready, inputs, expected in turned]

            with ThreadPoolExecutor(THREADS) as pool:
                for answers in pool.map(work, range(THREADS)):
                    for inputs, expected, found in answers:
                        self._close(_numpy(found), expected, f"called by {THREADS} at once with {_shapes(inputs)}")

    def test_closing_twice_is_closing_once(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            run(case.calls[0][0])
            run.model.close()
            run.model.close()

    def test_a_call_after_closing_is_refused_or_answered_as_before(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            run(case.calls[0][0])
            run.model.close()
            for inputs, expected in case.calls:
                try:
                    found = run(inputs)
                except Exception:  # whatever it raises: that is the refusal
                    return
                self._close(found, expected, "called after it was closed")

    def test_outputs_outlive_their_model(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        with self.loaded(case) as run:
            answers = [run.raw(inputs) for inputs, _ in case.calls]
        del run
        gc.collect()
        for outputs, (_, expected) in zip(answers, case.calls, strict=True):
            self._close(_numpy(outputs), expected, "read after the model was closed")

    def test_nothing_is_held_of_a_model_that_was_closed_and_let_go(self, tmp_path: Path) -> None:
        case = self.case(tmp_path)
        self._used(case)  # what the runtime itself keeps for good, it has after the first time
        before = _held(tmp_path)
        remembered = self._used(case)
        deadline = time.monotonic() + 5  # threads take a moment to end
        while (gc.collect(), left := _held(tmp_path) - before)[1] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, f"after a second model was closed, there is still {', '.join(map(str, left))}"
        assert remembered() is None, "something still refers to the call of a model that was closed and let go"

    def _used(self, case: RunnerCase) -> Callable[[], object]:
        """Load it, call it and close it; what is given says whether something still refers to it."""
        with self.loaded(case) as run:
            run(case.calls[0][0])
            call = run.model.call
            return weakref.ref(getattr(call, "__self__", call))

    @contextmanager
    def loaded(self, case: RunnerCase) -> Iterator[_Run]:
        """The case's model loaded by the runner, closed at the end."""
        found = discover(extra=[("it", import_module(self.module))], entry_points=False)
        tensors.register(found.tensors.values())
        declared = found.runners[self.runner]
        options = declared.options() if self.options is None and declared.options is not None else self.options
        model = declared.implementation.resolve()(case.model, options, case.context)
        assert isinstance(model, LoadedModel), f"{self.runner} must return a LoadedModel, not a {type(model).__name__}"
        try:
            yield _Run(model, declared, case.context)
        finally:
            model.close()

    def _same(self, found: Arrays, expected: Arrays, when: str) -> None:
        bits = all(found[name].tobytes() == array.tobytes() for name, array in expected.items())
        assert bits or not self.same_bits, f"{when}, its answers differ from the first ones in their last bits"

    def _close(self, found: Arrays, expected: Arrays, when: str) -> None:
        assert set(found) == set(expected), f"{when}, outputs are {sorted(found)} instead of {sorted(expected)}"
        for name, array in expected.items():
            what = f"{when}, output {name!r}"
            assert found[name].shape == array.shape, f"{what} has shape {found[name].shape} instead of {array.shape}"
            near = np.allclose(found[name], array, rtol=self.rtol, atol=self.atol, equal_nan=True)
            assert near, f"{what} is\n{found[name]}\ninstead of\n{array}"


@frozen
class _Run:
    """A loaded model, called with numpy arrays."""

    model: LoadedModel
    runner: Runner
    context: Context

    def bring_in(self, inputs: Arrays) -> dict[str, Any]:
        """The inputs as tensors of the runner's kind, on its device."""
        dtypes = {spec.name: spec.dtype for spec in self.context.signature.inputs}
        return tensors.convert(inputs, self.runner.tensors, self.context.device, dtypes)

    def call(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call it and wait for its work to be done."""
        outputs = self.model.call(given)
        self.model.synchronize()
        return outputs

    def raw(self, inputs: Arrays) -> Mapping[str, Any]:
        """The outputs as the runner gives them."""
        return self.call(self.bring_in(inputs))

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return _numpy(self.raw(inputs))


def _sizes(specs: Sequence[TensorSpec], arrays: Arrays) -> dict[str, int]:
    """The sizes of dynamic axes, by name."""
    return {
        axis.name: size
        for spec in specs
        for axis, size in zip(spec.shape, arrays[spec.name].shape, strict=True)
        if isinstance(axis, Dim)
    }


def _ours(name: str) -> str:
    return f"ours.{name}"


def _renamed(context: Context) -> Context:
    """The context with other names in the signature, which lead to those of the artifact."""
    signature, names = context.signature, context.names
    return evolve(
        context,
        signature=Signature(
            tuple(evolve(spec, name=_ours(spec.name)) for spec in signature.inputs),
            tuple(evolve(spec, name=_ours(spec.name)) for spec in signature.outputs),
        ),
        names=Names(
            {_ours(spec.name): names.inputs.get(spec.name, spec.name) for spec in signature.inputs},
            {_ours(spec.name): names.outputs.get(spec.name, spec.name) for spec in signature.outputs},
        ),
        samples=[{_ours(name): array for name, array in sample.items()} for sample in context.samples],
    )


def _held(folder: Path) -> Counter[str]:
    """What this process has open, its threads, and what of the folder is mapped."""
    found: Counter[str] = Counter()
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own
            found[f"the open file {handle.readlink()}"] += 1
    found["a thread more"] = len(list(Path("/proc/self/task").iterdir()))
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(folder) in line:
            found[f"the mapped file {line.split(maxsplit=5)[-1]}"] += 1
    return found


def _copied(outputs: Arrays) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in outputs.items()}


def _numpy(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: tensors.to_numpy(value) for name, value in outputs.items()}


def _shapes(inputs: Arrays) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
