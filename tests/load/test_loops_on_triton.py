from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.load.encode import encode_http
from pytest_gaitperf.load.loops import ClosedLoop, OpenLoop, send_offsets_ns
from pytest_gaitperf.workload import Workload
from tests.load.driving import GUARD_S, counted_since, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.load.encode import Requests
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer


def requests_for(server: TritonServer, model: str) -> Requests:
    info = server.model(model)
    samples = [input_tensors(info, 1, {})]
    return encode_http(info, Workload(model, 1, 1), server.url, samples)


def real_load(server: TritonServer, model: str, concurrency: int, answered: int) -> LoadRecord:
    requests = requests_for(server, model)
    with ClosedLoop(server.host, server.http_port, requests, concurrency) as closed_loop:
        return closed_loop.run(until(answered), 0.01)


@pytest.mark.parametrize(
    ("model", "concurrency", "answered"), [("identity", 8, 500), ("large", 2, 20)]
)
def test_triton_counts_what_was_sent(
    loaded: TritonServer, model: str, concurrency: int, answered: int
) -> None:
    before = loaded.statistics(model).inference_count
    record = real_load(loaded, model, concurrency, answered)
    assert (record.requests >= answered, record.failures, record.failure_reasons) == (True, 0, [])
    assert counted_since(loaded, model, before, record.requests) == record.requests


def test_latency_and_rate_of_a_sleeping_model_are_bounded_by_its_sleep(
    loaded: TritonServer,
) -> None:
    record = real_load(loaded, "sleepy", 4, 100)
    starts, ends = record.times()
    assert (ends - starts).min() >= 20_000_000
    span_s = (record.drained_ns - record.first_send_ns) / 1e9
    assert record.requests <= 4 * (span_s / 0.02 + 1)


def test_requests_that_a_model_fails_are_counted_with_its_words(loaded: TritonServer) -> None:
    record = real_load(loaded, "flaky", 2, 100)
    answered = record.requests + record.failures
    assert abs(record.failures - answered / 5) <= 1
    assert all("fails, as it was told to" in reason for reason in record.failure_reasons)


def test_a_model_that_fails_too_often_is_given_up(loaded: TritonServer) -> None:
    with pytest.raises(MeasurementError, match=r"100 of \d+ requests failed: HTTP 500: .*told to"):
        real_load(loaded, "flaky", 2, 10**6)


# The open loop


@contextlib.contextmanager
def stopped_for(process: psutil.Process, pause_s: float) -> Iterator[list[int]]:
    """Stop a process for a while from now on; fills in from when to when it surely stood still."""
    span: list[int] = []

    def stall() -> None:
        process.suspend()
        try:
            while process.status() != psutil.STATUS_STOPPED:
                time.sleep(0.001)
            span.append(time.monotonic_ns())
            time.sleep(pause_s)
            span.append(time.monotonic_ns())
        finally:
            process.resume()

    thread = threading.Timer(0.2, stall)
    thread.start()
    try:
        yield span
    finally:
        thread.join()


@pytest.mark.parametrize("most_in_flight", [64, 4])
def test_a_stall_shows_in_every_request_that_was_due_in_it(
    loaded: TritonServer, most_in_flight: int
) -> None:
    assert loaded.process is not None
    (model,) = [
        process
        for process in psutil.Process(loaded.process.pid).children(recursive=True)
        if "stub" in process.name() and "/identity/" in " ".join(process.cmdline())
    ]
    requests = requests_for(loaded, "identity")
    gap_ns = 10_000_000
    with (
        OpenLoop(
            loaded.host,
            loaded.http_port,
            requests,
            itertools.count(0, gap_ns),
            most_in_flight=most_in_flight,
        ) as loop,
        stopped_for(model, 0.3) as span,
    ):
        end = time.monotonic() + GUARD_S
        # To the end of the first request that was due after the stall.
        record = loop.run(
            lambda record, _now_ns: (
                (len(span) < 2 or record.starts_ns[-1] < span[1]) and time.monotonic() < end
            ),
            0.01,
        )
    starts, ends = record.times()
    assert record.failures == 0
    assert ((starts - record.first_send_ns) % gap_ns == 0).all()
    stopped_ns, resumed_ns = span
    due = (starts > stopped_ns) & (starts < resumed_ns)
    assert abs(int(due.sum()) - (resumed_ns - stopped_ns) // gap_ns) <= 1
    # All of them waited for the same moment: their latencies fall by 10 ms from one to the next.
    assert ((ends - starts)[due] >= resumed_ns - starts[due]).all()
    assert (ends - starts)[due].max() >= 280_000_000
    # Delays are in the order of the schedule. Without a connection, a request waited here.
    order = np.argsort(starts)
    sent = starts[order] + np.array(record.delays_ns)
    sent_during = int((sent[due[order]] < resumed_ns).sum())
    assert (sent_during <= 4) == (most_in_flight == 4)


def test_triton_counts_what_an_open_loop_sent(loaded: TritonServer) -> None:
    before = loaded.statistics("identity").inference_count
    requests = requests_for(loaded, "identity")
    offsets = send_offsets_ns(300, "poisson")
    with OpenLoop(loaded.host, loaded.http_port, requests, offsets) as loop:
        record = loop.run(until(100), 0.01)
    assert record.failures == 0
    assert record.requests == len(record.delays_ns) >= 100
    assert counted_since(loaded, "identity", before, record.requests) == record.requests
