"""NVIDIA's C++ perf_analyzer 2.41.0: fetched with pip, run on one cell at a time.

What it does, from its source (``inference_profiler.cc``): its first window opens when the load
starts, before anything has completed; windows of 1.2 x the measurement interval follow one another
without gaps until three in a row agree within the stability threshold in throughput and mean
latency, or ten have been tried, and then there is no result; what it reports are those three
together: the requests that completed in them over their length, percentiles by nearest rank. So a
report of three windows that were the first counts an empty pipeline at the start as time: it is
low by about half a request's latency.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.load.record import work_done
from pytest_gaitperf.stats import mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gaitperf-benchmarks"
WINDOWS = 3
REAL_WINDOW = 1.2
"""How much longer a window of it is than the measurement interval that it is given."""

_ANY_STABILITY = 100_000
_LONGEST_RUN_S = 180
_NO_RESULT = ("Failed to obtain stable measurement", "No valid requests recorded")
_SERVER_COLUMNS = ("Queue", "Compute Input", "Compute Infer", "Compute Output")


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of one tool on one cell.

    ``throughput`` is as reported (inferences/s), ``steady`` the same without the load's start,
    ``half_width`` the relative half-width of the latter's 95 % interval. ``mean_ms`` is the mean
    latency, ``server_ms`` that part of it which the server's books account for. ``cpu_us`` is the
    client's CPU per request, ``wall_s`` how long the whole run took. What a run does not tell is
    NaN.
    """

    tool: str
    cell: str
    throughput: float
    steady: float
    half_width: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    server_ms: float
    cpu_us: float
    wall_s: float


class PerfAnalyzer:
    """The fetched binary, and one run of it at a time."""

    def __init__(self, binary: Path, libraries: Path) -> None:
        self._binary = binary
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}

    def why_not(self) -> str | None:
        """Say why it does not run here, None when it does."""
        done = self._start(["--version"])
        _, errors = done.communicate(timeout=30)
        if done.returncode == 0:
            return None
        missing = "libb64" in errors and "its library libb64 is missing: apt-get install libb64-0d"
        return missing or f"it does not run here: {errors.strip()[-300:]}"

    def run(
        self,
        server: TritonServer,
        workload: Workload,
        window_s: float | None,
        *,
        records: bool = False,
        trials: int = WINDOWS,
    ) -> Figures | None:
        """Run it on a cell: ``trials`` windows of 1.2 x ``window_s``, or with None its defaults.

        With three windows the stability threshold is lifted, so that it takes exactly those; with
        more it is its own. None is what it gave up on: no three windows in a row that agree, or one
        in which nothing completed. ``records`` has it write every request down, for ``steady`` and
        ``half_width``.

        It sends the first sample of our own data: its random bytes are not what we send, and as
        floats they hold NaN and denormal numbers, which may take a CPU longer.
        """
        with tempfile.TemporaryDirectory() as folder:
            report, data, export = (
                Path(folder, name) for name in ("report.csv", "data.json", "requests.json")
            )
            data.write_text(_sample(server, workload), encoding="utf-8")
            arguments = _load_arguments(server, workload)
            arguments += ["--input-data", str(data), "-f", str(report), "--verbose-csv"]
            if window_s is not None:
                arguments += ["-p", str(int(window_s * 1000)), "-r", str(trials)]
                arguments += ["-s", str(_ANY_STABILITY)] if trials == WINDOWS else []
            if records:
                arguments += ["--profile-export-file", str(export)]
            began = time.monotonic()
            process = self._start(arguments)
            cpu_us = math.nan
            if window_s is not None and workload.concurrency:
                seconds = trials * REAL_WINDOW * window_s
                cpu_us = _cpu_us_per_request(server, workload, process.pid, seconds)
            try:
                output, errors = process.communicate(timeout=_LONGEST_RUN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise SystemExit(f"perf_analyzer ran for {_LONGEST_RUN_S} s: {arguments}") from None
            wall_s = time.monotonic() - began
            if process.returncode != 0 and any(text in output + errors for text in _NO_RESULT):
                return None
            if process.returncode != 0 or not report.exists():
                raise SystemExit(f"perf_analyzer failed: {(output + errors).strip()[-500:]}")
            with report.open(encoding="utf-8") as file:
                row = next(csv.DictReader(file))
            steady, half_width = (
                from_records(export, workload.batch_size) if records else (math.nan, math.nan)
            )
        return Figures(
            tool=f"perf_analyzer {workload.protocol}",
            cell=workload.id,
            throughput=float(row["Inferences/Second"]),
            steady=steady,
            half_width=half_width,
            p50_ms=float(row["p50 latency"]) / 1e3,
            p99_ms=float(row["p99 latency"]) / 1e3,
            mean_ms=float(row["Avg latency"]) / 1e3,
            server_ms=sum(float(row[f"Server {part}"]) for part in _SERVER_COLUMNS) / 1e3,
            cpu_us=cpu_us,
            wall_s=wall_s,
        )

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self._binary), *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _load_arguments(server: TritonServer, workload: Workload) -> list[str]:
    """Say what to ask of which server, and how often."""
    url = f"{server.host}:{server.grpc_port}" if workload.protocol == "grpc" else server.url
    arguments = ["-m", workload.model, "-b", str(workload.batch_size)]
    arguments += ["-u", url, "-i", workload.protocol]
    if workload.transport == "shm":
        arguments += ["--shared-memory", "system"]
    if workload.concurrency:
        return [*arguments, "--concurrency-range", f"{workload.concurrency}:{workload.concurrency}"]
    rate = f"{workload.sends_per_s:g}"
    return [*arguments, "--request-rate-range", f"{rate}:{rate}"]


def _sample(server: TritonServer, workload: Workload) -> str:
    """Return one sample of our input data as perf_analyzer reads it."""
    tensors = input_tensors(server.model(workload.model), 1, {})
    content = {
        name: {"b64": base64.b64encode(tensor.tobytes()).decode(), "shape": tensor.shape[1:]}
        for name, tensor in tensors.items()
    }
    return json.dumps({"data": [content]})


def from_records(export: Path, batch_size: int) -> tuple[float, float]:
    """Return the throughput without the load's start, and its relative half-width.

    From the requests it wrote down in the windows that it reports, cut as we cut ours: from one
    longest latency after the first send to one before the end, a request counted by the share of it
    that lies in a window, windows of a quarter of a second or half a latency.
    """
    content = json.loads(export.read_text(encoding="utf-8"))["experiments"][0]
    requests = [
        (request["timestamp"], request["response_timestamps"][0]) for request in content["requests"]
    ]
    starts, ends = np.array(sorted(requests, key=lambda times: times[1]), dtype=np.int64).T
    bounds = content["window_boundaries"][-WINDOWS - 1 :]
    longest = int((ends - starts).max())
    first, last = max(bounds[0], int(starts.min()) + longest), bounds[-1] - longest
    window_ns = max(2.5e8, float((ends - starts).mean()) / 2)
    windows = int((last - first) / window_ns)
    if windows < 1:
        return math.nan, math.nan
    edges = np.linspace(first, last, windows + 1).astype(np.int64)
    rates = work_done(starts, ends, edges) * batch_size / ((last - first) / windows / 1e9)
    low, high = mean_interval(rates)
    return float(rates.mean()), (high - low) / 2 / float(rates.mean())


def _cpu_us_per_request(
    server: TritonServer, workload: Workload, pid: int, seconds: float
) -> float:
    """Measure a client's CPU between 35 % and 90 % of its run, by the requests the server counts.

    So neither its start nor its end counts, and the server is only asked twice.
    """
    clock = (~pid << 3) | 2  # clock_getcpuclockid(3)
    moments = []
    for share in (0.35, 0.9 - 0.35):
        time.sleep(share * seconds)
        count = server.statistics(workload.model).inference_count / workload.batch_size
        moments.append((time.clock_gettime_ns(clock), count))
    (cpu_before, count_before), (cpu_after, count_after) = moments
    return (cpu_after - cpu_before) / max(count_after - count_before, 1) / 1e3


def fetch_perf_analyzer() -> PerfAnalyzer | str:
    """Return perf_analyzer, fetched on first use, or why it cannot be had."""
    binary = CACHE / "perf_analyzer"
    library = CACHE / "libcudart.so.12"
    if not (binary.exists() and library.exists()):
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            for wheel in (
                ["--platform", "manylinux1_x86_64", "tritonclient==2.41.0"],
                ["--platform", "manylinux2014_x86_64", "nvidia-cuda-runtime-cu12"],
            ):
                command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
                command += ["--only-binary=:all:", "--dest", folder, *wheel]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    return f"pip cannot download {wheel[-1]}: {done.stderr.strip()[-200:]}"
            for path in Path(folder).glob("*.whl"):
                with zipfile.ZipFile(path) as wheel_file:
                    for name in wheel_file.namelist():
                        target = CACHE / Path(name).name
                        if target in (binary, library):
                            target.write_bytes(wheel_file.read(name))
        if not (binary.exists() and library.exists()):
            return "the wheel of tritonclient 2.41.0 holds no perf_analyzer for this machine"
        binary.chmod(0o755)
    tool = PerfAnalyzer(binary, CACHE)
    return tool.why_not() or tool
