"""What a load keeps in memory: the books of a million requests, and large request bodies."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.load_parts.bench import NEVER
from benchmarks.load_parts.goal import Goal
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import LoadRecord, Precision
from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.measure.gathered import Gathered
from pytest_gaitperf.power.metering import PowerReading
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from benchmarks.load_parts.bench import Bench

_BODIES = 20


def memory(bench: Bench) -> list[Goal]:
    """Measure both; neither needs perf_analyzer."""
    return [_bodies(bench), _million()]


def _million() -> Goal:
    """Measure what the books of a million requests allocate at the peak, evaluation included."""
    requests, slots, latency_ns = 1_000_000, 32, 2_000_000
    start_ns = time.monotonic_ns()
    tracemalloc.start()
    record = LoadRecord(first_send_ns=start_ns)
    rule = Precision(
        start_ns=start_ns + 10**9,
        window_s=0.25,
        lag_s=0.01,
        precision=NEVER,
        minimum_span_s=0.0,
        limit_s=60.0,
        hard_limit_s=60.0,
        batch_size=1,
        progress=lambda _throughput, _half_width: None,
    )
    add_start, add_end = record.starts_ns.append, record.ends_ns.append
    for index in range(requests):
        end_ns = start_ns + (index // slots + 1) * latency_ns + index % slots
        add_start(end_ns - latency_ns)
        add_end(end_ns)
        if index % 4000 == 0:
            rule(record, end_ns)
    rule(record, end_ns)
    record.stopped_ns = record.drained_ns = end_ns
    none = ModelStatistics(*[requests] * 9)
    workload = Workload("million", 1, slots)
    power = PowerReading(None, "")
    evaluate(
        [Gathered(workload, rule.windows_ns, LoadRecord(), record, none, none, 1.0, "", power)]
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Goal("memory of 1e6 requests", (peak / 1e6,), at_most=40.0, unit="MB")


def _bodies(bench: Bench) -> Goal:
    """Measure what sending 23 MB bodies allocates in the client, in units of one body."""
    server, workload = bench.server, Workload("large", 32, 2)
    model = server.model(workload.model)
    given = input_data(model, workload)
    body = sum(array.nbytes for array in given.samples[0].values())
    with open_load(server, model, workload, given) as load:
        tracemalloc.start()
        record = load.run(lambda record, _now_ns: record.requests < _BODIES, 0.02)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    print(
        f"  {record.requests} requests of {body / 1e6:.1f} MB: "
        f"{record.client_cpu_ns / record.requests / 1e6:.1f} ms CPU each, "
        f"{record.failures} failures, {peak / 1e3:.0f} kB allocated at the peak"
    )
    share = peak / body
    return Goal("allocated per 23 MB body", (share,), at_most=0.05, unit="bodies")
