"""The search on a real Triton, with models whose capacity is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.capacity import RESOLUTION
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.measure.subjects import _Driver, measure_most_subjects
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import steady
from tests.measure.gathered import run_of

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer

SLEEP_S = 0.02  # of the model sleepy


@pytest.mark.slow
def test_a_model_of_known_service_time_serves_what_it_can(measured_server: TritonServer) -> None:
    # One at a time, 20 ms each, are 50 a second at most: 5 subjects of 10 frames. The deadline is
    # wide, so that it is the backlog that ends it, whatever else this machine does.
    workload = Workload(
        "sleepy", 1, most_subjects=True, frame_rate=10, deadline_s=0.1, percentile=90
    )
    said: list[str] = []
    measured = measure_most_subjects(
        measured_server, workload, Metering(), Budget(budget_s=18), progress=said.append
    )
    assert measured.invalid is None
    subjects = measured.metrics["subjects"]
    possible = 1 / SLEEP_S / workload.frame_rate
    assert 0.3 * possible <= subjects.value <= possible * (1 + RESOLUTION)
    assert subjects.low is not None
    assert subjects.high is not None
    assert subjects.low < subjects.value < subjects.high
    # It was measured a little below that load.
    assert measured.capacity is not None
    rate = measured.capacity.at * workload.frame_rate
    assert 0.8 * subjects.value < measured.capacity.at <= subjects.value
    assert measured.metrics["throughput"].value == pytest.approx(rate, rel=0.3)
    best = [one for one in measured.capacity.trials if one.subjects == measured.capacity.at]
    assert best[-1].measured
    assert best[-1].served
    assert sum(line.startswith("N = ") for line in said) == len(measured.capacity.trials)
    assert (measured.lives, measured.spread) == (1, {})


@pytest.mark.parametrize(("later_s", "served"), [(0.01, True), (0.06, False)])
def test_first_requests_that_alone_were_slow_do_not_tell_that_nobody_is_served(
    monkeypatch: pytest.MonkeyPatch, later_s: float, served: bool
) -> None:
    """The deadline is that of 25 frames a second, 40 ms."""
    later = run_of(steady(1, later_s, 4.0), concurrency=1, batch_size=1)
    monkeypatch.setattr(_Driver, "_closed", lambda *_: steady(1, 3.0, 3.0))
    monkeypatch.setattr(_Driver, "_gathered", lambda *_: later)
    nothing: Any = None  # there is no server
    workload = Workload("model", 1, most_subjects=True, frame_rate=25.0)
    search = _Driver(nothing, nothing, workload, nothing, Metering(), Budget(), lambda _text: None)
    found = search.measurement()
    assert ("the first requests were slow" in (found.invalid or "")) == served


def test_what_cannot_be_loaded_is_told_before_anything_is_sent(
    measured_server: TritonServer,
) -> None:
    workload = Workload("streams", 1, most_subjects=True)
    with pytest.raises(MeasurementError, match="'streams' cannot be measured so: it is decoupled"):
        measure_most_subjects(measured_server, workload, Metering(), Budget())


@pytest.mark.slow
@pytest.mark.parametrize(("deadline_s", "low", "high"), [(0.01, 0.0, 0.0), (0.2, 5.0, 50.0)])
def test_the_best_rate_is_what_stays_within_the_time_and_0_where_nothing_does(
    measured_server: TritonServer, deadline_s: float, low: float, high: float
) -> None:
    """The model sleeps 20 ms: it serves less than 50 a second, and none within 10 ms."""
    workload = Workload("sleepy", 1, best_rate=True, deadline_s=deadline_s, percentile=90.0)
    found = measure_most_subjects(measured_server, workload, Metering(), Budget(budget_s=20.0))
    assert low <= found.metrics["best_rate"].value <= high
    assert found.capacity is not None
    assert found.capacity.unit == "inf/s"
    assert "subjects" not in found.metrics
