"""Compare the load generator with NVIDIA's C++ perf_analyzer, in turns on one local Triton.

Run from the repository's virtual environment (``make .venv/.installed``)::

    .venv/bin/python benchmarks/load_vs_perf_analyzer.py [--quick] [--json FILE] [--check]

perf_analyzer 2.41.0 is fetched with pip, once, into a cache directory.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.perf_analyzer import Figures, PerfAnalyzer, fetch_perf_analyzer
from pytest_gaitperf.evaluation import evaluate
from pytest_gaitperf.gait.repository import ensure_built
from pytest_gaitperf.gait.variants import REFERENCE_VARIANTS
from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.load.encode import encode_http
from pytest_gaitperf.load.http import ClosedLoop
from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.load.stopping import Precision
from pytest_gaitperf.measurement import Run
from pytest_gaitperf.power.metering import Metering, PowerReading
from pytest_gaitperf.runner import Effort, measure
from pytest_gaitperf.triton.options import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.triton.statistics import ModelStatistics
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.triton.server import TritonServer

GAIT_MODEL = "3D_fp32_40_batchd"
ROOT = Path(__file__).resolve().parent.parent
NEVER = 1e-9
"""A precision that is never met: the measurement goes on to the end of its budget."""

_IDENTITY = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({sleep_s}) if {sleep_s} else None
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(
                "OUTPUT0", pb_utils.get_input_tensor_by_name(request, "INPUT0"))])
            for request in requests
        ]
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes, in seconds, and how often it is repeated."""

    rounds: int
    identity_s: float
    gait_s: float
    wall_rounds: int
    expected: str


FULL = Plan(5, 6.0, 15.0, 3, "about 16 minutes")
QUICK = Plan(1, 2.5, 5.0, 1, "about 2 minutes")


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and what it should be; ``value`` is the median of ``values``, one per round."""

    name: str
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median is where it should be."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def wanted(self) -> str:
        """Where the median should be."""
        if self.at_most is not None and self.at_least is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"


# Ours


def ours(server: TritonServer, workload: Workload, effort: Effort) -> Figures:
    """Run our whole measurement of a cell, statistics, windows and all."""
    began = time.monotonic()
    measured = measure(server, workload, Metering(), effort)
    if measured.invalid:
        print(f"  note: {workload.id}: {measured.invalid}")
    return Figures(
        tool="ours",
        cell=workload.id,
        throughput=measured.metrics["throughput"].value,
        # Too few requests for a median leave it out: a NaN, which no goal counts.
        p50_ms=p50.value * 1e3 if (p50 := measured.metrics.get("latency_p50")) else math.nan,
        cpu_us=measured.client_cpu_per_request_us,
        wall_s=time.monotonic() - began,
    )


# What is compared


def compare_cells(
    server: TritonServer,
    tool: PerfAnalyzer,
    workloads: Sequence[Workload],
    *,
    protocols: Sequence[str],
    seconds: float,
    rounds: int,
) -> dict[str, dict[str, list[Figures]]]:
    """Run every tool on every cell in turns; the order rotates. By cell, then by tool."""
    runs: list[Callable[[Workload], Figures]] = [
        lambda workload: ours(server, workload, Effort(NEVER, seconds))
    ]
    runs += [
        lambda workload, protocol=protocol: tool.run(server, workload, protocol, seconds / 3.6)  # type: ignore[misc]
        for protocol in protocols
    ]
    found: dict[str, dict[str, list[Figures]]] = {}
    for number in range(rounds):
        for workload in workloads:
            for index in range(len(runs)):
                figures = runs[(index + number) % len(runs)](workload)
                found.setdefault(workload.id, {}).setdefault(figures.tool, []).append(figures)
                print(
                    f"  round {number + 1} {figures.cell:26} {figures.tool:19}"
                    f"{figures.throughput:9.1f} inf/s  p50 {figures.p50_ms:8.2f} ms"
                    f"  CPU {figures.cpu_us:6.1f} us/request",
                    flush=True,
                )
    return found


def identity_goals(found: dict[str, dict[str, list[Figures]]]) -> list[Goal]:
    """Client CPU and throughput against the better of perf_analyzer's protocols in each round."""
    goals = []
    for concurrency, cpu_limit, least in ((1, 0.6, 1.0), (8, 0.3, 1.3), (32, 0.3, 1.3)):
        tools = found[f"identity-b1-c{concurrency}"]
        others = [runs for name, runs in tools.items() if name != "ours"]
        cpu, rate = [], []
        for number, mine in enumerate(tools["ours"]):
            cpu.append(mine.cpu_us / min(runs[number].cpu_us for runs in others))
            rate.append(mine.throughput / max(runs[number].throughput for runs in others))
        goals.append(Goal(f"client CPU/request, c={concurrency}", tuple(cpu), at_most=cpu_limit))
        goals.append(Goal(f"throughput, c={concurrency}", tuple(rate), at_least=least))
    return goals


def gait_goals(found: dict[str, dict[str, list[Figures]]]) -> list[Goal]:
    """Compare the truths: throughput and p50 within 2 % of perf_analyzer's."""
    goals = []
    for cell, tools in found.items():
        pairs = list(zip(tools["ours"], tools["perf_analyzer http"], strict=True))
        for name in ("throughput", "p50_ms"):
            ratios = [getattr(a, name) / getattr(b, name) for a, b in pairs]
            ratios = [ratio for ratio in ratios if math.isfinite(ratio)] or [math.nan]
            goals.append(
                Goal(
                    f"same {name.split('_')[0]}, {cell}", tuple(ratios), at_most=1.02, at_least=0.98
                )
            )
    return goals


def wall_goal(server: TritonServer, tool: PerfAnalyzer, rounds: int) -> Goal:
    """Wall time of a cell to +-2 % on a model that sleeps 20 ms, against its defaults."""
    ratios = []
    workload = Workload("sleepy", 1, 1)
    for number in range(rounds):
        # Like perf_analyzer, without waiting for what an interval of p99 needs.
        mine = ours(server, workload, Effort(0.02, 20.0, percentile=0.5))
        other = tool.run(server, workload, "http", None)
        ratios.append(mine.wall_s / other.wall_s)
        print(
            f"  round {number + 1} ours {mine.wall_s:.1f} s ({mine.throughput:.2f} inf/s), "
            f"perf_analyzer {other.wall_s:.1f} s ({other.throughput:.2f} inf/s)",
            flush=True,
        )
    return Goal("wall time of a steady cell", tuple(ratios), at_most=1 / 3)


def million_goal() -> Goal:
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
    evaluate(Run(workload, rule.edges_ns, LoadRecord(), record, none, none, 1.0, "", power))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Goal("memory of 1e6 requests", (peak / 1e6,), at_most=40.0, unit="MB")


def body_goal(server: TritonServer) -> Goal:
    """Measure what sending 23 MB bodies allocates in the client, in units of one body."""
    workload = Workload("large", 32, 2)
    model = server.model("large")
    requests = encode_http(model, workload, server.url, [input_tensors(model, 32, {})])
    body = len(requests[0][0])
    with ClosedLoop(server.host, server.http_port, requests, 2) as load:
        tracemalloc.start()
        record = load.run(lambda record, _now_ns: record.requests < 20, 0.02)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    print(
        f"  {record.requests} requests of {body / 1e6:.1f} MB: "
        f"{record.client_cpu_ns / record.requests / 1e6:.1f} ms CPU each, "
        f"{record.failures} failures, {peak / 1e3:.0f} kB allocated at the peak"
    )
    share = peak / body
    return Goal("allocated per 23 MB body", (share,), at_most=0.05, unit="bodies")


# The program


def write_models(repository: Path) -> None:
    """Write an identity, one that sleeps, one with large inputs, and link the gait model."""
    for name, size, batch, sleep_s in (
        ("identity", 16, 64, 0.0),
        ("sleepy", 16, 8, 0.02),
        ("large", 180_000, 32, 0.0),
    ):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "model.py").write_text(_IDENTITY.format(sleep_s=sleep_s))
        tensors = "".join(
            f'{kind} {{ name: "{tensor}" data_type: TYPE_FP32 dims: [{size}] }}\n'
            for kind, tensor in (("input", "INPUT0"), ("output", "OUTPUT0"))
        )
        (repository / name / "config.pbtxt").write_text(
            f'name: "{name}"\nbackend: "python"\nmax_batch_size: {batch}\n{tensors}'
            "instance_group [ { kind: KIND_CPU } ]\ndynamic_batching { }\n"
        )
    chosen = [variant for variant in REFERENCE_VARIANTS if variant.name == GAIT_MODEL]
    ensure_built(ROOT / "model_repository", chosen, lambda line: print(f"  {line}", flush=True))
    (repository / GAIT_MODEL).symlink_to(ROOT / "model_repository" / GAIT_MODEL)


def run_all(plan: Plan, tool: PerfAnalyzer | str, raw: list[Figures]) -> list[Goal]:
    goals = []
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        with open_server(ServerOptions(mode="local", repository=Path(folder))) as server:
            print(f"Triton {server.version} at {server.url}")
            if isinstance(tool, PerfAnalyzer):
                cells = [Workload("identity", 1, concurrency) for concurrency in (1, 8, 32)]
                print("identity model")
                found = compare_cells(
                    server,
                    tool,
                    cells,
                    protocols=("http", "grpc"),
                    seconds=plan.identity_s,
                    rounds=plan.rounds,
                )
                goals += identity_goals(found)
                raw += [one for tools in found.values() for runs in tools.values() for one in runs]
                print("gait model")
                cells = [Workload(GAIT_MODEL, b, c) for b, c in ((1, 1), (1, 4), (8, 4))]
                found = compare_cells(
                    server,
                    tool,
                    cells,
                    protocols=("http",),
                    seconds=plan.gait_s,
                    rounds=plan.rounds,
                )
                goals += gait_goals(found)
                raw += [one for tools in found.values() for runs in tools.values() for one in runs]
                print("wall time of a cell")
                goals.append(wall_goal(server, tool, plan.wall_rounds))
            print("memory")
            goals.append(body_goal(server))
    goals.append(million_goal())
    return goals


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    print(
        "Compares the load generator with perf_analyzer 2.41.0 on a local Triton, in turns: an "
        f"identity model at concurrency 1, 8 and 32, {GAIT_MODEL} at b1c1, b1c4 and b8c4, the wall "
        f"time of a cell, and memory.\nIt takes {plan.expected} on two quiet cores "
        f"({plan.rounds} round{'s' if plan.rounds > 1 else ''}), and wants the machine for itself: "
        f"the load average is {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."
    )
    tool = fetch_perf_analyzer()
    if isinstance(tool, str):
        print(f"perf_analyzer is skipped: {tool}. Only the memory is measured.")
    raw: list[Figures] = []
    goals = run_all(plan, tool, raw)
    print(f"\n{'figure':42}{'median':>9}{'range':>17}  {'goal':14}")
    for goal in goals:
        low, high = min(goal.values), max(goal.values)
        print(
            f"{goal.name:42}{goal.value:9.3f}{low:9.3f}-{high:<7.3f}  "
            f"{goal.wanted + ' ' + goal.unit:14} {'met' if goal.met else 'MISSED'}"
        )
    missed = [goal.name for goal in goals if not goal.met]
    if options.json:
        content = {
            "benchmark": "load_vs_perf_analyzer",
            "quick": options.quick,
            "skipped": tool if isinstance(tool, str) else None,
            "load_average": os.getloadavg(),
            "goals": [{**asdict(goal), "value": goal.value, "met": goal.met} for goal in goals],
            "runs": [asdict(figures) for figures in raw],
        }
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    print(
        f"load_vs_perf_analyzer: {len(goals) - len(missed)} of {len(goals)} goals met"
        + (f"; missed: {', '.join(missed)}" if missed else "")
        + ("; perf_analyzer was skipped" if isinstance(tool, str) else "")
    )
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
