"""Two runs of the same request that start together in one workspace: each step is done once, by one of them."""

import pytest

from navigator_core.workspace import Workspace

from . import faults
from .faults import ASKED, ONCE


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
def test_runs_that_start_together_share_every_step_and_agree(times, tmp_path, folder, expected):
    for number in range(times):
        place = tmp_path / f"{number}"
        place.mkdir()
        both = [faults.start(place), faults.start(place)]
        errors = [process.communicate(timeout=600)[1] for process in both]
        assert errors == ["", ""]
        assert [process.returncode for process in both] == [0, 0]
        assert [faults.made(place, process)["summary"] for process in both] == [expected, expected]
        assert faults.done(place) == ONCE
        assert faults.begun(place) == {**ONCE, "source eager": ASKED}
        assert faults.leftovers(place) == []
        workspace = Workspace.open(place / "workspace")
        assert [key for key in workspace.object_keys() if not workspace.intact(key)] == []
        assert list((place / "workspace" / "temporary").iterdir()) == []


def test_a_run_that_waits_for_another_goes_on_with_a_step_that_the_other_could_not_finish(tmp_path, folder, expected):
    place = tmp_path / "shared"
    place.mkdir()
    faults.arm(place, "convert", "fp32", "is killed")
    both = [faults.start(place), faults.start(place)]
    errors = [process.communicate(timeout=600)[1] for process in both]
    assert errors == ["", ""]
    made = [faults.made(place, process)["summary"] for process in both]
    assert expected in made
    assert faults.begun(place)["convert fp32"] == 2
    assert faults.done(place) == ONCE
