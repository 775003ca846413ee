"""Memory of this very process, really taken and really freed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from navigator_core.memory import PeakMemory, rss
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

SIZE = 50_000_000
SLACK = 5_000_000


def touched(size: int = SIZE) -> np.ndarray:
    return np.ones(size, np.uint8)


@pytest.fixture
def forbidden(tmp_path: Path) -> Path:
    """A /proc/self whose high-water mark may not be reset; the real mark is far above what the tests take."""
    (tmp_path / "clear_refs").mkdir()
    del_soon = touched(4 * SIZE)
    del del_soon
    return tmp_path


def test_rss_is_what_the_process_holds() -> None:
    before = rss()
    block = touched()
    assert rss() - before == pytest.approx(block.nbytes, abs=SLACK)


def test_memory_that_is_held_at_the_end_counts() -> None:
    with PeakMemory() as memory:
        block = touched()
    assert memory.peak == pytest.approx(block.nbytes, abs=SLACK)


def test_memory_that_was_freed_before_the_end_counts() -> None:
    with PeakMemory() as memory:
        touched()
    assert memory.exact
    assert memory.peak == pytest.approx(SIZE, abs=SLACK)


def test_a_higher_peak_before_the_block_does_not_count() -> None:
    touched(3 * SIZE)
    with PeakMemory() as memory:
        touched()
    assert memory.peak == pytest.approx(SIZE, abs=SLACK)


def test_a_block_that_takes_nothing_has_next_to_no_peak() -> None:
    with PeakMemory() as memory:
        pass
    assert 0 <= memory.peak < SLACK


def test_the_peak_is_above_the_baseline_given() -> None:
    baseline = rss()
    block = touched()
    with PeakMemory(baseline) as memory:
        touched()
    assert memory.peak == pytest.approx(SIZE + block.nbytes, abs=SLACK)


def test_the_peak_is_never_negative() -> None:
    with PeakMemory(baseline=2**60) as memory:
        pass
    assert memory.peak == 0


def test_the_peak_is_known_after_an_error_too() -> None:
    def fail() -> None:
        touched()
        raise RuntimeError

    memory = PeakMemory()
    with pytest.raises(RuntimeError), memory:
        fail()
    assert memory.peak == pytest.approx(SIZE, abs=SLACK)


def test_one_object_measures_several_blocks() -> None:
    memory = PeakMemory(rss())
    with memory:
        touched()
    with memory:
        touched(2 * SIZE)
    assert memory.peak == pytest.approx(2 * SIZE, abs=SLACK)


def test_where_the_mark_may_not_be_reset_a_thread_sees_what_stays_a_while(forbidden: Path) -> None:
    with PeakMemory(interval=0.001, proc=forbidden) as memory:
        block = touched()
        time.sleep(0.3)
        del block
    assert not memory.exact
    assert memory.peak == pytest.approx(SIZE, abs=SLACK)


def test_where_the_mark_may_not_be_reset_but_moves_it_counts(forbidden: Path) -> None:
    with PeakMemory(interval=60, proc=forbidden) as memory:
        touched(6 * SIZE)
    assert memory.exact
    assert memory.peak == pytest.approx(6 * SIZE, abs=SLACK)


def test_a_proc_without_a_mark_is_watched(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tgvisor\nVmRSS:\t100 kB\n")
    with PeakMemory(proc=tmp_path) as memory:
        block = touched()
    assert memory.peak == pytest.approx(block.nbytes, abs=SLACK)


def test_what_the_users_gate_takes_is_no_memory_of_the_candidate(optimize):
    def hoard(references, candidates):
        sys.hoard = np.ones(2**23)  # 64 MiB that outlive it, as a framework does that it imports
        return True

    model = mini.Model(np.ones((4, 3), "float32"), np.ones(3, "float32"))
    with using(mini):
        report = optimize(model, [np.ones((2, 4), "float32"), np.zeros((3, 4), "float32")], verify=hoard)
    held = [m.memory["host"] for c in report.candidates for m in c.measurements]
    assert held
    assert max(held) < 2**25
