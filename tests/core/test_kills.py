"""Kills at random moments, of the process that runs it all, of one below it, or of both: nothing is done again."""

import os
import random
import signal
import subprocess
import time

import pytest

from navigator_core import processes
from navigator_core.workspace import Workspace

from . import faults
from .faults import ASKED, ONCE

VICTIMS = ("parent", "below", "both", "interrupt", "terminate")
OWN = ("ended by SIGKILL", "lost its worker", "Interrupted: interrupted by", "did not start", "KeyboardInterrupt")
"""What the run's own last line may say where it was hit before there was anything to report."""


@pytest.mark.parametrize(
    ("kills", "seed", "seconds"), [(10, 1, 600), pytest.param(50, 2, 2400, marks=pytest.mark.long)]
)
def test_kills_at_random_moments_cost_no_step_that_was_finished(kills, seed, seconds, tmp_path, folder, expected):
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    place, whole, hit = _new(tmp_path, 0), 0, 0
    began = time.monotonic()
    _finish(faults.start(place))
    lasts = time.monotonic() - began
    place = _new(tmp_path, 1)
    while hit < kills and time.monotonic() < until:
        before, begun = faults.stored(place), faults.begun(place)
        process = faults.start(place)
        victim = rng.choice(VICTIMS)
        alone = _wait(process, rng.uniform(0, 1.2 * lasts))
        if not alone:
            _kill(process, victim, rng)
            hit += 1
        error = _finish(process)
        assert error == "" or any(words in error.splitlines()[-1] for words in OWN), (victim, error)
        assert faults.leftovers(place) == [], victim
        _nothing_is_lost_or_repeated(place, before, begun, victim)
        if alone:
            whole += 1
            _is_whole(place, process, expected)
            place = _new(tmp_path, whole + 1)
    assert hit == kills, f"{seconds} s were not enough"
    process = faults.start(place)
    assert _finish(process) == ""
    _is_whole(place, process, expected)


def _new(tmp_path, number):
    place = tmp_path / f"{number}"
    place.mkdir()
    return place


def _wait(process, seconds):
    """Whether it ended by itself within so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process, victim, rng):
    below = processes.descendants(process.pid)
    hit = [rng.choice(below)] if below and victim in ("below", "both") else []
    for pid in hit:
        _send(pid, signal.SIGKILL)
    if victim in ("parent", "both"):
        process.kill()
    if victim == "interrupt":
        process.send_signal(signal.SIGINT)
    if victim == "terminate":
        process.send_signal(signal.SIGTERM)


def _send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _finish(process):
    try:
        _, error = process.communicate(timeout=600)
    finally:
        process.kill()
    return error


def _nothing_is_lost_or_repeated(place, before, begun, victim):
    """What was in the workspace is there still, whole, and was not begun again."""
    assert before <= faults.stored(place), victim
    for step in before:
        assert faults.begun(place)[step] == begun[step], (victim, step)
    if (place / "workspace" / "objects").exists():
        workspace = Workspace.open(place / "workspace")
        assert [key for key in workspace.object_keys() if not workspace.intact(key)] == []


def _is_whole(place, process, expected):
    made = faults.made(place, process)
    assert made["ending"] == "whole"
    assert made["summary"] == expected
    assert faults.stored(place) == {*ONCE, "source eager"}
    assert faults.begun(place)["source eager"] >= ASKED
