"""Tell whether anything grows, or gets dearer, in an hour of continuous cells.

    .venv/bin/python -m tests.campaigns.soak [--quick] [--minutes N] [--json FILE] [--check]

One `pytest` measures hundreds of different cells, one after the other, on a real Triton that it has
started itself, with its sampler running: batch sizes 1 to 16, 1 to 8 requests in flight, HTTP and
gRPC, inline and in shared memory, in a random order, so that time is not mixed up with load. The
model sleeps 10 ms a request: the machine stays mostly idle, and most of what is seen is ours.

Every few seconds the processes of the run are looked at from outside: pytest, the sampler, the
supervisor, Triton and its Python backend. Told are, per process, the memory that is its own (USS)
in the second and the last tenth of the hour, the fewest file descriptors and threads in each (at
the fewest, since a cell opens connections and closes them), and regions left in shared memory; and
the client's CPU time per request over the hour, by least squares of its logarithm on time, beside
the protocol with its transport, the batch size and the number in flight, with its 95 % interval.

Goals: no process grows by more than 2 % and 2 MiB, pytest by no more than 20 KiB a cell (it keeps
every result until the end); descriptors and threads constant (not the threads of Triton, whose
gRPC keeps a pool); no region left; no drift of the
client's cost: its interval contains 0 or lies within 3 %.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from scipy.stats import t

from pytest_gaitperf import read_results
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_gaitperf import Cell

ROOT = Path(__file__).resolve().parents[2]
EVERY_S = 3.0
CELL_S = 7.0
ENDING_S = 12.0
BATCH_SIZES = range(1, 17)
CONCURRENCIES = range(1, 9)
KINDS = [(protocol, transport) for protocol in ("http", "grpc") for transport in ("inline", "shm")]
MIB = 1 << 20
GROWTH = 0.02
CELL_BYTES = 20 << 10
DRIFT = 0.03

SUITE = """
import random

import pytest

SIZES, FLIGHTS = {sizes}, {flights}


@pytest.mark.gaitperf(batch_sizes=SIZES, concurrencies=FLIGHTS, protocol="http", transport="inline")
def test_http_inline(perf, perf_cell):
    assert perf.measure(perf_cell).metrics


@pytest.mark.gaitperf(batch_sizes=SIZES, concurrencies=FLIGHTS, protocol="http", transport="shm")
def test_http_shm(perf, perf_cell):
    assert perf.measure(perf_cell).metrics


@pytest.mark.gaitperf(batch_sizes=SIZES, concurrencies=FLIGHTS, protocol="grpc", transport="inline")
def test_grpc_inline(perf, perf_cell):
    assert perf.measure(perf_cell).metrics


@pytest.mark.gaitperf(batch_sizes=SIZES, concurrencies=FLIGHTS, protocol="grpc", transport="shm")
def test_grpc_shm(perf, perf_cell):
    assert perf.measure(perf_cell).metrics
"""
SHUFFLE = """
import random


def pytest_collection_modifyitems(items):
    random.Random(1).shuffle(items)
    del items[{cells}:]
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What a process had at one moment: bytes of its own, descriptors and threads."""

    at_s: float
    own_bytes: int
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Growth:
    """A process from the second tenth of the time to the last."""

    process: str
    looks: int
    early_mib: float
    late_mib: float
    early_descriptors: int
    late_descriptors: int
    early_threads: int
    late_threads: int

    def faults(self, cells: int) -> list[str]:
        """Say which goals it misses; ``cells`` were measured between the two tenths."""
        found = []
        grown = (self.late_mib - self.early_mib) * MIB
        allowed = max(GROWTH * self.early_mib * MIB, 2 * MIB)
        if self.process == "pytest":
            allowed += cells * CELL_BYTES
        if grown > allowed:
            found.append(f"{self.process} grew by {grown / MIB:.1f} MiB")
        for name, early, late in (
            ("descriptors", self.early_descriptors, self.late_descriptors),
            ("threads", self.early_threads, self.late_threads),
        ):
            # Triton's gRPC keeps a pool of threads, as large as it thinks fit.
            if late > early and (name, self.process) != ("threads", "tritonserver"):
                found.append(f"{self.process} has {late - early} more {name}")
        return found


@dataclass(frozen=True, slots=True)
class Drift:
    """How the client's CPU time per request changed over the whole time, relative."""

    cells: int
    change: float
    low: float
    high: float

    @property
    def found(self) -> bool:
        """Whether it is beyond noise and beyond what is allowed."""
        return self.low * self.high > 0 and not (self.low > -DRIFT and self.high < DRIFT)


def name_of(process: psutil.Process) -> str | None:
    """Name the part that a process plays, None where it is none that stays."""
    words = " ".join(process.cmdline())
    for mark, name in (
        ("triton_python_backend_stub", "python backend"),
        ("tritonserver", "tritonserver"),
        ("power.sampler", "sampler"),
        ("power/sampler", "sampler"),
        ("supervisor", "supervisor"),
        ("pytest", "pytest"),
    ):
        if mark in words:
            return name if name != "tritonserver" or "supervisor" not in words else "supervisor"
    return None


def watch(
    run: subprocess.Popen[bytes], directory: Path
) -> tuple[dict[str, list[Look]], tuple[str, ...]]:
    """Look at the processes of a run until it ends; show how far it is.

    Return what was seen, and what the names of its regions in shared memory have in them.
    """
    looks: dict[str, list[Look]] = {}
    marks = {f"-{run.pid}-"}
    began_s = time.monotonic()
    parent = psutil.Process(run.pid)
    log = directory / "out"
    while run.poll() is None:
        try:
            processes = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        for process in processes:
            try:
                name = name_of(process)
                if name is None:
                    continue
                words = " ".join(process.cmdline())
                marks.update(re.findall(r"region-prefix-name=(\w+)", words))
                look = Look(
                    time.monotonic() - began_s,
                    process.memory_full_info().uss,
                    process.num_fds(),
                    process.num_threads(),
                )
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            looks.setdefault(name, []).append(look)
        if sys.stdout.isatty():
            done = log.read_text(encoding="utf-8", errors="replace").count("inf/s")
            print(f"\r{done} cells, {(time.monotonic() - began_s) / 60:.1f} min", end="")
        try:
            run.wait(EVERY_S)
        except subprocess.TimeoutExpired:
            continue
    if sys.stdout.isatty():
        print("\r" + " " * 40 + "\r", end="")
    # Towards the end each process is already giving up what it had.
    ended_s = time.monotonic() - began_s - ENDING_S
    kept = {name: [one for one in seen if one.at_s < ended_s] for name, seen in looks.items()}
    return kept, tuple(marks)


def growth(name: str, looks: list[Look]) -> Growth:
    """Compare the second tenth of the time with the last."""
    tenth = max(len(looks) // 10, 1)
    early, late = looks[tenth : 2 * tenth] or looks, looks[-tenth:]
    return Growth(
        process=name,
        looks=len(looks),
        early_mib=statistics.median(look.own_bytes for look in early) / MIB,
        late_mib=statistics.median(look.own_bytes for look in late) / MIB,
        early_descriptors=min(look.descriptors for look in early),
        late_descriptors=min(look.descriptors for look in late),
        early_threads=min(look.threads for look in early),
        late_threads=min(look.threads for look in late),
    )


def drift(cells: Iterable[Cell]) -> Drift:
    """Fit the client's cost: its kind, batch size and number in flight beside the time."""
    rows, costs = [], []
    measured = [(cell.workload, cell.measurement) for cell in cells if cell.measurement is not None]
    for place, (workload, measurement) in enumerate(measured):
        batch, flight = workload.batch_size, workload.concurrency
        kind = [(workload.protocol, workload.transport) == one for one in KINDS]
        by_kind = [float(mine) * value for mine in kind for value in (1, batch, math.log(flight))]
        rows.append([place / max(len(measured) - 1, 1), *by_kind])
        costs.append(math.log(measurement.client_cpu_per_request_us))
    matrix, logs = np.array(rows), np.array(costs)
    matrix = matrix[:, np.any(matrix != 0, axis=0)]
    inverse = np.linalg.pinv(matrix.T @ matrix)
    fitted = inverse @ matrix.T @ logs
    free = len(logs) - matrix.shape[1]
    error = math.sqrt(float(np.sum((logs - matrix @ fitted) ** 2)) / free * inverse[0, 0])
    reach = float(t.ppf(0.975, free)) * error
    slope = float(fitted[0])
    return Drift(
        len(measured), math.expm1(slope), math.expm1(slope - reach), math.expm1(slope + reach)
    )


def soak(cells: int, cell_s: float) -> tuple[list[Growth], Drift, list[str], float]:
    """Measure so many cells, each for so long."""
    with tempfile.TemporaryDirectory() as given:
        directory = Path(given)
        write_model(
            directory / "models", "sleepy",
            inputs=[Tensor("INPUT0", "FP32", (4096,))], max_batch_size=16, sleep_s=0.01,
        )  # fmt: skip
        suite = SUITE.format(sizes=list(BATCH_SIZES), flights=list(CONCURRENCIES))
        (directory / "test_soak.py").write_text(suite)
        (directory / "conftest.py").write_text(SHUFFLE.format(cells=cells))
        command = [
            sys.executable, "-m", "pytest", str(directory / "test_soak.py"), "-v",
            "-p", "no:cacheprovider", "--triton=local", "--power=estimate:5",
            f"--triton-repository={directory / 'models'}",
            f"--gaitperf-baselines={directory / 'baselines'}", "--gaitperf-update=none",
            f"--gaitperf-budget={cell_s - 0.6}", "--gaitperf-precision=0.0001",
            f"--gaitperf-json={directory / 'results.json'}",
        ]  # fmt: skip
        began_s = time.monotonic()
        with (directory / "out").open("wb") as out:
            run = subprocess.Popen(command, cwd=directory, stdout=out, stderr=out)
            try:
                looks, marks = watch(run, directory)
            finally:
                if run.poll() is None:
                    run.terminate()
                    run.wait()
        took_s = time.monotonic() - began_s
        results = directory / "results.json"
        if run.returncode or not results.exists():
            text = (directory / "out").read_text(encoding="utf-8", errors="replace")
            sys.exit(f"pytest ended with {run.returncode}:\n{text[-4000:]}")
        found = drift(read_results(results).cells)
    names = sorted(path.name for path in Path("/dev/shm").iterdir())  # noqa: S108 - the kernel's
    left = [name for name in names if any(mark in name for mark in marks)]
    return [growth(name, seen) for name, seen in looks.items() if seen], found, left, took_s


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three minutes of shorter cells")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there, too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    minutes, cell_s = (3.0, 2.5) if options.quick else (options.minutes, CELL_S)
    most = len(BATCH_SIZES) * len(CONCURRENCIES) * len(KINDS)
    cells = min(max(int(minutes * 60 / cell_s), 20), most)
    cell_s = max(cell_s, minutes * 60 / cells)
    print(f"{cells} cells of {cell_s:.1f} s each on one Triton. About {minutes:.0f} min.\n")
    grown, cost, left, took_s = soak(cells, cell_s)
    title = f"{'process':<16}{'own memory, MiB':>24}{'descriptors':>16}{'threads':>14}{'looks':>8}"
    print(title)
    for one in grown:
        memory = f"{one.early_mib:.1f} -> {one.late_mib:.1f}"
        files = f"{one.early_descriptors} -> {one.late_descriptors}"
        threads = f"{one.early_threads} -> {one.late_threads}"
        print(f"{one.process:<16}{memory:>24}{files:>16}{threads:>14}{one.looks:>8}")
    print(
        f"\nclient CPU per request over the time: {cost.change:+.1%} "
        f"({cost.low:+.1%} .. {cost.high:+.1%}, {cost.cells} cells)"
    )
    between = round(0.85 * cost.cells)
    missed = [fault for one in grown for fault in one.faults(between)]
    missed += [f"the client's cost changed by {cost.change:+.1%}"] if cost.found else []
    missed += [f"left in shared memory: {', '.join(left)}"] if left else []
    if options.json:
        document = {
            "cells": cost.cells,
            "seconds": took_s,
            "processes": [asdict(one) for one in grown],
            "client_cost": asdict(cost),
            "regions_left": left,
            "missed": missed,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    print(f"{cost.cells} cells in {took_s / 60:.1f} min: " + ("; ".join(missed) or "all is flat"))
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
