"""Compare the load generator with NVIDIA's C++ perf_analyzer, in turns on one local Triton.

Run from the repository's virtual environment (``make .venv/.installed``)::

    .venv/bin/python benchmarks/load_vs_perf_analyzer.py [--quick] [--json FILE] [--check]
        [--only PART[,PART]]

perf_analyzer 2.41.0 is fetched with pip, once, into a cache directory. The parts are under
``benchmarks/load_parts``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.load_parts.bench import Bench, Plan
from benchmarks.load_parts.cost import cost
from benchmarks.load_parts.goal import Goal, print_table
from benchmarks.load_parts.memory import memory
from benchmarks.load_parts.models import GAIT_MODEL, write_models
from benchmarks.load_parts.open_loop import open_loop
from benchmarks.load_parts.truth import truth
from benchmarks.load_parts.wall import wall
from benchmarks.perf_analyzer import fetch_perf_analyzer
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARTS: dict[str, tuple[str, Callable[[Bench], list[Goal]]]] = {
    "cost": ("client CPU per request and throughput on an identity model, c = 1, 8, 32", cost),
    "truth": (f"throughput and p50 of {GAIT_MODEL} at b1c1, b1c4, b8c4, inline and shm", truth),
    "wall": ("wall time of a cell: steady, gait, and one that never stands still", wall),
    "memory": ("memory of a million requests, and of 23 MB bodies", memory),
    "open": ("open loop: send-time errors, and a stall of 300 ms", open_loop),
}
WITHOUT_TOOL = ("memory", "open")

FULL = Plan(
    cost_rounds=5,
    cost_s=3.0,
    pairs=(20, 11),
    wall_rounds=3,
    gait_wall=True,
    open_rounds=3,
    open_s=4.0,
    expected_s={"cost": 205, "truth": 580, "wall": 215, "memory": 15, "open": 65},
)
QUICK = Plan(
    cost_rounds=1,
    cost_s=2.5,
    pairs=(3, 2),
    wall_rounds=1,
    gait_wall=False,
    open_rounds=1,
    open_s=4.0,
    expected_s={"cost": 35, "truth": 105, "wall": 65, "memory": 15, "open": 25},
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument(
        "--only", metavar="PART[,PART]", help=f"some parts alone: {', '.join(PARTS)}"
    )
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    plan = QUICK if options.quick else FULL
    announce(plan, chosen)
    tool = fetch_perf_analyzer()
    if isinstance(tool, str):
        print(f"perf_analyzer is skipped: {tool}")
        chosen = [name for name in chosen if name in WITHOUT_TOOL]
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        with open_server(ServerOptions(mode="local", repository=Path(folder))) as server:
            print(f"Triton {server.version} at {server.url}")
            bench = Bench(server, tool, plan)
            for name in chosen:
                what, part = PARTS[name]
                print(f"{name}: {what}", flush=True)
                goals += part(bench)
    print_table(goals)
    judged = [goal for goal in goals if goal.judged]
    missed = [goal.name for goal in judged if not goal.met]
    if options.json:
        content = {
            "benchmark": "load_vs_perf_analyzer",
            "quick": options.quick,
            "parts": chosen,
            "skipped": tool if isinstance(tool, str) else None,
            "load_average": os.getloadavg(),
            "goals": [
                asdict(goal) | {"value": goal.value, "interval": goal.interval, "met": goal.met}
                for goal in goals
            ],
            "runs": [asdict(figures) for figures in bench.runs],
        }
        # A figure that is not known is a NaN here and null there: JSON has no NaN.
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    print(
        f"load_vs_perf_analyzer: {len(judged) - len(missed)} of {len(judged)} goals met"
        + (f"; missed: {', '.join(missed)}" if missed else "")
        + ("; perf_analyzer was skipped" if isinstance(tool, str) else "")
    )
    return 1 if options.check and missed else 0


def announce(plan: Plan, chosen: Sequence[str]) -> None:
    """Say what is done, for how long, and on which machine."""
    minutes = sum(plan.expected_s[name] for name in chosen) / 60
    print("Compares the load generator with perf_analyzer 2.41.0 on a local Triton, in turns:")
    for name in chosen:
        print(f"  {name:7} {PARTS[name][0]} ({plan.expected_s[name]:.0f} s)")
    print(
        f"It takes about {minutes:.0f} minutes on two quiet cores, and wants the machine for "
        f"itself: the load average is {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."
    )


if __name__ == "__main__":
    raise SystemExit(main())
