"""What a load generator costs: its CPU per request, and what it can send, on an identity model."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from benchmarks.load_parts.bench import NEVER
from benchmarks.load_parts.goal import Goal
from benchmarks.perf_analyzer import REAL_WINDOW, WINDOWS
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.encode import encode_http
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.load_parts.bench import Bench
    from benchmarks.perf_analyzer import Figures

_GOALS = ((1, 0.6, 1.0), (8, 0.3, 1.3), (32, 0.3, 1.3))
"""Concurrency, client CPU at most, throughput at least: as shares of perf_analyzer's."""


def cost(bench: Bench) -> list[Goal]:
    """Compare with the better of perf_analyzer's protocols, round by round; the order rotates.

    Our gRPC stands beside, for information, against perf_analyzer's, and with one request in flight
    the least that a client can pay which sleeps until its answer is there: a bare socket's.
    """
    goals = []
    for concurrency, cpu_limit, least in _GOALS:
        rounds, bare = [], []
        for number in range(bench.plan.cost_rounds):
            rounds.append(_round(bench, concurrency, number))
            theirs = rounds[-1]["perf_analyzer grpc"].cpu_us
            bare += [_bare_us(bench, bench.plan.cost_s) / theirs] if concurrency == 1 else []
        for protocol, against, limits in (
            ("http", ("http", "grpc"), (cpu_limit, least)),
            ("grpc", ("grpc",), (None, None)),
        ):
            cpu, rate = [], []
            for found in rounds:
                mine = found[f"ours {protocol}"]
                others = [found[f"perf_analyzer {other}"] for other in against]
                cpu.append(mine.cpu_us / min(other.cpu_us for other in others))
                rate.append(mine.throughput / max(other.throughput for other in others))
            name = f"c={concurrency}" if protocol == "http" else f"c={concurrency}, gRPC to gRPC"
            indent = "" if protocol == "http" else "  "
            goals += [
                Goal(f"{indent}client CPU/request, {name}", tuple(cpu), at_most=limits[0]),
                Goal(f"{indent}throughput, {name}", tuple(rate), at_least=limits[1]),
            ]
        if bare:
            goals.append(Goal("  a bare socket's, to perf_analyzer's gRPC", tuple(bare)))
    return goals


def _bare_us(bench: Bench, seconds: float) -> float:
    """Return the CPU (us) of a request for which nothing is done but to send it and to receive."""
    server, workload = bench.server, Workload("identity", 1, 1)
    model = server.model("identity")
    samples = input_data(model, workload).samples
    request = encode_http(model, workload, server.api.authority, samples)[0][0]
    buffer = bytearray(1 << 16)
    with socket.create_connection((server.host, server.http_port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(100):  # as a load's warm-up
            connection.sendall(request)
            size = connection.recv_into(buffer)
        ends, done, began_s = time.monotonic() + seconds, 0, time.thread_time()
        while time.monotonic() < ends:
            connection.send(request)
            if connection.recv_into(buffer) != size:
                raise RuntimeError("an answer in several pieces: a bare socket does not join them")
            done += 1
        found = (time.thread_time() - began_s) / done * 1e6
    print(f"  a bare socket{'':39}CPU {found:6.1f} us/request", flush=True)
    return found


def _round(bench: Bench, concurrency: int, number: int) -> dict[str, Figures]:
    """Run both tools over both protocols once."""
    seconds = bench.plan.cost_s
    http, grpc = (
        Workload("identity", 1, concurrency, protocol=protocol) for protocol in ("http", "grpc")
    )
    runs: list[Callable[[], Figures | None]] = [
        lambda: bench.ours(http, Budget(NEVER, seconds)),
        lambda: bench.theirs(http, seconds / WINDOWS / REAL_WINDOW),
        lambda: bench.ours(grpc, Budget(NEVER, seconds)),
        lambda: bench.theirs(grpc, seconds / WINDOWS / REAL_WINDOW),
    ]
    found = {}
    for index in range(len(runs)):
        figures = runs[(index + number) % len(runs)]()
        assert figures is not None  # its stability threshold is lifted
        found[figures.tool] = figures
        print(
            f"  round {number + 1} c={concurrency:<3} {figures.tool:19}"
            f"{figures.throughput:9.1f} inf/s  p50 {figures.p50_ms:8.3f} ms"
            f"  CPU {figures.cpu_us:6.1f} us/request",
            flush=True,
        )
    return found
