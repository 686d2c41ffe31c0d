"""What a measurement says of the energy, from the readings of a meter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.power.energy import ErrorBudget
from pytest_gaitperf.power.metering import PowerReading
from tests.load.synthetic import open_loop
from tests.measure.gathered import (
    STEADY,
    open_run,
    powered,
    run_of,
    value,
)


def test_energy_is_that_of_the_span_over_the_inferences_of_the_span() -> None:
    measured = evaluate([run_of(STEADY, power=powered(np.full(401, 12.0)))])
    energy, power = measured.metrics["energy_per_inference"], measured.metrics["power_mean"]
    assert (energy.unit, power.unit) == ("J", "W")
    assert energy.value == pytest.approx(12 / 800)
    assert energy.low == pytest.approx(12 / 800)
    assert power.value == pytest.approx(12)
    assert measured.rails_j == {"IN": pytest.approx(24), "GPU": pytest.approx(6)}
    assert measured.energy_rails == ("IN",)
    assert measured.power is not None
    assert measured.power.span_s == 2.0
    assert measured.power.watts["GPU"] == pytest.approx([3.0] * len(measured.power.watts["GPU"]))


def test_power_outside_the_span_does_not_count() -> None:
    # 10 W at first, rising by 1 W a second: over 0.1 to 2.1 s that is 11.1 W on average. What
    # follows after the span is far higher.
    seconds = np.linspace(0, 4, 401)
    watts = np.where(seconds <= 2.1, 10 + seconds, 500.0)
    measured = evaluate([run_of(STEADY, power=powered(watts))])
    assert value(measured.metrics["power_mean"]) == pytest.approx(11.1, rel=1e-3)
    assert value(measured.metrics["energy_per_inference"]) == pytest.approx(11.1 / 800, rel=1e-3)
    low, high = (measured.metrics["power_mean"].low, measured.metrics["power_mean"].high)
    assert low is not None
    assert high is not None
    assert low < 11.1 < high


def test_parts_of_the_span_in_which_nothing_was_done_leave_the_energy_its_interval() -> None:
    # 100 requests/s of two, none of them in the last 0.3 of 2 s.
    sent = np.arange(180) / 100
    run = open_run(open_loop(sent, np.full(180, 0.01)))
    measured = evaluate([replace(run, power=powered(np.full(401, 12.0)))])
    energy = measured.metrics["energy_per_inference"]
    assert energy.value == pytest.approx(24 / 340)
    assert energy.low is not None
    assert energy.high is not None
    assert energy.low < energy.value < energy.high < 5 * energy.value


def test_a_span_too_short_for_the_meter_gives_no_energy() -> None:
    power = powered(np.full(401, 12.0), minimum_window_s=1.0)
    measured = evaluate([run_of(STEADY, power=power)])
    for name in ("energy_per_inference", "power_mean"):
        assert name not in measured.metrics
        assert "2.0 s were measured, the meter needs 4.0 s" in measured.absent[name]


def test_a_trace_that_ends_too_early_gives_no_energy() -> None:
    power = powered(np.full(101, 12.0), until_s=1.5)
    measured = evaluate([run_of(STEADY, power=power)])
    assert "does not cover" in measured.absent["energy_per_inference"]
    assert measured.power is None
    assert value(measured.metrics["throughput"]) == pytest.approx(800)


def test_a_meter_that_failed_is_told_from_a_machine_without_one() -> None:
    failed = PowerReading(None, "the sensor is stuck", failed=True)
    assert evaluate([run_of(STEADY, power=failed)]).energy_failed
    assert not evaluate([run_of(STEADY)]).energy_failed
    assert not evaluate([run_of(STEADY, power=powered(np.full(401, 12.0)))]).energy_failed


def test_the_gpu_rail_has_its_own_energy() -> None:
    power = replace(powered(np.full(401, 12.0)), gpu_rails=("GPU",))
    measured = evaluate([run_of(STEADY, power=power)])
    assert value(measured.metrics["gpu_energy_per_inference"]) == pytest.approx(3 / 800)


@pytest.mark.parametrize(("sampling", "said"), [(0.019, None), (0.04, "8 s would give 2%")])
def test_a_large_error_of_the_meter_says_how_long_to_measure(
    sampling: float, said: str | None
) -> None:
    budget = ErrorBudget(2.0, 0.0, 0.0, sampling, averages=True)
    power = replace(powered(np.full(401, 12.0)), budget=budget)
    measured = evaluate([run_of(STEADY, power=power)])
    assert measured.energy_error == pytest.approx(sampling)
    assert (measured.energy_note is None) == (said is None)
    assert (said or "") in (measured.energy_note or "")


def test_without_a_meter_the_reason_is_given() -> None:
    measured = evaluate([run_of(STEADY)])
    assert measured.absent["energy_per_inference"] == "no power meter: none was asked for"
    assert measured.rails_j == {}
