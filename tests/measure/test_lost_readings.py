"""What a cell keeps of the power meter where a reading, or the file of it, is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.power.metering import Idle, Metering
from tests.measure.gathered import STEADY, following, run_of
from tests.power.fake_meter import FakeMeter

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.power.metering import PowerReading


def read(metering: Metering) -> PowerReading:
    return metering.read("a cell", np.unique(following(8)))


def stuck() -> Metering:
    metering = Metering(FakeMeter())
    metering.idle.append(Idle({"IN": 10.0, "GPU": 2.5}, 1.0, FakeMeter().trace(0, 10**9)))
    return metering


def test_a_trace_that_cannot_be_written_is_said_and_costs_no_cell(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    metering = Metering(FakeMeter(), trace_directory=tmp_path / "file")
    measured = evaluate([run_of(STEADY, power=read(metering))])
    assert measured.metrics["power_mean"].value == pytest.approx(10)
    assert metering.unsaved.startswith("--power-trace: cannot write")


def test_a_meter_that_hangs_for_good_is_not_waited_for_in_every_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter = FakeMeter(fail_at="start")
    metering = Metering(meter)
    for most_s in (60.0, 60.0, 0.0, 0.0):
        monkeypatch.setattr("pytest_gaitperf.power.metering._MOST_HUNG_S", most_s)
        metering.start()
        assert read(metering).absent == "the fake sensor fails at start"
        metering.stop()
    assert meter.calls.count("start") == 2


@pytest.mark.parametrize(
    "metering",
    [Metering(FakeMeter(fail_at="trace")), Metering(FakeMeter(minimum_window_s=3.0)), stuck()],
)
def test_a_reading_that_failed_has_the_rails_of_the_meter(metering: Metering) -> None:
    reading = read(metering)
    assert reading.failed
    assert reading.rails == ("IN",)


@pytest.mark.parametrize("estimated", [False, True])
def test_a_cell_is_the_same_one_once_the_life_that_the_meter_lost_is_left_out(
    estimated: bool,
) -> None:
    lost = read(Metering(FakeMeter(fail_at="trace", estimated=estimated)))
    disturbed = replace(run_of(STEADY, power=lost), disturbed="`make` used 0.9 of 2 CPUs")
    alone = run_of(STEADY, power=read(Metering(FakeMeter(estimated=estimated))))
    first, whole = evaluate([disturbed]), evaluate([disturbed, alone, alone])
    assert (first.energy_failed, whole.energy_failed) == (True, False)
    for one in (first, whole):
        assert (one.energy_rails, one.energy_estimated) == (("IN",), estimated)
