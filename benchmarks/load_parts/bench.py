"""What every part of the comparison shares: the server, both tools, and how long to take."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.perf_analyzer import Figures
from pytest_gaitperf.measure.cell import Budget, measure
from pytest_gaitperf.power.metering import Metering

if TYPE_CHECKING:
    from benchmarks.perf_analyzer import PerfAnalyzer
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

NEVER = 1e-9
"""A precision that is never met: the measurement goes on to the end of its budget."""

_SERVER_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True, slots=True)
class Plan:
    """How often everything is repeated, and for how many seconds.

    ``pairs`` are those of a gait cell of single samples, of which one is short, and of the others.
    ``expected_s`` is how long each part takes on a quiet machine of two cores.
    """

    cost_rounds: int
    cost_s: float
    pairs: tuple[int, int]
    wall_rounds: int
    gait_wall: bool
    open_rounds: int
    open_s: float
    expected_s: dict[str, float]


@dataclass(slots=True)
class Bench:
    """One run of the program; ``tool`` is why there is no perf_analyzer, where there is none."""

    server: TritonServer
    tool: PerfAnalyzer | str
    plan: Plan
    runs: list[Figures] = field(default_factory=list)

    def ours(self, workload: Workload, budget: Budget) -> Figures:
        """Run our whole measurement of a cell: warm-up, windows, statistics and all."""
        began = time.monotonic()
        measured = measure(self.server, workload, Metering(), budget)
        wall_s = time.monotonic() - began
        if measured.invalid:
            print(f"  note: {workload.id}: {measured.invalid}")
        metrics, split = measured.metrics, measured.time_split_s
        rate = metrics["throughput"]
        known = rate.low is not None and rate.high is not None
        # Too few requests for a percentile leave it out: a NaN, which no goal counts.
        p50, p99 = (
            metrics[name].value * 1e3 if name in metrics else math.nan
            for name in ("latency_p50", "latency_p99")
        )
        figures = Figures(
            tool=f"ours {workload.protocol}",
            cell=workload.id,
            throughput=rate.value,
            steady=rate.value,
            half_width=(rate.high - rate.low) / 2 / rate.value if known else math.nan,  # type: ignore[operator]
            p50_ms=p50,
            p99_ms=p99,
            mean_ms=metrics["latency_mean"].value * 1e3,
            server_ms=sum(split[part] for part in _SERVER_PARTS) * 1e3 if split else math.nan,
            cpu_us=measured.client_cpu_per_request_us,
            wall_s=wall_s,
        )
        self.runs.append(figures)
        return figures

    def theirs(
        self, workload: Workload, window_s: float | None, *, records: bool = False
    ) -> Figures | None:
        """Run perf_analyzer on a cell; None where it gives up."""
        assert not isinstance(self.tool, str)
        figures = self.tool.run(self.server, workload, window_s, records=records)
        if figures is not None:
            self.runs.append(figures)
        return figures
