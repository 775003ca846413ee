"""Ctrl-C and SIGTERM: at once while there is nothing to report, then with a report; nobody's handler is touched."""

import os
import signal
import threading

import pytest

import navigator as nav
from navigator_core.errors import NavigatorError
from navigator_core.interruption import Interruption

from . import faults


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def as_python_starts():
    """What runs in the background of a shell is started with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_raised_at_once(number):
    with pytest.raises(KeyboardInterrupt) as caught, Interruption():
        send(number)
    assert isinstance(caught.value, nav.Interrupted)
    assert not isinstance(caught.value, NavigatorError)
    assert (caught.value.signal, caught.value.report) == (number.name, None)


def test_where_it_is_postponed_it_is_raised_in_what_is_exposed_and_by_a_second_one():
    with Interruption() as interruption, interruption.postponed():
        send(signal.SIGTERM)
        assert interruption.signal == "SIGTERM"
        with pytest.raises(nav.Interrupted), interruption.exposed():
            pytest.fail("begun after a signal")
        with pytest.raises(nav.Interrupted, match="interrupted by SIGINT"):
            send(signal.SIGINT)
    with (
        Interruption() as interruption,
        interruption.postponed(),
        pytest.raises(nav.Interrupted),
        interruption.exposed(),
    ):
        send(signal.SIGINT)


def test_handlers_are_as_before_when_it_is_over():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with Interruption():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_handler_of_the_callers_own_stays(monkeypatch):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with Interruption() as interruption:
            send(signal.SIGTERM)
        assert (heard, interruption.signal) == ([signal.SIGTERM], None)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_child_that_the_users_code_forks_ends_by_sigterm_as_ever():
    with Interruption() as interruption, interruption.postponed():
        child = os.fork()
        if child == 0:
            send(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


def test_a_run_in_a_thread_leaves_signals_alone_and_does_its_work(folder, expected):
    found = []
    thread = threading.Thread(target=lambda: found.append(faults.summary(faults.optimize(folder / "workspace"))))
    thread.start()
    thread.join()
    assert found == [expected]


def test_a_report_of_what_was_finished_is_as_good_as_any(folder, expected, tmp_path):
    """It can be printed, saved, loaded from; its best is the best of what is there; the same call does the rest."""
    faults.arm(folder, "load", "fp16", "interrupts the parent")
    heard = []
    with pytest.raises(nav.Interrupted) as caught:
        faults.optimize(folder / "workspace", observe=heard.append)
    report = caught.value.report
    assert heard[-1].report is report
    statuses = {candidate.name: candidate.status for candidate in report.candidates}
    skipped = [candidate for candidate in report.candidates if candidate.status == "skipped"]
    assert {*statuses.values()} == {"ok", "skipped"}
    for candidate in skipped:
        assert candidate.reason.endswith("the run was interrupted by SIGINT")
        assert candidate.remedy == "make the same call again: it goes on from here"
    assert "interrupted by SIGINT" in str(report)
    assert nav.load(report.save(tmp_path / "partial.nav")).report.to_dict()["candidates"]
    collected = faults.optimize(folder / "workspace", budget=1e-3)
    assert {candidate.name: candidate.status for candidate in collected.candidates} == statuses
    assert faults.summary(faults.optimize(folder / "workspace")) == expected
    assert faults.done(folder) == faults.ONCE
