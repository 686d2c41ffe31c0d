"""Whether GPU memory and utilisation are what nvidia-smi says, on a real GPU and a real Triton.

Needs an NVIDIA GPU, torch with CUDA, and the extras `local` and `nvidia`. Serves the 3D network in
torch, half precision, and runs `suites/test_grid.py` and `suites/test_models.py` on it, as a user
does, while nvidia-smi prints what each process has of the GPU's memory and how busy the GPU is,
twice a second. The peak of the model's memory is compared with the most that nvidia-smi showed of
its process; the busy share of each cell with the mean of nvidia-smi's lines while it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_energy import MODEL, write_repository  # noqa: E402
from pytest_gaitperf import read_results  # noqa: E402
from pytest_gaitperf.measure.cell import Budget, measure  # noqa: E402
from pytest_gaitperf.power.metering import Metering  # noqa: E402
from pytest_gaitperf.triton.launch import ServerOptions  # noqa: E402
from pytest_gaitperf.triton.server import open_server  # noqa: E402
from pytest_gaitperf.workload import Workload  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

CELLS = ((1, 1), (1, 8), (8, 8))
MEMORY_GOAL, BUSY_GOAL = 0.01, 0.1


@contextmanager
def nvidia_smi(query: str, period_ms: int, into: Path) -> Iterator[None]:
    """Let nvidia-smi print a query's lines into a file, over and over."""
    with into.open("w") as file:
        command = ["nvidia-smi", query, "--format=csv,noheader,nounits", f"-lms={period_ms}"]
        process = subprocess.Popen(command, stdout=file)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def memory_seen(project: Path, repository: Path) -> tuple[float, float]:
    """Return the peak of the model's GPU memory by the suite and by nvidia-smi, in MiB."""
    for suite in ("test_grid.py", "test_models.py"):
        shutil.copy(ROOT / "suites" / suite, project)
    (project / "grid.toml").write_text("batch_sizes = [1, 8]\nconcurrencies = [1, 8]\n")
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_grid.py"),
        *("test_models.py", "--triton=local", f"--triton-repository={repository}"),
        *("--power=nvml", "--gaitperf-grid=grid.toml", "--gaitperf-update=missing"),
        "--gaitperf-json=results.json",
    ]
    seen = project / "apps.csv"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with nvidia_smi("--query-compute-apps=pid,used_memory", 500, seen):
        subprocess.run(command, cwd=project, env={**os.environ, "PYTHONPATH": path}, check=False)
    ours = next(
        cell.measurement.metrics["gpu_memory_peak"].value / 2**20
        for cell in read_results(project / "results.json").cells
        if cell.workload.alone and cell.measurement is not None
    )
    lines = [line.split(",") for line in seen.read_text().splitlines() if line.count(",") == 1]
    return ours, max(float(used) for _, used in lines)


def busy_seen(project: Path, repository: Path, seconds: float) -> list[tuple[str, float, float]]:
    """Return the GPU's busy share of each cell by its measurement and by nvidia-smi."""
    found = []
    options = ServerOptions(mode="local", repository=repository, models=(MODEL,))
    with open_server(options) as server:
        for cell in CELLS:
            workload = Workload(MODEL, *cell)
            seen = project / f"busy-{workload.key}.csv"
            with nvidia_smi("--query-gpu=utilization.gpu", 500, seen):
                time.sleep(1.0)
                result = measure(server, workload, Metering(None), Budget(0.001, seconds))
            shares = [float(line) for line in seen.read_text().splitlines() if line.strip()]
            # Before and after the load, and while it warms up, the GPU rests or is not yet busy.
            shares = [one / 100 for one in shares[4:-2]]
            busy = result.utilisation.busiest_gpu if result.utilisation else None
            found.append((workload.key, float("nan") if busy is None else busy, *_mean(shares)))
    return found


def _mean(shares: list[float]) -> tuple[float]:
    return (statistics.fmean(shares) if shares else float("nan"),)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="6 s a cell, not 12")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        project, repository = Path(name), Path(name) / "repository"
        write_repository(repository)
        busy = busy_seen(project, repository, 6.0 if arguments.quick else 12.0)
        ours, theirs = memory_seen(project, repository)
    off = ours / theirs - 1
    print(f"\nGPU memory of the model, peak: {ours:.0f} MiB; nvidia-smi: {theirs:.0f} ({off:+.2%})")
    for key, own, smi in busy:
        print(f"GPU busy in {key}: {own:.0%}; nvidia-smi: {smi:.0%}")
    worst = max(abs(own - smi) for _, own, smi in busy)
    met = abs(off) <= MEMORY_GOAL and worst <= BUSY_GOAL
    print(
        f"gpu_seen: memory {off:+.2%} (goal {MEMORY_GOAL:.0%}), busy within {worst:.1%} "
        f"(goal {BUSY_GOAL:.0%}): {'met' if met else 'MISSED'}"
    )
    if arguments.json:
        figures = {"memory_mib": [ours, theirs], "busy": busy}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


if __name__ == "__main__":
    sys.exit(main())
