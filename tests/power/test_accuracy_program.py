from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.energy_accuracy import DRIVERS, measure
from benchmarks.energy_driver import current_ma


def test_the_program_measures_a_known_power_with_both_methods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Constant power: what the machine's other load does to the times cannot change the joules.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    result = measure("constant", DRIVERS[1], 1.0)
    assert result.truth_j == pytest.approx(8.0 * result.window_s, rel=1e-3)
    assert result.ours_j == pytest.approx(result.truth_j, rel=0.005)
    assert result.thread_j < result.truth_j
    assert 0 < result.sampler_cpu < 1


@pytest.mark.parametrize(
    ("wave", "at_s", "milliamps"),
    [
        ("constant", 3.0, 2000.0),
        ("square 50 Hz", 0.005, 3000.0),
        ("square 50 Hz", 0.015, 1000.0),
        ("step", 0.9, 1000.0),
        ("step", 1.0, 3000.0),
        ("sawtooth", 0.0, 1000.0),
    ],
)
def test_the_waveforms_are_what_they_are_called(wave: str, at_s: float, milliamps: float) -> None:
    assert current_ma(wave, at_s, 1000.0, 3000.0, 1.0) == milliamps
