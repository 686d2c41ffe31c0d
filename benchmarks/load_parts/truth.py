"""Whether both tools say the same of the gait cells, inline and through shared memory.

A pair is one run of each, one directly after the other, and the order changes from pair to pair
(ABBA), so that a machine that drifts slows both alike. Many short pairs, not few long ones: what
differs between two runs is the machine's pace from second to second, and its median settles with
the square root of the number of pairs.

Two things differ for good reasons, and stand apart. perf_analyzer's report counts the start of its
load (see ``benchmarks.perf_analyzer``): the goal is on the requests it wrote down, without that
start, and what it reports is shown beside. And a closed loop's pace includes the client's own
time to send and to receive: the server's books, in which either tool's requests are, tell what part
of a latency is the server's and what is outside of it.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.load_parts.bench import NEVER
from benchmarks.load_parts.goal import Goal
from benchmarks.load_parts.models import GAIT_MODEL
from benchmarks.perf_analyzer import REAL_WINDOW, WINDOWS
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from benchmarks.load_parts.bench import Bench
    from benchmarks.perf_analyzer import Figures

    Pair = tuple[Figures, Figures]

_CELLS = ((1, 1), (1, 4), (8, 4))
_SHORTEST_WINDOW_S = 0.5
_WINDOW_LATENCIES = 2.0
"""A window of perf_analyzer must see requests complete, and three of them many latencies."""


def truth(bench: Bench) -> list[Goal]:
    """Compare throughput and p50 in pairs, cell by cell."""
    goals = []
    for batch_size, concurrency in _CELLS:
        for transport in ("inline", "shm"):
            workload = Workload(GAIT_MODEL, batch_size, concurrency, transport=transport)
            pairs = _pairs(bench, workload, bench.plan.pairs[batch_size > 1])
            goals += _compare(f"b{batch_size}c{concurrency} {transport}", pairs)
    return goals


def _pairs(bench: Bench, workload: Workload, count: int) -> list[Pair]:
    """Run both tools ``count`` times in ABBA order; windows are as long as the cell needs."""
    first = bench.ours(workload, Budget(0.1, 10.0, wanted_requests=()))  # also warms the model up
    window_s = max(_SHORTEST_WINDOW_S, _WINDOW_LATENCIES * first.mean_ms / 1e3)
    pairs = []
    for number in range(count):
        try:
            pair = _pair(bench, workload, window_s, ours_first=number % 2 == 0)
        except MeasurementError as error:
            print(f"  pair {number + 1:2} {workload.key:10}  left out: {error}")
            continue
        pairs.append(pair)
        print(
            f"  pair {number + 1:2} {workload.key:10}"
            + "".join(
                f"  {one.tool.split()[0]} {one.steady:7.2f} inf/s p50 {one.p50_ms:7.2f} ms"
                for one in pair
            ),
            flush=True,
        )
    return pairs


def _pair(bench: Bench, workload: Workload, window_s: float, *, ours_first: bool) -> Pair:
    """Run both once. Raises MeasurementError where one of them has no result."""
    budget = Budget(NEVER, WINDOWS * REAL_WINDOW * window_s)
    ours = bench.ours(workload, budget) if ours_first else None
    theirs = bench.theirs(workload, window_s, records=True)
    if theirs is None:
        raise MeasurementError("nothing completed in a window of perf_analyzer")
    return ours or bench.ours(workload, budget), theirs


def _compare(cell: str, pairs: list[Pair]) -> list[Goal]:
    if not pairs:
        return [Goal(f"same {name}, {cell}", (), 1.02, 0.98) for name in ("throughput", "p50")]
    server_ms = statistics.median(one.server_ms for pair in pairs for one in pair)
    outside = [
        statistics.median(pair[which].mean_ms - pair[which].server_ms for pair in pairs)
        for which in (0, 1)
    ]
    why = (
        f"outside the server's books a request spends {outside[0]:.2f} ms with ours and "
        f"{outside[1]:.2f} ms with perf_analyzer; the books say {server_ms:.2f} ms"
    )
    print(f"  {cell}: {why}")

    def ratios(name: str, other: str = "") -> tuple[float, ...]:
        return tuple(getattr(a, name) / getattr(b, other or name) for a, b in pairs)

    # At the server's median time, so that what is left of the ratio is the tools' own doing.
    same_server = tuple(
        (server_ms + a.mean_ms - a.server_ms) / (server_ms + b.mean_ms - b.server_ms)
        for a, b in pairs
    )
    return [
        Goal(f"same throughput, {cell}", ratios("steady"), 1.02, 0.98, why=why),
        Goal(f"same p50, {cell}", ratios("p50_ms"), 1.02, 0.98, why=why),
        Goal(f"  throughput as it is reported, {cell}", ratios("steady", "throughput")),
        Goal(f"  mean latency at equal server time, {cell}", same_server),
    ]
