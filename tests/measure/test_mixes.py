"""A cell beside neighbours, of loads whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.engine.neighbours import in_time
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.measure.mixes import slowdown
from pytest_gaitperf.measure.neighbours import Load
from pytest_gaitperf.measure.subjects import left_out
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.results import LimitState
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import START_NS, closed_loop, open_loop, steady
from tests.measure.gathered import STEADY, counted, powered, run_of, with_windows

if TYPE_CHECKING:
    from pytest_gaitperf.measure.gathered import Gathered

RATE = 100


def neighbour(
    latency_s: float = 0.02, *, deadline_s: float = 0.0, requests: int = 400, failures: int = 0
) -> tuple[Workload, Load]:
    """A model at 100 requests/s for 4 s, each of which takes the same time."""
    workload = Workload("detector", 1, request_rate=RATE, deadline_s=deadline_s)
    record = open_loop(np.arange(requests) / RATE, np.full(requests, latency_s))
    record.delays_ns.extend([0] * requests)
    record.failures = failures
    record.failure_reasons = ["no weights"] * bool(failures)
    record.stopped_ns = record.drained_ns = START_NS + 4 * 10**9
    return workload, Load(workload, record, counted(requests, 1))


def beside(*others: tuple[Workload, Load], run: Gathered | None = None) -> Gathered:
    run = run or run_of(STEADY)
    mix = tuple(workload for workload, _ in others)
    return replace(
        run,
        workload=replace(run.workload, beside=mix),
        neighbours=tuple(load for _, load in others),
    )


def test_a_neighbour_counts_in_the_windows_of_the_cell_and_no_others() -> None:
    whole = evaluate([beside(neighbour())])
    assert whole.invalid is None
    (kept,) = whole.neighbours
    assert kept.kept == pytest.approx(RATE, rel=0.01)
    assert kept.requests == pytest.approx(RATE * whole.duration_s, abs=2)
    assert kept.latency_p99 is not None
    assert kept.latency_p99.value == pytest.approx(0.02)
    assert whole.late(beside(neighbour()).workload) == "all in time"

    part = evaluate([with_windows(beside(neighbour()), 1, 4)])
    assert part.neighbours[0].requests == pytest.approx(RATE * 0.5, abs=2)
    assert part.neighbours[0].latency_p99 is None, "fewer than 100 requests tell no p99"
    asked = beside(neighbour(deadline_s=0.04)).workload
    assert part.late(asked) == "too few to tell: detector (50 of 100 requests)"


def test_what_was_slow_in_a_window_that_does_not_count_is_not_the_neighbours() -> None:
    workload, load = neighbour(deadline_s=0.04)
    latencies = np.full(400, 0.02)
    latencies[60:85] = 0.1  # in the third of the windows of 0.25 s
    load = replace(load, record=open_loop(np.arange(400) / RATE, latencies))
    run = beside((workload, load))
    assert evaluate([run]).late(run.workload) == "late: detector (p99 100 ms, 40 ms asked)"
    kept = with_windows(run, 0, 1, 5, 6, 7)
    assert evaluate([kept]).late(kept.workload) == "all in time"


@pytest.mark.parametrize(("deadline_s", "state"), [(0.04, "met"), (0.01, "violated")])
def test_a_deadline_is_a_limit_and_so_is_the_rate(deadline_s: float, state: str) -> None:
    run = beside(neighbour(deadline_s=deadline_s))
    measured = evaluate([run])
    checks = {one.limit: one.state.value for one in in_time(run.workload, measured)}
    limit = f"detector latency_p99 <= {deadline_s * 1e3:g} ms"
    assert checks == {"detector at 100 requests/s": "met", limit: state}


def test_the_cells_own_deadline_is_one_of_the_mix() -> None:
    run = run_of(steady(4, 0.01, 4.0))
    workload = replace(run.workload, deadline_s=0.005)
    run = beside(neighbour(), run=replace(run, workload=workload))
    measured = evaluate([run])
    assert measured.late(run.workload) == "late: model (p99 10 ms, 5 ms asked)"
    own = [one for one in in_time(run.workload, measured) if one.limit.startswith("model")]
    assert [one.state for one in own] == [LimitState.VIOLATED]


def test_a_rate_that_the_server_does_not_keep_is_late_and_no_baseline() -> None:
    workload, load = neighbour()
    # Of 100 requests a second 50 are done: the latency grows as the backlog does.
    slow = open_loop(np.arange(200) / RATE, np.arange(200) / RATE)
    slow.delays_ns.extend([10**9] * 200)
    slow.stopped_ns = slow.drained_ns = START_NS + 4 * 10**9
    run = beside((workload, replace(load, record=slow, sent=counted(200, 1))))
    measured = evaluate([run])
    assert measured.late(run.workload) == "late: detector (50 of 100 requests/s)"
    assert measured.invalid is None, "that the client waited for the server is not its fault"
    assert measured.behind is None
    assert measured.kept_behind is not None
    assert measured.kept_behind.startswith("neighbour detector completed 50 of 100 requests/s")
    assert measured.kept_behind in measured.notes
    assert in_time(run.workload, measured)[0].state is LimitState.VIOLATED


def test_failed_and_foreign_requests_of_a_neighbour_make_the_cell_invalid_and_name_it() -> None:
    failed = evaluate([beside(neighbour(failures=3))]).invalid
    assert failed == "3 requests of neighbour detector failed: no weights"
    workload, load = neighbour()
    more = beside((workload, replace(load, sent=counted(500, 1))))
    assert "it counted 500 inferences of neighbour detector, 400 were ours" in str(
        evaluate([more]).invalid
    )


def test_a_client_that_sends_late_and_a_server_that_stands_still_are_named() -> None:
    workload, load = neighbour()
    late = LoadRecord(**{f: getattr(load.record, f) for f in load.record.__slots__})
    late.delays_ns = type(late.delays_ns)("q", [5 * 10**6] * 400)
    found = evaluate([beside((workload, replace(load, record=late)))]).invalid
    assert "the client sent 400 of 400 requests of neighbour detector late" in str(found)

    sent_s = np.arange(900) / RATE
    ends_s = np.where((sent_s > 1) & (sent_s < 1.7), 1.7, sent_s)  # it stood still for 0.7 s
    stood = open_loop(sent_s, np.maximum(ends_s - sent_s, 0.002))
    stood.stopped_ns = stood.drained_ns = START_NS + 9 * 10**9
    long = run_of(steady(4, 0.01, 9.0), windows=34)
    load = replace(load, record=stood, sent=counted(900, 1))
    stalled = evaluate([beside((workload, load), run=long)]).invalid
    assert "the server stood still" in str(stalled)
    assert "(neighbour detector)" in str(stalled)


def test_the_process_that_loads_two_neighbours_may_be_what_is_too_slow() -> None:
    mix = [neighbour(), neighbour()]
    for _, load in mix:
        load.record.client_cpu_ns = 2 * 10**9  # of 4 s each
    two = [
        (workload, replace(load, workload=workload))
        for workload, (_, load) in zip(
            (mix[0][0], replace(mix[1][0], model="face")), mix, strict=True
        )
    ]
    assert evaluate([beside(mix[0])]).invalid is None
    assert "the client of the neighbours was busy 100% of the time" in str(
        evaluate([beside(*two)]).invalid
    )


def test_the_joules_are_those_of_all_models() -> None:
    power = powered(np.full(4001, 10.0))
    alone = evaluate([run_of(STEADY, power=power)])
    assert "energy_per_inference" in alone.metrics
    mixed = evaluate([beside(neighbour(), run=run_of(STEADY, power=power))])
    assert mixed.metrics["power_mean"].value == pytest.approx(10)
    assert "energy_per_inference" not in mixed.metrics
    assert "those of all models together" in mixed.absent["energy_per_inference"]


def lives(*latencies_s: float) -> dict[int, Gathered]:
    return {number: run_of(steady(4, each_s, 4.0)) for number, each_s in enumerate(latencies_s, 1)}


def test_a_neighbour_that_slows_few_requests_slows_the_mean() -> None:
    latencies = np.full((1, 400), 0.01)
    latencies[:, ::4] = 0.03
    found = slowdown({1: run_of(closed_loop(latencies))}, lives(0.01))
    assert found is not None
    assert found[0].value == pytest.approx(1.5, rel=0.02)


def test_slowdown_is_the_ratio_of_the_same_lives() -> None:
    """A life in which both are slow tells no slowdown."""
    found = slowdown(lives(0.012, 0.024, 0.012), lives(0.01, 0.02, 0.01))
    assert found is not None
    estimate, spread = found
    assert estimate.value == pytest.approx(1.2, rel=1e-6)
    assert spread == pytest.approx(0, abs=1e-6)
    assert estimate.low is not None

    # Of lives that one of the two lacks, or that others disturbed, nothing is known.
    both, alone = lives(0.012, 0.05, 0.012), lives(0.01, 0.01, 0.01)
    found = slowdown(both, {1: alone[1], 3: alone[3]})
    assert found is not None
    assert found[0].value == pytest.approx(1.2, rel=1e-6)
    disturbed = {**both, 2: replace(both[2], disturbed="`make` used 1.00")}
    found = slowdown(disturbed, alone)
    assert found is not None
    assert found[0].value == pytest.approx(1.2, rel=1e-6)
    assert slowdown(both, {}) is None


def test_more_subjects_than_are_served_alone_are_not_measured_beside_others() -> None:
    search = Workload("pose", 1, most_subjects=True)
    mix = (Workload("detector", 1, request_rate=25),)
    found = Measurement(metrics={"subjects": Estimate("subjects", 3.0)})

    def why(subjects: int, *, paired: bool = False) -> str | None:
        cell = Workload("pose", 1, subjects=subjects, beside=mix)
        return left_out(cell, [search, cell], {search: found}.get, paired=paired)

    assert why(3) is None
    assert "found 3 subjects served" in str(why(4))
    assert "beside neighbours has no pairs" in str(why(3, paired=True))
