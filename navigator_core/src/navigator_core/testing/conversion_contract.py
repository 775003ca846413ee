"""What every exporter and converter keeps to: the artifact is where it belongs, and answers as the source does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest, mock

import numpy as np
from attrs import evolve

from navigator_core import optimize, plugins, request, serde, tensors
from navigator_core.candidates import Candidate, LoadedCandidate
from navigator_core.declarations import Converter, Framework
from navigator_core.plugins import Plugins
from navigator_core.reference import StoredBatch
from navigator_core.report import Report
from navigator_core.results import Objective, Tolerance
from navigator_core.signature import Call, describe_outputs
from navigator_core.survey import kind
from navigator_core.testing.using import using
from navigator_core.workspace import slug

CONVERT = "navigator_core.conversion:convert"

_AGAIN = """
import json, sys
from pathlib import Path
job, folder, sys.path[:] = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), json.loads(sys.argv[3])
from navigator_core.worker import call_job
told = call_job(job, folder, lambda message: None)
print()
print(json.dumps(told))
"""


class ConversionContract:
    """Run for every exporter and converter, through the real engine: workers, reference, verification.

    ``module`` is the plugin's; ``conversion`` the step under test, by its whole path from the source; ``source``
    gives a small model, live or a file in ``folder``, and samples of it::

        class TestConverter(testing.ConversionContract):
            module = "navigator_tinyrt.plugin"
            conversion = "onnx->tinyrt[fp32]"

            def source(self, folder):
                return write_small_onnx(folder / "model.onnx"), {"x": np.ones((2, 3), "float32")}

    ``tolerance`` overrides the derived bar; ``rtol`` is how far answers in this process may be off the source's,
    relative to an output's largest; ``options`` are those of `navigator.optimize`. The other installed plugins take
    part, but for passes (onnx->onnx[fp16]) that ``conversion`` does not name: each would be a run of its own. A
    conversion that is unavailable here fails with its reason and remedy: skip the class where that is meant to be so.
    """

    module: str
    conversion: str
    device: str = "cpu"
    batch_sizes: ClassVar[tuple[int, ...]] = (1, 3, 8)
    tolerance: Tolerance | None = None
    rtol: float = 1e-2
    options: ClassVar[dict[str, Any]] = {}

    _stack: ExitStack
    _left_behind: list[str]
    _changed: str | None
    _plugins: Plugins
    _report: Report
    _workspace: Path
    _tensors: str | None

    def source(self, folder: Path) -> tuple[Any, Any]:
        """The model and its samples."""
        raise NotImplementedError(f"{type(self).__name__}.source must return a model and samples")

    @classmethod
    def setup_class(cls) -> None:
        """One run for all tests, in an empty working directory."""
        cls._stack = ExitStack()
        try:
            cls._run(Path(cls._stack.enter_context(tempfile.TemporaryDirectory())))
        except BaseException:
            cls._stack.close()
            raise

    @classmethod
    def teardown_class(cls) -> None:
        """Leave nothing of the run."""
        cls._stack.close()

    @classmethod
    def _run(cls, folder: Path) -> None:
        for name in ("source", "cwd"):
            (folder / name).mkdir()
        model, samples = cls().source(folder / "source")
        found = cls._stack.enter_context(using(import_module(cls.module), installed=True))
        cls._plugins = _without_other_passes(found, cls.conversion)
        cls._stack.enter_context(mock.patch.object(plugins, "installed", return_value=cls._plugins))
        asked = request.checked(
            targets=[_target(cls.conversion)],
            batch_sizes=cls.batch_sizes,
            workspace=folder / "workspace",
            tolerance=cls.tolerance,
            options=cls.options,
            device=cls.device,
            seconds=0.02,
            objective=Objective(minimize="memory"),  # nobody asks who is the fastest: no playoff
        )
        cls._workspace = folder / "workspace"
        cls._tensors = _tensors_of(model, cls._plugins)
        before = _state(model, cls._plugins)
        here = Path.cwd()
        os.chdir(folder / "cwd")
        try:
            cls._report = optimize.optimize(model, samples, asked)
        finally:
            os.chdir(here)
        after = _state(model, cls._plugins)
        cls._changed = None if before == after else f"before: {before}; after: {after}"
        cls._left_behind = sorted(path.name for path in (folder / "cwd").iterdir())

    def test_the_artifact_lies_where_the_format_says(self) -> None:
        self.candidates()
        artifact = self._report.artifacts[self.conversion]
        assert artifact.file.exists()
        assert artifact.file.name == artifact.format.file
        assert artifact.size > 0

    def test_it_answers_as_the_source_in_a_process_of_its_own(self) -> None:
        for candidate in self.candidates():
            assert candidate.verdict is not None
            checks = {name: candidate.verdict.checks.get(name) for name in (f"batch {n}" for n in self.batch_sizes)}
            assert set(checks.values()) == {"ok"}, f"{candidate.name}: {checks}"

    def test_it_answers_as_the_source_where_the_user_loads_it(self) -> None:
        for candidate in self.candidates():
            with candidate.load() as loaded:
                for batch in self._batches():
                    found = self._answers(loaded, batch)
                    for name, array in batch.reference(self._folder()).items():
                        _near(found[name], array, f"{candidate.name}: {batch.name}: output {name!r}", self.rtol)

    def test_the_outputs_of_the_source_can_be_told_apart(self) -> None:
        references = [batch.reference(self._folder()) for batch in self._batches()]
        for one, other in combinations([spec.name for spec in self._report.signature.outputs], 2):
            alike = all(np.array_equal(found[one], found[other]) for found in references)
            assert not alike, f"outputs {one!r} and {other!r} are equal, so that nobody would see them mixed up"

    def test_it_gives_back_the_containers_of_the_source_and_the_tensors_passed_in(self) -> None:
        signature, call = self._report.signature, self._call(self._batches()[0])
        expected = signature.structure.output if signature.structure else None
        for candidate in self.candidates():
            with candidate.load() as loaded:
                outputs = loaded(*call.args, **call.kwargs)
            node, leaves = describe_outputs(outputs)
            if expected is None:
                assert list(outputs) == [spec.name for spec in signature.outputs]
            else:
                assert node == expected, f"{candidate.name}: outputs are built as {node} instead of {expected}"
            kinds = {name: type(value).__name__ for name, value in leaves.items()}
            assert set(kinds.values()) == {"ndarray"}, f"{candidate.name}: called with arrays, it gives {kinds}"

    def test_the_sources_own_tensors_come_back_as_such_on_the_device(self) -> None:
        if self._tensors is None:
            raise SkipTest("the source has no tensors of its own")
        signature, batch = self._report.signature, self._batches()[0]
        dtypes = {spec.name: spec.dtype for spec in signature.inputs}
        given = tensors.convert(batch.inputs(self._folder()), self._tensors, self.device, dtypes)
        call = signature.bind(given)
        for candidate in self.candidates():
            with candidate.load() as loaded:
                found = signature.flatten(loaded(*call.args, **call.kwargs))
            for name, value in found.items():
                what, made = f"{candidate.name}: output {name!r}", tensors.kind_of(value)
                passed = made is not None and made.name == self._tensors
                assert passed, f"{what} is a {type(value).__name__}, not of {self._tensors}"
                where = tensors.device_of(value)
                assert kind(where) == kind(self.device), f"{what} is on {where}, and its inputs were on {self.device}"
            for name, array in batch.reference(self._folder()).items():
                what = f"{candidate.name}: called with its own, output {name!r}"
                _near(tensors.to_numpy(found[name]), array, what, self.rtol)

    def test_arguments_may_be_given_by_name_in_any_order(self) -> None:
        signature, batch = self._report.signature, self._batches()[0]
        call = self._call(batch)
        passed = [parameter for parameter in signature.parameters if parameter.node is not None]
        if any(parameter.kind not in ("either", "keyword") for parameter in passed):
            raise SkipTest("the model takes arguments by position only")
        by_position = [parameter.name for parameter in passed if parameter.given == "positional"]
        named = {**dict(zip(by_position, call.args, strict=True)), **call.kwargs}
        for candidate in self.candidates():
            with candidate.load() as loaded:
                found = signature.flatten(loaded(**dict(reversed(named.items()))))
            for name, array in batch.reference(self._folder()).items():
                what = f"{candidate.name}: called by name, output {name!r}"
                _near(tensors.to_numpy(found[name]), array, what, self.rtol)

    def test_two_loads_give_the_same_answers(self) -> None:
        call = self._call(self._batches()[0])
        for candidate in self.candidates():
            answers = []
            for _ in range(2):
                with candidate.load() as loaded:
                    answers.append(self._report.signature.flatten(loaded(*call.args, **call.kwargs)))
            for name in answers[0]:
                one, other = (tensors.to_numpy(answer[name]) for answer in answers)
                _near(other, one, f"{candidate.name}: loaded again, output {name!r}", 1e-6)

    def test_converting_again_gives_an_artifact_that_answers_the_same(self) -> None:
        if any("cannot be sent to a worker" in note for note in self._report.notes):
            raise SkipTest("the model cannot be sent to a worker: its steps cannot be repeated")
        with tempfile.TemporaryDirectory() as folder:
            names = self._converted_again(Path(folder))
            for candidate in self.candidates():
                assert candidate.recipe is not None
                assert candidate.path is not None
                kept = serde.to_data(candidate.recipe.names)
                assert names == kept, f"{self.conversion}: converted again, names are {names} instead of {kept}"
                other = evolve(candidate, path=Path(folder) / candidate.path.name)
                with candidate.load() as one, other.load() as again:
                    for batch in self._batches():
                        first, second = (self._answers(model, batch) for model in (one, again))
                        for name, array in first.items():
                            what = f"{candidate.name}: converted again, {batch.name}: output {name!r}"
                            _near(second[name], array, what, 1e-5)

    def test_the_source_is_unchanged(self) -> None:
        assert self._changed is None, self._changed

    def test_nothing_is_left_in_the_working_directory(self) -> None:
        assert self._left_behind == []

    def _converted_again(self, folder: Path) -> Any:
        """The names of what the step, repeated in a process of its own, leaves in ``folder``."""
        steps = sorted(self._workspace.glob(f"runs/{self._report.run}/steps/*-{slug(self.conversion)}/job.json"))
        jobs = [path for path in steps if json.loads(path.read_text())["function"] == CONVERT]
        assert jobs, f"the run {self._report.run} left no job of {self.conversion}"
        command = [sys.executable, "-P", "-c", _AGAIN, str(jobs[0]), str(folder), json.dumps(sys.path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600)
        assert done.returncode == 0, f"{self.conversion}, converted again, fails: {done.stderr[-2000:]}"
        return json.loads(done.stdout.splitlines()[-1])["names"]

    def _answers(self, model: LoadedCandidate, batch: StoredBatch) -> dict[str, np.ndarray]:
        call = self._call(batch)
        found = self._report.signature.flatten(model(*call.args, **call.kwargs))
        return {name: tensors.to_numpy(value) for name, value in found.items()}

    def _folder(self) -> Path:
        assert self._report.reference_folder is not None
        return self._report.reference_folder

    def _batches(self) -> Sequence[StoredBatch]:
        """Inputs of the sizes that the dynamic axes may have, with what the source answered."""
        found: Sequence[StoredBatch] = self._report.reference.batches
        return found

    def _call(self, batch: StoredBatch) -> Call:
        return self._report.signature.bind(batch.inputs(self._folder()))

    def candidates(self) -> list[Candidate]:
        """What runs the artifact here; there must be some, and all of it must be right."""
        mine = [c for c in self._report.candidates if c.name.partition(" @ ")[0] == self.conversion]
        assert mine, f"there is no {self.conversion}, only {', '.join(c.name for c in self._report.candidates)}"
        wrong = [
            f"{c.name} is {c.status}: {c.reason}; {c.remedy}" for c in mine if c.status not in ("ok", "unavailable")
        ]
        assert not wrong, "\n".join(wrong)
        right = [c for c in mine if c.status == "ok"]
        assert right, "\n".join(f"{c.name} is unavailable: {c.reason}; {c.remedy}" for c in mine)
        return right


def _without_other_passes(found: Plugins, conversion: str) -> Plugins:
    def takes_part(one: Converter) -> bool:
        named = [f"{one.target}[{variant.name}" for variant in one.variants] or [f"{one.target}->{one.target}"]
        return one.source != one.target or any(name in conversion for name in named)

    return evolve(found, converters=tuple(filter(takes_part, found.converters)))


def _target(conversion: str) -> str:
    return conversion.rpartition("->")[2].partition("[")[0]


def _near(found: np.ndarray, expected: np.ndarray, what: str, rtol: float) -> None:
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    near = found.shape == expected.shape and np.allclose(found, expected, rtol=rtol, atol=rtol * scale, equal_nan=True)
    assert near, f"{what} is\n{found}\ninstead of\n{expected}"


def _tensors_of(model: Any, found: Plugins) -> str | None:
    """The kind of tensor of a live model's framework."""
    declared = found.formats.get(found.identify(model)[0] or "")
    return declared.tensors if isinstance(declared, Framework) else None


def _state(model: Any, found: Plugins) -> Any:
    """All of a model that must not change: a file's folder, or a live model's fingerprint and what is said of it."""
    if isinstance(model, str | os.PathLike):
        files = sorted(path for path in Path(model).parent.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    name, _ = found.identify(model)
    declared = found.formats.get(name or "")
    if not isinstance(declared, Framework):
        return None
    module = declared.source.resolve()
    say = getattr(module, "state", None)
    return module.fingerprint(model), say(model) if say else None
