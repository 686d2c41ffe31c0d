"""Joules per inference on an NVIDIA GPU: the hardware's counter against polling, and repeatability.

Needs an NVIDIA GPU, torch with CUDA, and the extras `local` and `nvidia`. Serves the 3D network in
torch, half precision, on a real Triton. First both ways of reading NVML watch the same windows of
the same load: their joules should agree within 1 %. Then `pytest suites/test_grid.py` runs several
sessions and records them: how far do sessions agree? The recorded baseline can be kept with
`--baselines`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_gaitperf.measure.cell import Budget, measure
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.power.trace import load
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from pytest_gaitperf.zoo.networks import Variant
from pytest_gaitperf.zoo.repository import ensure_built

if TYPE_CHECKING:
    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.trace import Trace

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "suites" / "test_grid.py"
MODEL, WEIGHTS = "3D_fp16_0_batchd", "3D_fp32_0_batchd"
CELLS = ((1, 1), (1, 8), (8, 8))
GOAL = 0.01
TRACE_COLUMNS = (
    *("session", "cell", "meter", "readings", "new_values", "longest_gap_s"),
    *("duration_s", "energy_J", "mean_power_W"),
)


@dataclass(slots=True)
class Both:
    """Two meters on the same windows: the first is the measurement's, the second looks on."""

    counter: Meter
    polling: Meter
    joules: list[tuple[float, float]] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.counter, name)

    def start(self) -> None:
        """Begin sampling with both."""
        self.counter.start()
        self.polling.start()

    def stop(self) -> None:
        """End sampling with both."""
        self.counter.stop()
        self.polling.stop()

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Integrate both over the window; give the counter's trace."""
        traces = [meter.trace(start_ns, end_ns) for meter in (self.counter, self.polling)]
        first, second = (
            integrate(trace, start_ns, end_ns).total_j(meter.total_rails)
            for trace, meter in zip(traces, (self.counter, self.polling), strict=True)
        )
        self.joules.append((first, second))
        return traces[0]

    def close(self) -> None:
        """Release both sensors."""
        self.counter.close()
        self.polling.close()


def write_repository(repository: Path) -> None:
    """Write the torch model with the weights of the reference network."""
    target = repository / MODEL
    (target / "1").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        ensure_built(Path(name), [Variant.parse(WEIGHTS)], print)
        shutil.copy(Path(name, WEIGHTS, "1", "model.onnx"), target / "1")
    source = ROOT / "benchmarks" / "torch_gpu"
    shutil.copy(source / "config.pbtxt", target)
    shutil.copy(source / "model.py", target / "1")


def compare(repository: Path, rounds: int, budget_s: float) -> dict[str, list[float]]:
    """Return, by cell, polling / counter - 1 over the same windows."""
    counter, polling = (open_meter(name).meter for name in ("nvml", "nvml-power"))
    if counter is None or polling is None:
        sys.exit("no NVML meter")
    print(f"{counter.description}\n{polling.description}")
    both = Both(counter, polling)
    found: dict[str, list[float]] = {}
    options = ServerOptions(mode="local", repository=repository, models=(MODEL,))
    try:
        with open_server(options) as server:
            for number in range(rounds * len(CELLS)):
                workload = Workload(MODEL, *CELLS[number % len(CELLS)])
                result = measure(
                    server, workload, Metering(cast("Meter", both)), Budget(0.001, budget_s)
                )
                first, second = both.joules[-1]
                found.setdefault(workload.key, []).append(second / first - 1)
                print(
                    f"  {workload.key}: counter {first:.1f} J, polling {second:.1f} J "
                    f"({second / first - 1:+.2%}) over {result.duration_s:.1f} s"
                )
    finally:
        both.close()
    return found


def run_sessions(
    repository: Path, baselines: Path, traces: Path, sessions: int, budget_s: float
) -> None:
    """Record sessions of the suite, as a user would, and keep the readings of each."""
    grid = repository.parent / "grid.toml"
    grid.write_text("batch_sizes = [1, 8]\nconcurrencies = [1, 8]\n")
    for number in range(sessions):
        command = [
            sys.executable, "-m", "pytest", str(SUITE), "-q", "-W", "default",
            "-p", "no:cacheprovider", "--triton=local", f"--triton-repository={repository}",
            "--power=nvml", f"--gaitperf-grid={grid}", f"--gaitperf-budget={budget_s}",
            f"--gaitperf-baselines={baselines}", "--gaitperf-update=all",
            f"--power-trace={traces / str(number + 1)}",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(f"session {number + 1} of {sessions}: exit code {done.returncode}")
        last = number + 1 == sessions
        if done.returncode or last:
            print(done.stdout)


def summarize(traces: Path, target: Path) -> None:
    """Write a row for each session and cell: what the meter read in the measured span."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRACE_COLUMNS)
        for path in sorted(traces.glob("*/*")):
            kept = load(path)
            start_ns, end_ns = int(kept.edges_ns[0]), int(kept.edges_ns[-1])
            energy = integrate(kept.trace, start_ns, end_ns)
            row: list[object] = [path.parent.name, kept.about.label, kept.about.meter]
            row += [energy.samples, energy.fresh, f"{energy.longest_gap_s:.4g}"]
            row += [f"{energy.duration_s:.5g}", f"{energy.total_j(kept.about.total_rails):.5g}"]
            writer.writerow([*row, f"{energy.mean_power_w(kept.about.total_rails):.5g}"])


def repeatability(baselines: Path) -> dict[str, dict[str, list[float]]]:
    """Return, by cell and metric, the recorded sessions' values."""
    (path,) = baselines.glob("*/*.json")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found: dict[str, dict[str, list[float]]] = {}
    for key, cell in cells.items():
        for session in cell["sessions"].values():
            for metric in ("throughput", "energy_per_inference"):
                if metric in session:  # what others disturbed is not recorded
                    found.setdefault(key, {}).setdefault(metric, []).append(session[metric][0])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 round and 2 sessions, 12 s a cell")
    parser.add_argument("--baselines", type=Path, metavar="DIR", help="keep the baselines here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    arguments = parser.parse_args()
    rounds, sessions = (1, 2) if arguments.quick else (3, 5)
    budget_s = 12.0
    seconds = rounds * len(CELLS) * (budget_s + 2) + sessions * (4 * (budget_s + 1) + 10)
    print(f"{rounds} rounds of both meters, {sessions} sessions; about {seconds / 60:.0f} min")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        repository = Path(name) / "repository"
        write_repository(repository)
        differences = compare(repository, rounds, budget_s)
        baselines = (arguments.baselines or Path(name) / "baselines").resolve()
        traces = Path(name) / "traces"
        run_sessions(repository, baselines, traces, sessions, budget_s)
        summarize(traces, next(baselines.glob("*")) / "traces.csv")
        values = repeatability(baselines)
    print(f"\n{'cell':8}{'polling - counter':>20}{'mJ/inf':>10}{'SD':>8}{'inf/s':>10}{'SD':>8}")
    for key, metrics in values.items():
        pairs = differences.get(key, [])
        shown = f"{statistics.mean(pairs):+.2%}" if pairs else "-"
        row = f"{key:8}{shown:>20}"
        for metric, scale in (("energy_per_inference", 1e3), ("throughput", 1.0)):
            known = metrics.get(metric, [])
            mean = statistics.mean(known) if known else math.nan
            sd = f"{statistics.stdev(known) / mean:.1%}" if len(known) > 1 else "-"
            row += f"{mean * scale:10.1f}{sd:>8}"
        print(row)
    worst = max(abs(item) for pairs in differences.values() for item in pairs)
    print(
        f"gpu_energy: polling within {worst:.2%} of the counter (goal {GOAL:.0%}) in "
        f"{rounds * len(CELLS)} windows: {'met' if worst <= GOAL else 'MISSED'}; "
        f"{sessions} sessions; {time.monotonic() - began:.0f} s"
    )
    if arguments.json:
        figures = {"polling_over_counter": differences, "sessions": values, "goal": GOAL}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and worst > GOAL)


if __name__ == "__main__":
    sys.exit(main())
