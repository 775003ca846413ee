"""Steps in real worker processes: every way in which one can end is a result."""

import importlib.util
import inspect
import json
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from navigator_core import Ref, execution, shipping
from navigator_core.execution import Done, Failed, Job, Kind, Workers, describe_exit, shorten
from navigator_core.loading import Source
from navigator_core.signature import Parameter
from navigator_core.structure import Leaf, describe

STEPS = """
import os, signal, subprocess, sys, threading, time
from navigator_core.worker import SourceRaisedError

left_behind = []

def echo(argument, folder, emit):
    (folder / "made").write_text(argument)
    return argument.upper()

def crash(argument, folder, emit):
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(argument, folder, emit):
    print("last words", flush=True)
    os._exit(int(argument))

def hang(argument, folder, emit):
    print("going to sleep", flush=True)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    (folder / "pid").write_text(str(child.pid))
    emit({"sleeping": child.pid})
    time.sleep(1000)

def flood(argument, folder, emit):
    for _ in range(100_000):
        print("x" * 100)
    print("the end", flush=True)
    os._exit(5)

def chatter(argument, folder, emit):
    for i in range(3000):
        emit({"number": i, "text": "y" * 100})
    return argument

def orphan(argument, folder, emit):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    return str(child.pid)

def kill_worker(argument, folder, emit):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1000)

class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and\\n{b}")
        self.lock = threading.Lock()

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

def fail(argument, folder, emit):
    errors = {"odd": Odd(1, 2), "mute": Mute(), "exit": SystemExit(3), "empty": KeyError()}
    raise errors.get(argument) or ValueError("z" * 999)

def users(argument, folder, emit):
    cause = {"odd": Odd(1, 2), "own": UserError("mine")}[argument]
    try:
        raise cause
    except Exception as error:
        raise SourceRaisedError("the model raised on sample 0") from error

class UserError(LookupError):
    pass

def nonsense(argument, folder, emit):
    return object()

def remember(argument, folder, emit):
    left_behind.append(argument)
    return f"{len(left_behind)} {os.getppid()}"

def collected(argument, folder, emit):
    import gc
    return str([gc.isenabled(), gc.get_freeze_count() > 10_000, len(gc.get_objects()) < gc.get_freeze_count()])

def where(argument, folder, emit):
    return str([name for name in sys.modules if name == "steps_beside"] + [sys.flags.safe_path])
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    (folder / "steps_beside.py").write_text(STEPS)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def workers(steps):
    with Workers() as pool:
        yield pool


@pytest.fixture
def run(workers, tmp_path):
    numbers = iter(range(99))

    def run(name, argument="", **asked):
        folder = tmp_path / f"step-{next(numbers)}"
        (folder / "output").mkdir(parents=True)
        result = asked.pop("result", str)
        job = Job(function=Ref(f"steps_beside:{name}"), argument=argument, result=result, preload=("steps_beside",))
        return workers.run(job, folder, folder / "output", **asked)

    run.folder = tmp_path
    return run


def gone(pid, within=5.0):
    """Whether a process has ended; one that only waits to be buried counts."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_step_gives_its_value_and_leaves_what_it_made(run):
    outcome = run("echo", "hello, it's “fine”")
    assert isinstance(outcome, Done)
    assert outcome.value == "HELLO, IT'S “FINE”"
    assert not outcome.cached
    assert (run.folder / "step-0" / "output" / "made").read_text() == "hello, it's “fine”"


@pytest.mark.parametrize(
    ("step", "argument", "reason"),
    [
        ("crash", "", "was ended by SIGSEGV, a crash in native code; last lines: about to crash"),
        ("leave", "3", "ended with exit code 3 before it had a result; last lines: last words"),
        ("leave", "0", "ended with exit code 0 before it had a result; last lines: last words"),
        ("fail", "odd", "Odd: 1 and 2"),
        ("fail", "exit", "SystemExit: 3"),
        ("fail", "empty", "KeyError"),
        ("missing", "", "AttributeError: module 'steps_beside' has no attribute 'missing'"),
    ],
)
def test_a_step_that_does_not_end_well_is_a_result_with_its_reason(run, step, argument, reason):
    outcome = run(step, argument)
    assert isinstance(outcome, Failed)
    assert outcome.reason == reason
    assert outcome.raised is None
    assert outcome.log.exists()
    assert isinstance(run("echo", "still here"), Done)


def test_an_exception_that_cannot_even_be_printed_ends_its_step_alone(run):
    outcome = run("fail", "mute")
    assert outcome.reason.startswith("ended with exit code 1 before it had a result")
    assert isinstance(run("echo", "still here"), Done)


def test_a_long_reason_is_cut(run):
    assert len(run("fail", "long").reason) == 500


def test_a_result_that_cannot_be_written_down_is_a_failure(run):
    assert "left no readable result" in run("nonsense", result=int).reason


def test_a_step_that_hangs_is_stopped_with_all_it_started(run):
    begun = time.monotonic()
    outcome = run("hang", timeout=1.0)
    assert re.fullmatch(r"was stopped after \d+ s, its time limit; last lines: going to sleep", outcome.reason)
    assert time.monotonic() - begun < 60
    assert gone((run.folder / "step-0" / "output" / "pid").read_text())
    assert isinstance(run("echo", "still here"), Done)


def test_what_a_worker_has_imported_is_out_of_the_garbage_collectors_sight(run):
    assert run("collected").value == str([True, True, True])


def test_a_step_whose_worker_imports_for_too_long_says_what(steps, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "START_TIMEOUT", 1.0)
    (steps / "endless").mkdir()
    (steps / "endless" / "__init__.py").write_text("import time\ntime.sleep(60)\n")
    folder = tmp_path / "step"
    (folder / "output").mkdir(parents=True)
    with Workers() as pool:
        job = Job(function=Ref("steps_beside:echo"), argument="", result=str, preload=("json.decoder", "endless"))
        outcome = pool.run(job, folder, folder / "output")
    assert outcome.reason.startswith("was not begun: its worker had not imported endless, json after 1 s")


def test_what_a_step_leaves_running_is_ended_with_it(run):
    outcome = run("orphan")
    assert isinstance(outcome, Done)
    assert gone(outcome.value)


def test_a_flood_of_output_goes_to_the_log_and_its_last_lines_into_the_reason(run):
    outcome = run("flood")
    assert outcome.reason.startswith("ended with exit code 5 before it had a result; last lines: ")
    assert outcome.reason.endswith("| the end")
    assert 2_000_000 < outcome.log.stat().st_size < 4_000_000
    assert "bytes left out here" in outcome.log.read_text()


def test_all_that_a_step_emits_is_heard_in_order(run):
    heard = []
    assert run("chatter", "done", heard=heard.append).value == "done"
    assert [message["number"] for message in heard] == list(range(3000))


def test_a_listener_that_raises_ends_the_step_and_all_it_started(run):
    def interrupt(message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("hang", heard=interrupt)
    assert gone((run.folder / "step-0" / "output" / "pid").read_text())
    assert isinstance(run("echo", "still here"), Done)


def test_a_step_that_kills_its_worker_costs_nothing_but_itself(run):
    assert (
        run("kill_worker").reason
        == "lost its worker, which was ended by SIGKILL, as the kernel does when memory runs out"
    )
    assert isinstance(run("echo", "still here"), Done)


def test_a_worker_serves_many_steps_and_each_starts_afresh(run):
    first, second = run("remember", "a").value, run("remember", "b").value
    assert first == second
    assert first.startswith("1 ")


def test_a_worker_has_the_callers_path_and_not_the_current_folder(run):
    assert run("where").value == "['steps_beside', True]"


def test_at_the_end_every_worker_is_gone(steps, tmp_path):
    (tmp_path / "output").mkdir()
    with Workers() as pool:
        job = Job(function=Ref("steps_beside:remember"), argument="", result=str)
        outcome = pool.run(job, tmp_path, tmp_path / "output")
    assert gone(outcome.value.split()[1])


def test_workers_of_other_kinds_end_where_memory_is_short(tmp_path):
    kinds = Kind(preload=("json",)), Kind(preload=("decimal",))
    with Workers() as pool:
        for kind in kinds:
            pool.prepare(kind)
        processes = {kind: active.process for kind, active in pool._workers.items()}
        pool.only(kinds[0])
        assert processes[kinds[1]].wait(10) is not None
        assert processes[kinds[0]].poll() is None


def test_a_step_can_be_repeated_alone(run, tmp_path):
    run("echo", "again")
    folder = run.folder / "step-0"
    (folder / "output" / "made").unlink()
    done = subprocess.run(
        [sys.executable, "reproduce.py"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, '"AGAIN"')
    assert not (folder / "output" / "made").exists()  # it was made elsewhere, and thrown away


# the user's own exception


def test_the_users_own_exception_comes_back_with_its_traceback(run):
    outcome = run("users", "own")
    raised = outcome.raised
    assert type(raised).__name__ == "UserError"
    assert isinstance(raised, LookupError)
    assert raised.args == ("mine",)
    (note,) = raised.__notes__
    assert note.startswith("the model raised on sample 0")
    assert "steps_beside.py" in note
    assert outcome.reason == "UserError: mine"


def test_one_that_cannot_be_sent_is_told_in_words(run):
    raised = run("users", "odd").raised
    assert type(raised) is RuntimeError
    assert str(raised) == "Odd: 1 and\n2"
    assert "raise cause" in raised.__notes__[0]


# in this process


def test_a_step_may_run_here_with_its_output_in_the_log(run, capfd):
    outcome = run("echo", "here", here=True)
    assert outcome.value == "HERE"
    failed = run("fail", "odd", here=True)
    assert failed.reason == "Odd: 1 and 2"
    assert "Traceback" in failed.log.read_text()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "ended with exit code 3 before it had a result"),
        (-11, "was ended by SIGSEGV, a crash in native code"),
        (-9, "was ended by SIGKILL, as the kernel does when memory runs out"),
        (-15, "was ended by SIGTERM"),
        (-99, "was ended by signal 99"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code, text):
    assert describe_exit(code) == text


def test_a_text_is_cut_to_one_line():
    assert shorten("a\n  b") == "a b"
    assert shorten("a" * 400, 10) == "a" * 9 + "…"


# models on their way


class Unpicklable:
    """Its weights go by a reducer, or not at all."""

    def __init__(self, weights):
        self.weights = weights

    def __reduce__(self):
        raise TypeError("this class does not pickle")


class WithReducers:
    """As a framework's source module."""

    @staticmethod
    def reducers():
        return {Unpicklable: lambda model: (Unpicklable, (model.weights,))}


class WithShip:
    @staticmethod
    def ship(model, folder):
        np.save(folder / "weights.npy", model.weights)

    @staticmethod
    def receive(folder):
        return Unpicklable(np.load(folder / "weights.npy"))


class WithoutAnything:
    pass


PARAMETERS = (Parameter("x", "either", "positional", Leaf("x")),)


def source(folder):
    return Source(format="f", path=folder, framework=Ref("navigator_core.python_callable"))


def test_arrays_travel_beside_the_pickle_and_come_back_writable(tmp_path):
    arrays = {"a": np.arange(1000.0), "empty": np.zeros((0, 3)), "b": np.ones((2, 2), np.int8), "fixed": np.eye(3)}
    arrays["fixed"].flags.writeable = False
    shipping.ship(arrays, PARAMETERS, WithoutAnything, tmp_path)
    assert (tmp_path / "model.pkl").stat().st_size < 2000
    assert (tmp_path / "model.bin").stat().st_size > 8000
    assert all(start % shipping.ALIGNMENT == 0 for start, _ in json.loads((tmp_path / "model.json").read_text()))
    received, parameters = shipping.receive(source(tmp_path))
    assert parameters == PARAMETERS
    for name, array in arrays.items():
        np.testing.assert_array_equal(received[name], array)
    received["a"][0] = 9
    assert shipping.receive(source(tmp_path))[0]["a"][0] == 0


def test_a_model_without_arrays_travels_too(tmp_path):
    shipping.ship({"n": 1}, (), WithoutAnything, tmp_path)
    assert shipping.receive(source(tmp_path)) == ({"n": 1}, ())


def test_reducers_are_for_this_pickle_alone(tmp_path):
    import cloudpickle

    model = Unpicklable(np.arange(3.0))
    shipping.ship(model, (), WithReducers, tmp_path)
    np.testing.assert_array_equal(shipping.receive(source(tmp_path))[0].weights, model.weights)
    assert Unpicklable not in cloudpickle.Pickler.dispatch_table
    with pytest.raises(TypeError, match="does not pickle"):
        cloudpickle.dumps(model)


def test_a_function_sent_by_value_says_where_its_source_is(tmp_path):
    def here():
        return [inspect.getsource(inner) for inner in (lambda: 1,)]

    shipping.ship(here, (), WithoutAnything, tmp_path)
    received = shipping.receive(source(tmp_path))[0]
    assert received is not here
    assert received.__code__.co_filename == __file__
    assert received() == here()


def test_what_pickle_refuses_goes_by_the_frameworks_ship(tmp_path, monkeypatch):
    shipping.ship(Unpicklable(np.arange(3.0)), PARAMETERS, WithShip, tmp_path)
    monkeypatch.setattr(Ref, "resolve", lambda ref: WithShip)
    model, parameters = shipping.receive(source(tmp_path))
    np.testing.assert_array_equal(model.weights, np.arange(3.0))
    assert parameters == PARAMETERS


def test_what_cannot_go_at_all_says_why_and_can_be_kept_here(tmp_path):
    model = Unpicklable(3)
    with pytest.raises(shipping.NotShippableError, match="TypeError: this class does not pickle"):
        shipping.ship(model, PARAMETERS, WithoutAnything, tmp_path)
    shipping.keep(tmp_path, model, PARAMETERS)
    assert shipping.receive(source(tmp_path)) == (model, PARAMETERS)
    shipping.forget(tmp_path)
    shipping.forget(tmp_path)
    with pytest.raises(FileNotFoundError):
        shipping.receive(source(tmp_path))


HIDDEN = """
import abc
ONE = [1]

class Output(dict, metaclass=abc.ABCMeta):
    pass

def model(value):
    return value + len(ONE)
"""


def test_what_another_process_cannot_import_goes_by_value(tmp_path, monkeypatch):
    """A module that was loaded from a file of its own, as notebooks and test runners do."""
    (tmp_path / "hidden_module.py").write_text(HIDDEN)
    spec = importlib.util.spec_from_file_location("hidden_module", tmp_path / "hidden_module.py")
    hidden = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hidden_module", hidden)
    spec.loader.exec_module(hidden)
    node, _ = describe(hidden.Output(a=np.zeros(1)), "x")
    shipping.ship(hidden.model, (Parameter("x", "either", "positional", node),), WithoutAnything, tmp_path)
    script = f"""
        from pathlib import Path
        from navigator_core import structure
        from navigator_core.declarations import Ref
        from navigator_core.loading import Source
        from navigator_core.shipping import receive

        path = Path({str(tmp_path)!r})
        model, parameters = receive(Source(format="f", path=path, framework=Ref("navigator_core.python_callable")))
        built = structure.rebuild(parameters[0].node, {{"x.a": 1}})
        print(model(20), type(built).__name__, built)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "21 Output {'a': 1}", done.stderr
