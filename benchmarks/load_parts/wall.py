"""How long a cell takes until it is known, and what is said of one that never stands still."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchmarks.load_parts.goal import Goal
from benchmarks.load_parts.models import CHANGING_S, GAIT_MODEL
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from benchmarks.load_parts.bench import Bench

_GAIT_CELLS = ((1, 1), (1, 4), (8, 4))
_STEADY_BUDGET_S = 20.0
_GIVE_UP_TRIALS = 10
_LONGEST_S = 60.0


def wall(bench: Bench) -> list[Goal]:
    """Compare wall times on a steady model and on the gait cells; then a model that changes.

    What is waited for is the throughput: perf_analyzer waits for no percentile either. The default
    of a cell waits for a p99 too where its 662 requests fit the budget, and stands beside.
    """
    goals = _steady(bench)
    if bench.plan.gait_wall:
        goals.append(_gait(bench))
    return [*goals, _changing(bench)]


def _steady(bench: Bench) -> list[Goal]:
    """Measure a model that sleeps 20 ms: ours to +-2 %, against perf_analyzer with its defaults."""
    ratios = []
    workload = Workload("sleepy", 1, 1)
    for number in range(bench.plan.wall_rounds):
        mine = bench.ours(workload, Budget(0.02, _STEADY_BUDGET_S, wanted_requests=()))
        other = bench.theirs(workload, None)
        # Where it gives up it has no result, and a cell no wall time.
        ratios.append(mine.wall_s / other.wall_s if other is not None else math.nan)
        print(
            f"  sleepy, round {number + 1}: ours {mine.wall_s:.1f} s ({mine.throughput:.2f} inf/s "
            f"+-{mine.half_width:.1%}), perf_analyzer "
            + (
                f"{other.wall_s:.1f} s ({other.throughput:.2f} inf/s)"
                if other is not None
                else "gave up"
            ),
            flush=True,
        )
    with_p99 = bench.ours(workload, Budget(0.02, _STEADY_BUDGET_S))
    ratio = with_p99.wall_s / other.wall_s if other is not None else math.nan
    return [
        Goal("wall time of a steady cell", tuple(ratios), at_most=1 / 3),
        Goal("  with a p99 too", (ratio,)),
    ]


def _gait(bench: Bench) -> Goal:
    """Give ours the half-width that perf_analyzer's windows reached, and see who is ready first.

    Its half-width is what our own formula says of the requests in the windows it reports.
    """
    ratios = []
    for batch_size, concurrency in _GAIT_CELLS:
        workload = Workload(GAIT_MODEL, batch_size, concurrency)
        other = bench.theirs(workload, None, records=True)
        wanted = other.half_width if other is not None else 0.05
        mine = bench.ours(workload, Budget(wanted, _LONGEST_S, wanted_requests=()))
        # Where it gives up there is nothing to be slower than; the line below says so.
        reached = mine.half_width <= wanted
        ratios.append(
            math.nan if other is None else mine.wall_s / other.wall_s if reached else math.inf
        )
        print(
            f"  {workload.key}: ours {mine.wall_s:.1f} s to +-{mine.half_width:.1%}, "
            "perf_analyzer "
            + (f"{other.wall_s:.1f} s to +-{wanted:.1%}" if other is not None else "gave up"),
            flush=True,
        )
    return Goal("wall time of a gait cell, same half-width", tuple(ratios), at_most=1.0)


def _changing(bench: Bench) -> Goal:
    """Measure a model that halves and doubles its pace, which is never stable to perf_analyzer."""
    workload = Workload("changing", 1, 1)
    assert not isinstance(bench.tool, str)
    window_s = CHANGING_S / 1.5 / 1.2
    other = bench.tool.run(bench.server, workload, window_s, trials=_GIVE_UP_TRIALS)
    mine = bench.ours(workload, Budget(0.02, _GIVE_UP_TRIALS * 1.2 * window_s))
    print(
        f"  changing: ours {mine.throughput:.1f} inf/s +-{mine.half_width:.1%} in "
        f"{mine.wall_s:.1f} s, perf_analyzer "
        + ("gave up" if other is None else f"{other.throughput:.1f} inf/s in {other.wall_s:.1f} s"),
        flush=True,
    )
    answered = other is None and math.isfinite(mine.half_width)
    return Goal(
        "a result with its interval where it gives up",
        (float(answered),),
        at_least=1.0,
        unit="(yes)",
        why="perf_analyzer did not give up" if other is not None else "",
    )
