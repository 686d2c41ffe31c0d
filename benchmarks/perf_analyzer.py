"""NVIDIA's C++ perf_analyzer 2.41.0: fetched with pip, run on one cell at a time."""

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

from pytest_gaitperf.load.data import input_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gaitperf-benchmarks"


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of one tool on one cell; CPU is the client's, per request."""

    tool: str
    cell: str
    throughput: float
    p50_ms: float
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
        self, server: TritonServer, workload: Workload, protocol: str, window_s: float | None
    ) -> Figures:
        """Run it on a cell: three windows of 1.2 x ``window_s``, or with None its own defaults.

        It sends the first sample of our own data: its random bytes are not what we send, and as
        floats they hold NaN and denormal numbers, which may take a CPU longer.
        """
        url = server.url if protocol == "http" else f"{server.host}:{server.grpc_port}"
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.csv")
            data = Path(folder, "data.json")
            data.write_text(_sample(server, workload), encoding="utf-8")
            arguments = ["--input-data", str(data)]
            arguments += ["-m", workload.model, "-b", str(workload.batch_size), "-i", protocol]
            arguments += ["-u", url, "-f", str(report), "--concurrency-range"]
            arguments += [f"{workload.concurrency}:{workload.concurrency}"]
            if window_s is not None:
                # The stability threshold is lifted, so that it takes exactly three windows.
                arguments += ["-p", str(int(window_s * 1000)), "-r", "3", "-s", "999"]
            began = time.monotonic()
            process = self._start(arguments)
            cpu_us = (
                _cpu_us_per_request(server, workload, process.pid, 3 * 1.2 * window_s)
                if window_s is not None
                else math.nan
            )
            output, errors = process.communicate(timeout=60)
            wall_s = time.monotonic() - began
            if process.returncode != 0 or not report.exists():
                raise SystemExit(f"perf_analyzer failed: {(output + errors).strip()[-500:]}")
            with report.open(encoding="utf-8") as file:
                row = next(csv.DictReader(file))
        return Figures(
            tool=f"perf_analyzer {protocol}",
            cell=workload.id,
            throughput=float(row["Inferences/Second"]),
            p50_ms=float(row["p50 latency"]) / 1e3,
            cpu_us=cpu_us,
            wall_s=wall_s,
        )

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - the binary fetched below
            [str(self._binary), *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _sample(server: TritonServer, workload: Workload) -> str:
    """Return one sample of our input data as perf_analyzer reads it."""
    tensors = input_tensors(server.model(workload.model), 1, {})
    content = {
        name: {"b64": base64.b64encode(tensor.tobytes()).decode(), "shape": tensor.shape[1:]}
        for name, tensor in tensors.items()
    }
    return json.dumps({"data": [content]})


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
                done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
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
