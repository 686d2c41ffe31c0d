"""Goodput, answers of streams and traces: from requests whose times are known to the metrics."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import START_NS, open_loop
from tests.measure.gathered import MS, counted, powered, run_of, value

GAP_MS, REQUESTS = 10, 400


def record_of(latencies_ms: list[int], firsts_ms: list[int], answers: int = 0) -> LoadRecord:
    """One request every 10 ms; latencies and first answers in rotation."""
    record = LoadRecord(first_send_ns=START_NS)
    rows, came = [], []
    for number in range(REQUESTS):
        start = START_NS + number * GAP_MS * MS
        first = firsts_ms[number % len(firsts_ms)]
        rows.append((start + latencies_ms[number % len(latencies_ms)] * MS, start, first))
        came += [start + (first + index) * MS for index in range(answers if first else 0)]
    for end, start, first in sorted(rows):
        record.starts_ns.append(start)
        record.ends_ns.append(end)
        record.firsts_ns.append(start + first * MS if first else 0)
    record.answers_ns = array("q", sorted(came))
    record.client_cpu_ns = 1
    record.delays_ns = array("q", [0] * 380 + [2 * MS] * 20)
    record.stopped_ns = record.drained_ns = record.ends_ns[-1]
    return record


def measured(workload: Workload, record: LoadRecord, lives: int = 1, **changes: Any) -> Any:
    run = run_of(record, batch_size=1)
    statistics = counted(record.requests, 1)
    run = replace(run, workload=workload, sent=statistics, statistics=statistics, **changes)
    return evaluate([run] * lives)


@pytest.mark.parametrize(
    ("latencies_ms", "deadline_ms", "share"),
    [([5, 9], 9, 1.0), ([5, 9], 8, 0.5), ([5, 6, 7, 9], 6.5, 0.5), ([5, 9], 1, 0.0)],
)
@pytest.mark.parametrize("load", [{"request_rate": 100.0}, {"concurrency": 1}])
def test_goodput_is_the_share_of_requests_that_took_no_longer(
    latencies_ms: list[int], deadline_ms: float, share: float, load: dict[str, float]
) -> None:
    workload = Workload("model", 1, deadline_s=deadline_ms / 1e3, **load)  # type: ignore[arg-type]
    found = measured(workload, record_of(latencies_ms, [0]))
    goodput = found.metrics["goodput"]
    assert value(goodput) == pytest.approx(100 * share, rel=0.05)
    assert goodput.low is not None
    assert goodput.low >= 0
    assert "goodput" in workload.quantities


def test_goodput_per_joule_is_goodput_over_the_power() -> None:
    workload = Workload("model", 1, request_rate=100.0, deadline_s=0.008)
    found = measured(workload, record_of([5, 9], [0]), power=powered(np.full(401, 5.0)))
    assert value(found.metrics["goodput_per_joule"]) == pytest.approx(50 / 5.0, rel=0.05)
    absent = measured(workload, record_of([5, 9], [0]))
    assert "no power meter" in absent.absent["goodput_per_joule"]


def test_goodput_per_joule_is_known_where_part_of_the_span_had_no_joules() -> None:
    workload = Workload("model", 1, request_rate=100.0, deadline_s=0.008)
    watts = np.where(np.linspace(0, 4, 401) < 1.1, 12.0, 0.0)
    found = measured(workload, record_of([5, 9], [0]), power=powered(watts))
    assert value(found.metrics["goodput_per_joule"]) == pytest.approx(100 / 12, rel=0.05)
    assert found.metrics["goodput_per_joule"].high is not None
    nothing = measured(workload, record_of([5, 9], [0]), lives=2, power=powered(np.zeros(401)))
    assert nothing.absent["goodput_per_joule"] == "the meter gave no joules"


def test_a_cell_without_a_deadline_has_no_goodput() -> None:
    found = measured(Workload("model", 1, request_rate=100.0), record_of([5], [0]))
    assert not {"goodput", "goodput_per_joule"} & {*found.metrics, *found.absent}


def test_the_answers_of_a_stream_are_counted_when_they_came() -> None:
    workload = Workload("model", 1, request_rate=100.0, streaming=True)
    found = measured(workload, record_of([9], [3], answers=4))
    assert value(found.metrics["answer_rate"]) == pytest.approx(400, rel=0.02)
    assert value(found.metrics["first_answer_p50"]) == pytest.approx(0.003)
    assert value(found.metrics["latency_p50"]) == pytest.approx(0.009)
    assert "first_answer_p99" in found.absent, "200 requests are too few for it"


def test_requests_without_an_answer_do_not_count_as_the_fastest() -> None:
    workload = Workload("model", 1, request_rate=100.0, streaming=True)
    found = measured(workload, record_of([9], [0, 5], answers=1))
    assert value(found.metrics["first_answer_p50"]) == pytest.approx(0.005)
    none = measured(workload, record_of([9], [0]))
    assert none.absent["first_answer_p50"] == "no request had an answer with a tensor in it"
    assert value(none.metrics["answer_rate"]) == 0


def test_how_late_requests_were_sent_is_told_of_an_open_loop() -> None:
    workload = Workload("model", 1, request_rate=100.0)
    assert measured(workload, record_of([5], [0])).send_error_p99_s == pytest.approx(0.002)


def test_a_burst_that_was_due_before_the_windows_is_what_was_done_in_them() -> None:
    record = open_loop(np.linspace(0, 0.05, 80), np.linspace(0.1, 2.0, 80))
    trace = {"arrival": "trace", "trace": "sha256:0123456789ab"}
    workload = Workload("model", 1, request_rate=50.0, **trace)  # type: ignore[arg-type]
    assert value(measured(workload, record).metrics["throughput"]) == pytest.approx(40, rel=0.05)


def test_the_throughput_of_a_trace_is_known_where_all_that_was_due_is_done() -> None:
    """Half of the windows have no arrival at all: that is the trace, and not noise."""
    record = record_of([5], [0])
    kept = [i for i, start in enumerate(record.starts_ns) if (start - START_NS) // (250 * MS) % 2]
    for name in ("starts_ns", "ends_ns", "firsts_ns"):
        times = getattr(record, name)
        setattr(record, name, array("q", [times[i] for i in kept]))
    trace = {"arrival": "trace", "trace": "sha256:0123456789ab"}
    workload = Workload("model", 1, request_rate=50.0, **trace)  # type: ignore[arg-type]
    replayed = measured(workload, record).metrics["throughput"]
    poisson = Workload("model", 1, request_rate=50.0, arrival="poisson")
    drawn = measured(poisson, record).metrics["throughput"]
    assert replayed.relative_half_width is not None
    assert drawn.relative_half_width is not None
    assert replayed.relative_half_width < drawn.relative_half_width / 2
