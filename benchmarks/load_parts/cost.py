"""What a load generator costs: its CPU per request, and what it can send, on an identity model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.load_parts.bench import NEVER
from benchmarks.load_parts.goal import Goal
from benchmarks.perf_analyzer import REAL_WINDOW, WINDOWS
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

    Our gRPC stands beside, for information, against perf_analyzer's.
    """
    goals = []
    for concurrency, cpu_limit, least in _GOALS:
        rounds = [_round(bench, concurrency, number) for number in range(bench.plan.cost_rounds)]
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
    return goals


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
