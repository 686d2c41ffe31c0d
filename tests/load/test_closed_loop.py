from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.loops import ClosedLoop
from tests.load.driving import GUARD_S, connections_made, load, post, until
from tests.load.fake_server import OK, FakeServer, Peer, good, one_answer, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.load.record import LoadRecord


# Load as it should be


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_exactly_n_requests_are_in_flight(concurrency: int) -> None:
    # Nobody is answered until as many requests are there as were asked for.
    together = threading.Barrier(concurrency, timeout=GUARD_S)
    waiting, most, reached, lock = 0, 0, False, threading.Lock()

    def in_step(peer: Peer) -> None:
        nonlocal waiting, most
        while True:
            peer.request()
            with lock:
                waiting += 1
                most = max(most, waiting)
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait()
            with lock:
                waiting -= 1
            peer.send(OK)

    def observer(record: LoadRecord, _now_ns: int) -> bool:
        if record.requests < 5 * concurrency and not together.broken:
            return True
        nonlocal reached
        reached = not together.broken
        together.abort()  # the drain answers fewer at a time
        return False

    with (
        FakeServer(in_step) as server,
        ClosedLoop("127.0.0.1", server.port, [[post()]], concurrency) as closed_loop,
    ):
        record = closed_loop.run(observer, 0.01)
    assert reached
    assert most == concurrency
    assert server.connections == concurrency
    assert record.failures == 0


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_client_thinks_before_it_asks_again(concurrency: int) -> None:
    think_s, lock = 0.03, threading.Lock()
    firsts_s: list[float] = []
    gaps_s: list[float] = []

    def gaps(peer: Peer) -> None:
        answered_s = 0.0
        while True:
            peer.request()
            now_s = time.monotonic()
            with lock:
                (gaps_s if answered_s else firsts_s).append(now_s - answered_s)
            answered_s = time.monotonic()
            peer.send(OK)

    with (
        FakeServer(gaps) as server,
        ClosedLoop("127.0.0.1", server.port, [[post()]], concurrency, think_s=think_s) as one,
    ):
        records = [one.run(until(5 * concurrency), 0.01) for _ in range(2)]
    assert [record.failures for record in records] == [0, 0]
    assert all(record.requests >= 5 * concurrency for record in records)
    assert server.connections == concurrency
    # The last answer of one load and the first request of the next are no thought.
    assert sum(gap >= 0.9 * think_s for gap in gaps_s) >= len(gaps_s) - concurrency
    # They do not begin together, which would keep them in step.
    assert max(firsts_s) - min(firsts_s) >= think_s * (concurrency - 1) / concurrency / 2


def test_a_client_whose_request_failed_thinks_and_goes_on() -> None:
    def resets_first(peer: Peer) -> None:
        peer.request()
        if peer.number == 0:
            peer.reset()
            return
        peer.send(OK)
        good(peer)

    with (
        FakeServer(resets_first) as server,
        ClosedLoop("127.0.0.1", server.port, [[post()]], 1, think_s=0.01) as one,
    ):
        record = one.run(until(5), 0.01)
    assert record.failures == 1
    assert record.requests >= 4


@pytest.mark.parametrize("think_s", [0.0, 0.001])
def test_a_request_starts_when_its_connection_has_been_made(
    monkeypatch: pytest.MonkeyPatch, think_s: float
) -> None:
    made_ns = connections_made(monkeypatch)
    with (
        FakeServer(one_answer) as server,
        ClosedLoop("127.0.0.1", server.port, [[post()]], 1, think_s=think_s) as one,
    ):
        record = one.run(until(5), 0.001)
    assert (record.requests >= 5, record.failures) == (True, 0)
    starts = record.starts_ns[:5]
    assert all(start >= made for start, made in zip(starts, made_ns[:5], strict=True))


def test_the_bytes_arrive_as_they_were_given() -> None:
    bodies = []

    def keep(peer: Peer) -> None:
        while True:
            bodies.append(peer.request())
            peer.send(OK)

    body = bytes(range(256)) * 10
    with FakeServer(keep) as server:
        record = load(server, request=post(body))
    assert len(bodies) == record.requests + record.failures >= 40
    assert set(bodies) == {body}


def bodies_by_connection(requests: list[list[bytes]], concurrency: int) -> list[list[bytes]]:
    """Load a server with these bodies; return what came over each connection, in order."""
    came: list[list[bytes]] = [[] for _ in range(concurrency)]

    def keep(peer: Peer) -> None:
        while True:
            came[peer.number].append(peer.request())
            peer.send(OK)

    rows = [[post(body) for body in row] for row in requests]
    with (
        FakeServer(keep) as server,
        ClosedLoop("127.0.0.1", server.port, rows, concurrency) as closed_loop,
    ):
        closed_loop.run(until(400), 0.001)  # enough for a slot that is served late
    return came


def test_requests_are_sent_in_rotation() -> None:
    (came,) = bodies_by_connection([[b"a", b"b", b"c"]], 1)
    assert len(came) >= 50
    assert came == [b"a", b"b", b"c"] * (len(came) // 3) + [b"a", b"b", b"c"][: len(came) % 3]


def test_slots_share_one_rotation() -> None:
    came = bodies_by_connection([[b"a", b"b", b"c"]], 4)
    counts = [sum(bodies.count(body) for bodies in came) for body in (b"a", b"b", b"c")]
    assert max(counts) - min(counts) <= 1


def test_each_slot_sends_its_own_requests() -> None:
    came = bodies_by_connection([[b"a"], [b"b", b"B"], [b"c"]], 4)
    assert sorted(sorted(set(bodies)) for bodies in came) == [[b"B", b"b"], [b"a"], [b"a"], [b"c"]]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_sending_and_receiving_take_their_part_of_the_latency(concurrency: int) -> None:
    pause_s = 0.02

    def slowly(peer: Peer) -> None:
        while True:
            peer.head()
            time.sleep(pause_s)  # more than the buffers between us hold is still to be sent
            rest = 30_000_000 - len(peer._data)
            peer._data = b""
            while rest > 0:
                rest -= len(peer.connection.recv(min(rest, 1 << 20)))
            peer.send(OK[:-2])
            time.sleep(4 * pause_s)
            peer.send(OK[-2:])

    with FakeServer(slowly) as server:
        record = load(server, request=post(b"y" * 30_000_000), answered=4, concurrency=concurrency)
    starts, ends = record.times()
    assert (record.requests >= 4, record.failures) == (True, 0)
    # The first sleep is in the sending alone, and the second, longer one in the receiving.
    assert record.send_ns >= record.requests * pause_s * 1e9
    assert record.receive_ns >= record.requests * pause_s * 1e9
    assert record.send_ns + record.receive_ns <= int((ends - starts).sum())


@pytest.mark.parametrize("concurrency", [1, 2])
def test_large_bodies_are_sent_and_read_in_parts(concurrency: int) -> None:
    answer = b"x" * 3_000_000
    sizes = set()

    def slowly(peer: Peer) -> None:
        while True:
            peer.head()
            time.sleep(0.02)  # the client's send buffer fills up
            rest = 5_000_000 - len(peer._data)
            peer._data = b""
            while rest > 0:
                rest -= len(peer.connection.recv(min(rest, 1 << 20)))
            sizes.add(rest)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

    with FakeServer(slowly) as server:
        record = load(server, request=post(b"y" * 5_000_000), answered=10, concurrency=concurrency)
    assert sizes == {0}
    assert (record.requests >= 10, record.failures, record.failure_reasons) == (True, 0, [])


def test_the_record_is_in_order_and_covers_the_load() -> None:
    with FakeServer(good) as server:
        record = load(server, concurrency=4, answered=200)
    starts, ends = record.times()
    assert (ends[1:] >= ends[:-1]).all()
    assert (ends > starts).all()
    assert record.first_send_ns <= starts.min()
    assert starts.max() <= record.stopped_ns <= record.drained_ns
    assert ends.max() <= record.drained_ns
    assert 0 < record.client_cpu_ns < record.drained_ns - record.first_send_ns


def test_one_loop_can_load_several_times_over_the_same_connections() -> None:
    with FakeServer(good) as server:
        with ClosedLoop("127.0.0.1", server.port, [[post()]], 3) as closed_loop:
            records = [closed_loop.run(until(20), 0.01) for _ in range(3)]
        assert server.connections == 3
        assert server.wait_until_all_closed()
    assert all(record.requests >= 20 and record.failures == 0 for record in records)


def test_a_connection_closed_between_two_loads_is_made_again() -> None:
    close_now = threading.Event()

    def patient(peer: Peer) -> None:
        peer.connection.settimeout(0.01)
        while not close_now.is_set() or peer.number >= 2:
            with contextlib.suppress(TimeoutError):
                peer.request()
                peer.send(OK)

    with FakeServer(patient) as server:
        with ClosedLoop("127.0.0.1", server.port, [[post()]], 2) as closed_loop:
            closed_loop.run(until(10), 0.01)
            close_now.set()
            assert server.wait_until_all_closed()
            again = closed_loop.run(until(10), 0.01)
        assert server.connections == 4
    assert (again.requests >= 10, again.failures) == (True, 0)


# Servers that close


def test_a_server_that_announces_to_close_costs_a_connection_not_a_failure() -> None:
    with FakeServer(one_answer) as server:
        record = load(server, answered=40)
        assert server.connections >= 40
    assert (record.requests >= 40, record.failures, record.failure_reasons) == (True, 0, [])


def test_an_interim_response_is_no_answer() -> None:
    def polite(peer: Peer) -> None:
        while True:
            peer.head()
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            peer._data = b""
            peer.send(OK)

    with FakeServer(polite) as server:
        record = load(server, answered=40, request=b"POST /x HTTP/1.1\r\n\r\n")
    assert (record.requests >= 40, record.failures) == (True, 0)


# Servers that are slow or silent


def test_a_response_in_drips_is_a_response() -> None:
    def drip(peer: Peer) -> None:
        while True:
            peer.request()
            for byte in OK:
                peer.send(bytes([byte]))
                time.sleep(0.0002)

    with FakeServer(drip) as server:
        record = load(server, answered=10)
    assert (record.requests >= 10, record.failures) == (True, 0)


def endless_head(peer: Peer) -> None:
    peer.request()
    while True:
        peer.send(b"X")
        time.sleep(0.01)


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("behave", [silent, endless_head])
def test_silence_ends_the_load(behave: Callable[[Peer], None], concurrency: int) -> None:
    with (
        FakeServer(behave) as server,
        pytest.raises(
            MeasurementError,
            match=rf"no response from .*:\d+ for 0.3 s with {concurrency} requests in flight",
        ),
    ):
        load(server, silence_s=0.3, concurrency=concurrency)


def test_silence_in_the_drain_ends_it_too() -> None:
    def falls_silent(peer: Peer) -> None:
        for _ in range(5):
            peer.request()
            peer.send(OK)
        peer.request()
        peer.request()

    with (
        FakeServer(falls_silent) as server,
        pytest.raises(MeasurementError, match=r"no response .* for 0.2 s"),
    ):
        load(server, silence_s=0.2, answered=10)


def test_nobody_there_says_where() -> None:
    with FakeServer(good) as server:
        port = server.port
    with (
        ClosedLoop("127.0.0.1", port, [[post()]], 1) as closed_loop,
        pytest.raises(MeasurementError, match=f"cannot connect to 127.0.0.1:{port}: .*refused"),
    ):
        closed_loop.run(until(1), 0.01)


def test_a_server_that_goes_away_under_load_ends_it() -> None:
    with (
        FakeServer(good) as server,
        ClosedLoop("127.0.0.1", server.port, [[post()]], 4) as closed_loop,
    ):

        def observer(record: LoadRecord, _now_ns: int) -> bool:
            if record.requests > 50:
                server.close()
            return True

        with pytest.raises(MeasurementError, match="cannot connect"):
            closed_loop.run(observer, 0.01)


# Interruption


@pytest.mark.parametrize("concurrency", [1, 5])
@pytest.mark.parametrize("behave", [good, silent])
def test_ctrl_c_closes_every_connection(behave: Callable[[Peer], None], concurrency: int) -> None:
    interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    with FakeServer(behave) as server:
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            load(server, concurrency=concurrency, answered=10**9)
        interrupt.join()
        assert server.connections == concurrency
        assert server.wait_until_all_closed()
