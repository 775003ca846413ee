"""What the machine can tell apart is learned once, and is of use for a verdict."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from navigator_core import calibration
from navigator_core.calibration import Calibrating, Calibration, calibrate, noise, timer_overhead
from navigator_core.duels import MARGIN


def found(floor: float) -> Calibration:
    return Calibration(noise_floor=floor, timer_overhead=1e-7, rounds=8)


def test_a_real_machine_is_calibrated_in_about_the_time_given(tmp_path: Path) -> None:
    began = time.monotonic()
    told = calibrate(Calibrating(seconds=0.2, boot="", cores=()), tmp_path, lambda message: None)
    assert time.monotonic() - began < 10
    assert 4 <= told.rounds <= 12
    assert 0 <= told.noise_floor < 1
    assert 0 < told.timer_overhead < 1e-4


def test_the_floor_holds_what_three_rounds_among_equals_show_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        floor = noise(np.exp(0.02 * rng.standard_normal(8)).tolist())
        playoff = abs(math.log(np.exp(0.02 * rng.standard_normal(3)).prod() ** (1 / 3)))
        held.append(playoff <= math.log1p(floor))
    assert np.mean(held) == pytest.approx(0.95, abs=0.035)


def test_one_disturbed_round_does_not_move_the_floor() -> None:
    steady = [1.01, 0.99, 1.012, 0.988, 1.01]
    assert noise([*steady, 3.0]) == pytest.approx(noise([*steady, 1.011]), rel=0.15)


@pytest.mark.parametrize(("floor", "margin"), [(0.001, MARGIN), (0.045, 0.045), (0.4, calibration.HIGHEST)])
def test_the_margin_is_the_default_or_the_noise_and_never_what_a_busy_moment_shows(floor: float, margin: float) -> None:
    assert found(floor).margin == margin


def test_a_timer_costs_next_to_nothing_but_something() -> None:
    assert 0 < timer_overhead() < 1e-4
