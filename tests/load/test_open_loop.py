from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.loops import OpenLoop, send_offsets_ns
from tests.load.driving import GUARD_S, connections_made, post, until
from tests.load.fake_server import OK, FakeServer, Peer, good, one_answer, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_gaitperf.load.record import LoadRecord

MS = 1_000_000


def open_loop(
    server: FakeServer,
    offsets_ns: Iterable[int],
    *,
    most_in_flight: int = 64,
    silence_s: float = 5.0,
) -> OpenLoop:
    return OpenLoop(
        "127.0.0.1",
        server.port,
        [[post()]],
        iter(offsets_ns),
        most_in_flight=most_in_flight,
        silence_s=silence_s,
    )


def load(
    server: FakeServer, offsets_ns: Iterable[int], *, answered: int = 40, most_in_flight: int = 64
) -> LoadRecord:
    with open_loop(server, offsets_ns, most_in_flight=most_in_flight) as loop:
        return loop.run(until(answered), 0.001)


def every(gap_ns: int) -> Iterator[int]:
    return itertools.count(0, gap_ns)


# The schedule


def test_requests_start_at_their_scheduled_times() -> None:
    with FakeServer(good) as server:
        record = load(server, send_offsets_ns(500, "poisson"), answered=60)
    starts = np.sort(record.times()[0]) - record.first_send_ns
    expected = list(itertools.islice(send_offsets_ns(500, "poisson"), len(starts)))
    assert starts.tolist() == expected
    assert record.failures == 0


def test_every_request_sent_has_its_delay_and_nothing_stays_in_flight() -> None:
    with FakeServer(good) as server:
        record = load(server, every(MS))
    assert len(record.delays_ns) == record.requests + record.failures >= 40
    assert min(record.delays_ns) >= 0
    starts, ends = record.times()
    assert (ends[1:] >= ends[:-1]).all()
    assert (ends > starts).all()
    assert ends.max() <= record.drained_ns
    assert record.send_ns > 0
    assert record.receive_ns > 0
    assert 0 < record.client_cpu_ns < record.drained_ns - record.first_send_ns


def test_requests_are_sent_whatever_comes_back() -> None:
    # Nobody is answered until eight are there; a ninth never comes before.
    together = threading.Barrier(8, timeout=GUARD_S)

    def in_step(peer: Peer) -> None:
        while True:
            peer.request()
            together.wait()
            peer.send(OK)

    with FakeServer(in_step) as server:
        record = load(server, [*range(0, 8 * MS, MS), 10**15], answered=8)
        assert server.connections > 1
    assert (record.requests, record.failures) == (8, 0)


def test_a_run_goes_on_in_the_schedule_from_its_own_first_send() -> None:
    offsets = [MS * count**2 for count in range(40)]
    with FakeServer(good) as server, open_loop(server, [*offsets, 10**15]) as loop:
        first, second = loop.run(until(10), 0.001), loop.run(until(10), 0.001)
    used = len(first.delays_ns) + 1  # one more was waited for when the first run stopped
    starts = [np.sort(record.times()[0]) - record.first_send_ns for record in (first, second)]
    assert starts[0].tolist() == offsets[: len(starts[0])]
    assert starts[1].tolist() == [
        offset - offsets[used] for offset in offsets[used : used + len(starts[1])]
    ]
    assert min(len(times) for times in starts) >= 10


def test_the_observer_is_asked_though_nothing_is_due() -> None:
    with FakeServer(good) as server, open_loop(server, [0, 10**15], silence_s=0.05) as loop:
        asked: list[int] = []

        def observer(record: LoadRecord, now_ns: int) -> bool:
            asked.append(now_ns)
            return len(asked) < 20

        # Nothing is in flight, so this is no silence.
        record = loop.run(observer, 0.01)
    assert (record.requests, len(asked)) == (1, 20)


# Connections


def one_by_one(burst: int, rest: int, ready: threading.Semaphore) -> Iterator[int]:
    """Give a burst, then requests that are due when the server has answered all before."""
    began = time.monotonic_ns()
    for _ in range(burst):
        yield 0
    for count in range(rest):
        for _ in range(1 if count else burst):
            ready.acquire(timeout=GUARD_S)
        yield time.monotonic_ns() - began + 30 * MS
    yield 10**15


def test_the_connection_used_last_is_used_next() -> None:
    together, ready = threading.Barrier(3, timeout=GUARD_S), threading.Semaphore(0)
    numbers: list[int] = []

    def behave(peer: Peer) -> None:
        for count in itertools.count():
            peer.request()
            if count == 0:
                together.wait()
            numbers.append(peer.number)
            peer.send(OK)
            ready.release()

    with FakeServer(behave) as server:
        record = load(server, one_by_one(3, 4, ready), answered=7)
        assert server.connections == 3
    assert sorted(numbers[:3]) == [0, 1, 2]
    assert len(set(numbers[3:])) == 1
    assert (record.requests, record.failures) == (7, 0)


def test_a_connection_closed_while_idle_costs_no_failure() -> None:
    ready = threading.Semaphore(0)

    def once(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.connection.shutdown(socket.SHUT_RDWR)
        ready.release()

    with FakeServer(once) as server:
        record = load(server, one_by_one(1, 5, ready), answered=6)
        assert server.connections == 6
    assert (record.requests, record.failures) == (6, 0)


def test_a_request_is_sent_when_its_connection_has_been_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_ns = connections_made(monkeypatch)
    with FakeServer(one_answer) as server:
        record = load(server, every(MS), answered=5, most_in_flight=1)
    assert (record.requests >= 5, record.failures) == (True, 0)
    sent = np.array(record.starts_ns[:5]) + np.array(record.delays_ns[:5])
    assert (sent >= made_ns[:5]).all()


def test_an_answer_that_nobody_asked_for_is_none() -> None:
    ready = threading.Semaphore(0)

    def twice(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(OK)
            ready.release()
            time.sleep(0.01)
            peer.send(OK)

    with FakeServer(twice) as server:
        record = load(server, one_by_one(1, 5, ready), answered=6)
    assert record.requests + record.failures == len(record.delays_ns) == 6


def test_past_the_most_in_flight_requests_wait_and_their_latency_runs() -> None:
    pause_ns = 20 * MS

    def slowly(peer: Peer) -> None:
        while True:
            peer.request()
            time.sleep(pause_ns / 1e9)
            peer.send(OK)

    with FakeServer(slowly) as server:
        record = load(server, every(MS), answered=20, most_in_flight=2)
        assert server.connections == 2
    assert record.failures == 0
    # The server takes no more than two each pause, so request k was sent, and ended, at that pace.
    starts, ends = record.times()
    order = np.argsort(starts)
    done = np.arange(len(order)) // 2
    assert (record.delays_ns >= done * pause_ns - np.arange(len(order)) * MS).all()
    latency = (ends - starts)[order]
    assert (latency >= (done + 1) * pause_ns - np.arange(len(order)) * MS).all()


def test_a_server_slow_to_accept_does_not_hold_up_the_schedule() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        # It accepts none: the first few stand in its queue, the others never get there.
        loop = OpenLoop(
            "127.0.0.1",
            listener.getsockname()[1],
            [[post()]],
            every(MS),
            most_in_flight=12,
            silence_s=0.3,
        )
        with loop, pytest.raises(MeasurementError, match=r"for 0\.3 s with 12 requests in flight"):
            loop.run(lambda _record, _now_ns: True, 0.01)


def test_ctrl_c_closes_every_open_connection() -> None:
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    with FakeServer(silent) as server:
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            load(server, every(MS), answered=10**9, most_in_flight=8)
        interrupt.join()
        assert server.connections > 1
        assert server.wait_until_all_closed()


# Failures


def test_failures_are_counted_and_the_schedule_goes_on() -> None:
    def sometimes(peer: Peer) -> None:
        for _ in range(20):
            peer.request()
            peer.send(OK)
        peer.request()
        peer.reset()

    with FakeServer(sometimes) as server:
        record = load(server, every(MS), answered=300)
    assert record.requests + record.failures == len(record.delays_ns) >= 300
    assert 1 <= record.failures <= server.connections
    assert "Connection reset by peer" in record.failure_reasons[0]


def test_a_server_that_fails_everything_is_given_up() -> None:
    def refuse(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\n busy")

    with (
        FakeServer(refuse) as server,
        pytest.raises(MeasurementError, match="100 of 100 requests failed: HTTP 503: busy"),
    ):
        load(server, every(MS), answered=1000)


def test_a_server_that_goes_away_ends_the_open_loop() -> None:
    with FakeServer(good) as server, open_loop(server, every(MS)) as loop:

        def observer(record: LoadRecord, _now_ns: int) -> bool:
            if record.requests > 20:
                server.close()
            return True

        with pytest.raises(MeasurementError, match=r"cannot connect to .*refused"):
            loop.run(observer, 0.01)


def test_silence_ends_the_open_loop() -> None:
    with (
        FakeServer(silent) as server,
        open_loop(server, every(MS), most_in_flight=4, silence_s=0.2) as loop,
        pytest.raises(
            MeasurementError, match=r"no response from .* for 0.2 s with 4 requests in flight"
        ),
    ):
        loop.run(lambda _record, _now_ns: True, 0.01)
