"""Every fault at every stage: it costs its branch, leaves nothing running, and the next run does what is left, once."""

import re
import signal

import pytest

from navigator_core import session

from . import faults
from .faults import ASKED, ONCE

MEMORY = 300 * 2**20

INSIDE = {
    "raises": "no way to go on",
    "segfaults": "was ended by SIGSEGV, a crash in native code; last lines: about to do it: segfaults",
    "exits": "ended with exit code 7 before it had a result; last lines: about to do it: exits",
    "is killed": "was ended by SIGKILL, as the kernel does when memory runs out",
    "hangs": r"was stopped after \d+ s, its time limit; last lines: about to do it: hangs",
    "floods": r"ended with exit code 5 .*\| the end of the flood",
    "prints on the protocol": r"wrote what is no message on the stream .*\('Loading weights: 100%'\)",
    "closes the protocol": "lost its worker, which closed its stream",
    "hoards": r"was stopped when it held 0\.\d+ GiB, its memory limit being 0\.293 GiB",
    "fills the disk": "File too large",
    "leaves a daemon": "ended with exit code 3",
    "kills its worker": "lost its worker, which was ended by SIGKILL",
}
"""What a step may do wrong, and the reason that its candidate then has."""

OUTSIDE = {
    "kills the parent": -signal.SIGKILL,
    "kills both": -signal.SIGKILL,
    "interrupts the parent": 0,
    "terminates the parent": 0,
}
"""What may befall the process that runs it all, and how it then ends; `faults` catches what is raised to it."""

AFTER = {"raises", "segfaults", "exits", "is killed", "fills the disk", "interrupts the parent"}
"""What may go wrong when the run is over and its package is saved or loaded, in the caller's own process."""

STEPS = ("export", "convert", "load", "verify", "profile")
FEW = {
    ("export", "segfaults"),
    ("convert", "fills the disk"),
    ("convert", "leaves a daemon"),
    ("load", "prints on the protocol"),
    ("load", "hoards"),
    ("verify", "raises"),
    ("profile", "floods"),
    ("profile", "kills its worker"),
    ("convert", "kills both"),
    ("profile", "terminates the parent"),
    ("save", "is killed"),
    ("package", "segfaults"),
}
"""For every day; all the others take minutes."""

ALL = [
    *((stage, deed) for stage in STEPS for deed in (*INSIDE, *OUTSIDE)),
    *((stage, deed) for stage in ("save", "package") for deed in sorted(AFTER)),
]


def cases(stages, deeds):
    return [
        pytest.param(stage, deed, marks=() if (stage, deed) in FEW else pytest.mark.long)
        for stage, deed in ALL
        if stage in stages and deed in deeds
    ]


def test_there_are_enough_of_them():
    assert len(ALL) >= 60
    assert set(ALL) >= FEW


@pytest.mark.parametrize(("stage", "deed"), cases(STEPS, INSIDE))
def test_what_a_step_does_wrong_costs_its_branch_once(stage, deed, folder, expected, monkeypatch):
    faults.arm(folder, stage, "fp32", deed)
    with monkeypatch.context() as impatient:
        if deed == "hangs":
            impatient.setattr(session, "DEFAULT_TIMEOUT", 20.0)  # steps that do not hang take 2
        report = faults.optimize(folder / "workspace", memory_limit=MEMORY if deed == "hoards" else None)
    assert not (folder / "trap").exists(), "nothing went wrong"
    runtime = [c for c in report.candidates if c.runner == "mini-runtime"]
    hit = [c for c in runtime if c.precision == "fp32" or stage == "export"]
    assert [c.status for c in hit] == ["failed"] * len(hit)
    for candidate in hit:
        assert re.search(INSIDE[deed], candidate.reason), candidate.reason
        assert candidate.log is None or candidate.log.stat().st_size < 2**22
    assert {c.status for c in report.candidates if c not in hit} == {"ok"}
    assert faults.leftovers(folder) == []
    goes_on(folder, expected)


@pytest.mark.parametrize(("stage", "deed"), cases(STEPS, OUTSIDE))
def test_what_befalls_the_process_that_runs_it_costs_the_step_at_work(stage, deed, folder, expected):
    faults.arm(folder, stage, "fp32", deed)
    with faults.start(folder, "save") as process:
        _, error = process.communicate(timeout=600)
    assert process.returncode == OUTSIDE[deed], error
    assert not (folder / "trap").exists(), "nothing went wrong"
    assert faults.leftovers(folder) == []
    if OUTSIDE[deed] == 0:
        is_partial(
            faults.made(folder, process), folder, expected, "SIGINT" if deed.startswith("interrupts") else "SIGTERM"
        )
    goes_on(folder, expected)


def is_partial(made, folder, expected, ending):
    """What was finished is in the report, the rest is skipped, and all of it could be saved."""
    assert made["ending"] == ending
    assert (folder / "model.nav").exists()
    found = made["summary"]["candidates"]
    assert found.keys() == expected["candidates"].keys()
    skipped = {name: one for name, one in found.items() if one["status"] == "skipped"}
    assert skipped
    assert all(f"the run was interrupted by {ending}" in one["reason"] for one in skipped.values())
    assert {one["status"] for one in found.values()} <= {"skipped", "ok"}


@pytest.mark.parametrize(("stage", "deed"), cases({"save", "package"}, AFTER))
def test_what_goes_wrong_with_a_package_leaves_none_or_a_whole_one(stage, deed, folder, expected):
    faults.arm(folder, stage, "archive" if stage == "save" else "fp32", deed)
    with faults.start(folder, "save", "load") as process:
        process.communicate(timeout=600)
    assert process.returncode != 0
    assert not (folder / "trap").exists(), "nothing went wrong"
    assert (folder / "model.nav").exists() == (stage == "package")
    assert faults.leftovers(folder) == []
    with faults.start(folder, "save", "load") as process:
        _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    made = faults.made(folder, process)
    assert made["summary"] == expected
    rows = faults.model()(faults.SAMPLES[0]).value.tolist()
    assert made["answer"] == [pytest.approx(row) for row in rows]
    found = faults.done(folder)
    assert {name: found[name] for name in ONCE} == ONCE


def goes_on(folder, expected):
    """The next run comes to what an undisturbed one does; only what was at work is done again."""
    before = faults.done(folder)
    assert faults.summary(faults.optimize(folder / "workspace")) == expected
    assert {name: count for name, count in faults.done(folder).items() if name in ONCE} == ONCE
    begun = faults.begun(folder)
    assert begun["source eager"] == ASKED
    assert {name: begun[name] for name in ONCE if name in before} == dict.fromkeys(before.keys() & ONCE.keys(), 1)
    assert all(begun[name] <= 2 for name in ONCE)
    assert list((folder / "workspace" / "temporary").iterdir()) == []
