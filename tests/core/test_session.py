"""One run's surroundings: steps found again, journaled and told of; budgets and observers."""

import sys
from types import SimpleNamespace

import pytest

from navigator_core import Ref
from navigator_core.events import RunStarted, StepFinished, StepStarted
from navigator_core.execution import Done, Failed, Job, Workers
from navigator_core.keys import base_versions, key_of
from navigator_core.session import Session
from navigator_core.workspace import Workspace

STEPS = """
import time

def count(argument, folder, emit):
    path = folder / "made"
    path.write_text(argument)
    emit({"said": argument})
    return argument

def fail(argument, folder, emit):
    (folder / "half").write_text("done")
    raise ValueError(argument)

def idle(argument, folder, emit):
    from navigator_core.errors import NothingToDoError
    with open(argument, "a") as book:
        book.write("x")
    raise NothingToDoError("it is as small as it gets")

def slow(argument, folder, emit):
    time.sleep(1000)
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    (folder / "session_steps.py").write_text(STEPS)
    sys.path.insert(0, str(folder))
    with Workers() as pool:
        yield pool
    sys.path.remove(str(folder))


@pytest.fixture
def make(workers, tmp_path):
    def make(**asked):
        workspace = Workspace.open(asked.pop("path", tmp_path / "workspace"))
        return Session(workspace, workspace.new_run(), workers, asked.pop("observers", []), **asked)

    return make


def job(name="count", argument="value"):
    return Job(function=Ref(f"session_steps:{name}"), argument=argument, result=str)


KEY = "k" * 40


def test_a_step_with_a_key_is_done_once_and_found_by_a_later_run(make):
    first, second = make(), make()
    outcome, made = first.perform("a->b", "convert", job(), KEY)
    assert (outcome.value, outcome.cached) == ("value", False)
    again, found = second.perform("a->b", "convert", job(argument="never run"), KEY)
    assert (again.value, again.cached, found) == ("value", True, made)
    assert again.duration == outcome.duration
    assert (found / "made").read_text() == "value"


def test_a_step_without_a_key_stays_with_its_run(make):
    active = make()
    _, first = active.perform("a->b", "convert", job(), None)
    _, second = active.perform("a->b", "convert", job(), None)
    assert first != second
    assert first.is_relative_to(active.run.folder)


@pytest.mark.parametrize("key", [KEY, None])
def test_a_step_that_fails_is_never_found_again(make, key):
    active = make()
    outcome, _ = active.perform("a->b", "convert", job("fail", "no"), key)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ValueError: no"
    assert "Traceback" in outcome.log.read_text()
    outcome, _ = active.perform("a->b", "convert", job(), key)
    assert isinstance(outcome, Done)


def test_a_step_that_has_nothing_to_do_is_asked_once(make, tmp_path):
    book = tmp_path / "book"
    for active in (make(), make()):
        outcome, _ = active.perform("a->a", "convert", job("idle", str(book)), KEY)
        assert outcome.nothing_to_do
        assert outcome.skipped
        assert outcome.reason == "it is as small as it gets"
    assert book.read_text() == "x"


def test_observers_hear_of_every_step_in_order_and_the_journal_keeps_it(make):
    heard = []
    active = make(observers=[heard.append])
    active.perform("a->b", "convert", job(), KEY)
    active.perform("a->b", "convert", job(), KEY)
    active.perform("a->c", "convert", job("fail"), None)
    active.perform("a @ r", "verify", job(), None, judge=lambda value: ("incorrect", f"{value} is wrong"))
    assert [type(event) for event in heard] == [StepStarted, StepFinished] * 4
    finished = heard[1::2]
    assert [(e.step, e.status, e.reason) for e in finished] == [
        ("a->b", "ok", None),
        ("a->b", "cached", None),
        ("a->c", "failed", "ValueError: value"),
        ("a @ r", "incorrect", "value is wrong"),
    ]
    assert [e.elapsed for e in heard] == sorted(e.elapsed for e in heard)
    assert {e.run for e in heard} == {active.run.name}
    statuses = [line.split('"status": "')[1].split('"')[0] for line in active.run.journal.read_text().splitlines()]
    assert statuses == ["ok", "cached", "failed", "incorrect"]


def test_preparations_are_for_the_display_alone(make):
    heard, shown = [], []
    active = make(observers=[heard.append], displays=[shown.append])
    active.perform("the source", "prepare", job(), None)
    assert (len(heard), len(shown)) == (0, 2)


def test_an_observer_that_raises_is_set_aside_and_the_others_go_on(make):
    heard = []

    def broken(event):
        raise KeyError("broken")

    active = make(observers=[broken, heard.append])
    active.tell(RunStarted, steps=1)
    active.tell(RunStarted, steps=2)
    assert [event.steps for event in heard] == [1, 2]
    assert active.notes == ["an observer raised and was set aside: KeyError: 'broken'"]


def test_what_a_step_emits_is_heard_while_it_runs(make):
    heard = []
    make().perform("a->b", "convert", job(argument="word"), None, heard=heard.append)
    assert heard == [{"said": "word"}]


# budgets


def test_a_spent_budget_skips_what_is_not_known_already(make):
    make().perform("a->b", "convert", job(), KEY)
    active = make(budget=1e-9)
    assert active.left < 0
    outcome, _ = active.perform("a->c", "convert", job(), None)
    assert (outcome.reason, outcome.skipped) == ("the time budget was spent", True)
    outcome, _ = active.perform("a->b", "convert", job(), KEY)
    assert outcome.cached


def test_without_its_preparations_a_run_has_nothing_to_report_so_no_budget_skips_them(make):
    outcome, _ = make(budget=1e-9).perform("the source", "prepare", job(), None)
    assert isinstance(outcome, Done)


def test_a_step_is_stopped_when_the_budget_ends(make):
    active = make(budget=0.5)
    outcome, _ = active.perform("a->b", "convert", job("slow"), None)
    assert isinstance(outcome, Failed)
    assert (outcome.skipped, outcome.timed_out) == (True, True)
    assert outcome.reason.startswith("the time budget was too short: it was stopped after ")
    assert active.elapsed < 5


def test_a_step_that_is_too_slow_for_its_own_limit_has_failed(make):
    outcome, _ = make().perform("a->b", "convert", job("slow"), None, timeout=0.5)
    assert (outcome.skipped, outcome.timed_out) == (False, True)


def test_a_step_in_this_process_is_begun_only_where_it_may_end_in_time(make):
    active = make(budget=60.0)
    outcome, _ = active.perform("a @ r", "verify", job(), None, here=True, takes=100.0)
    assert outcome.skipped
    assert "it may take 100.0 s in this process, where nothing can stop it, and 60.0 s were left" in outcome.reason
    assert isinstance(active.perform("a @ r", "verify", job(), None, here=True, takes=1.0)[0], Done)
    assert isinstance(active.perform("a @ r", "verify", job(), None, takes=100.0)[0], Done)  # a worker can be stopped


def test_without_a_budget_there_is_always_time(make):
    assert make().left == float("inf")


# the end


def test_at_the_end_everything_is_left_whatever_happened(make):
    left = []
    active = make(at_end=[lambda: left.append("display")])
    with pytest.raises(ZeroDivisionError), active:
        raise ZeroDivisionError
    assert left == ["display"]


# keys


@pytest.mark.parametrize("name", ["workspace", "wörk späce", 'with "quotes"'])
def test_a_key_does_not_depend_on_where_the_workspace_lies(tmp_path, name):
    keys = set()
    for place in ("here", "there"):
        root = tmp_path / place / name
        keys.add(key_of(job(argument=f"{root}/objects/ab/file"), root, {"x": "1"}))
    assert len(keys) == 1
    assert None not in keys


@pytest.mark.parametrize("name", ["workspace", "wörk späce"])
def test_what_belongs_to_one_run_alone_has_no_key(tmp_path, name):
    root = tmp_path / name
    assert key_of(job(argument=f"{root}/runs/20250101/source"), root, {}) is None


def test_a_key_changes_with_the_step_what_it_is_given_and_every_version(tmp_path):
    keys = [
        key_of(job(), tmp_path, {"x": "1"}),
        key_of(job("fail"), tmp_path, {"x": "1"}),
        key_of(job(argument="other"), tmp_path, {"x": "1"}),
        key_of(job(), tmp_path, {"x": "2"}),
        key_of(job(), tmp_path, base_versions()),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(job(), tmp_path, {"x": "1"}) == keys[0]


def test_a_step_that_needs_more_room_than_there_is_is_not_begun(make):
    active = make()
    outcome, _ = active.perform("a->b", "convert", job(), KEY, room=2**60)
    assert "needs about 1.07e+09 GiB in" in outcome.reason
    assert "`navigator workspace gc`" in outcome.reason
    assert not (active.run.folder / "steps").exists()
    assert isinstance(active.perform("a->b", "convert", job(), KEY, room=1)[0], Done)


def test_what_failed_on_a_full_disk_says_so_and_a_journal_that_cannot_be_written_stops_nothing(make, monkeypatch):
    active = make()
    monkeypatch.setattr("navigator_core.session.shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    monkeypatch.setattr("navigator_core.workspace.os.fsync", full)
    outcome, _ = active.perform("a->b", "convert", job("fail", "cannot write"), KEY)
    assert outcome.reason == f"ValueError: cannot write; the disk of {active.workspace.path} is full"
    assert any("the run's journal is not complete" in note for note in active.notes)


def full(descriptor):
    raise OSError(28, "No space left on device")


def test_what_is_not_to_be_kept_is_done_again(make):
    active = make()
    outcome, _ = active.perform("a->b", "convert", job(), KEY, keep=lambda value: False)
    assert (outcome.value, outcome.cached) == ("value", False)
    assert active.workspace.object(KEY) is None
    again, _ = active.perform("a->b", "convert", job(argument="other"), KEY)
    assert again.value == "other"
