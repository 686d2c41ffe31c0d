"""What perf_analyzer wrote, as a run whose cells stand beside ours: its CSV, its profile export.

Formats: ``-f FILE.csv`` has a line for each load, latencies in microseconds; the JSON of
``--profile-export-file`` has each request of each load, times in nanoseconds. Neither names the
model or the batch size, so the file's name does: ``resnet50.csv``, ``resnet50-b4.json``.
"""

from __future__ import annotations

import csv
import io
import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pytest_gaitperf.environment import Environment, Profile
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json, read_bytes
from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.measurement import FEWEST_OF_P99, Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.results import Cell, Run
from pytest_gaitperf.results_file import MOST_RESULTS, read_results
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAME = "perf_analyzer"
_LOADS = {"Concurrency": "concurrency", "Request Rate": "request_rate"}
_PERCENTILES = (50, 90, 95, 99)
_PARTS = {
    "client_send": "Client Send",
    "network": "Network+Server Send/Recv",
    "queue": "Server Queue",
    "compute_input": "Server Compute Input",
    "compute_infer": "Server Compute Infer",
    "compute_output": "Server Compute Output",
    "client_receive": "Client Recv",
}
_HEAD_BYTES = 100
_WINDOWS = 3
"""It reports its last windows, of which three must agree."""


class _Request(msgspec.Struct):
    timestamp: int
    response_timestamps: list[int] = []


class _Experiment(msgspec.Struct):
    experiment: dict[str, Any]
    requests: list[_Request]
    window_boundaries: list[int]


def read_any(path: Path) -> Run:
    """Read results of ours or of perf_analyzer's.

    Raises ConfigurationError, naming the file, where it is neither.
    """
    if path.suffix == ".csv":
        return _run(path, _from_csv)
    if path.suffix == ".json" and _is_export(path):
        return _run(path, _from_export)
    return read_results(path)


def _is_export(path: Path) -> bool:
    """Whether a file is a profile export; what cannot be read is told as results are."""
    try:
        content = read_bytes(path, MOST_RESULTS)
        if b'"schema"' in content[:_HEAD_BYTES]:  # ours, which may be large, is parsed once
            return False
        document = parse_json(content)
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "experiments" in document


def _run(path: Path, read: Any) -> Run:
    name = re.fullmatch(r"(.+?)(?:-b([1-9]\d{0,5}))?", path.stem, re.ASCII)
    model, size = (name[1], int(name[2] or 1)) if name else (path.stem, 1)
    try:
        cells = [
            Cell(id=workload.id, workload=workload, measurement=measurement)
            for workload, measurement in read(read_bytes(path, MOST_RESULTS), model, size)
        ]
        written = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, csv.Error, ConfigurationError) as error:
        raise ConfigurationError(f"{path}: not what perf_analyzer writes: {error}") from None
    if not cells:
        raise ConfigurationError(f"{path}: perf_analyzer wrote no load that had a result")
    return settled(
        Run(
            profile=Profile(NAME),
            environment=Environment(time=written.isoformat(timespec="seconds")),
            cells=tuple(cells),
            unjudged=(f"{path.name}: perf_analyzer's values are shown, not judged",),
        )
    )


def _from_csv(content: bytes, model: str, size: int) -> Iterator[tuple[Workload, Measurement]]:
    # Behind an empty line stand the same loads once more, for each model of an ensemble.
    table = content.decode().replace("\r\n", "\n").partition("\n\n")[0]
    rows = csv.DictReader(io.StringIO(table))
    load = next((name for name in _LOADS if name in (rows.fieldnames or ())), None)
    if load is None:
        raise ValueError(f"it has no column {' or '.join(_LOADS)}")
    for row in rows:
        found: dict[str, float] = {"throughput": _number(row, "Inferences/Second")}
        for percentile in _PERCENTILES:
            if f"p{percentile} latency" in row:
                found[f"latency_p{percentile}"] = _number(row, f"p{percentile} latency") / 1e6
        split = {part: _number(row, name) / 1e6 for part, name in _PARTS.items() if row.get(name)}
        workload = _workload(model, size, _LOADS[load], _number(row, load))
        yield workload, Measurement(metrics=_estimates(found), time_split_s=split, data=NAME)


def _number(row: Mapping[str, Any], name: str) -> float:
    value = float(row[name])
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {row[name]}")
    return value


def _from_export(content: bytes, model: str, size: int) -> Iterator[tuple[Workload, Measurement]]:
    document = parse_json(content)
    for one in msgspec.convert(document["experiments"], list[_Experiment]):
        bounds = one.window_boundaries[-_WINDOWS - 1 :]
        if not bounds:
            raise ValueError("it has no boundaries of windows")
        times = np.array(
            [
                (request.timestamp, request.response_timestamps[-1])
                for request in one.requests
                if request.response_timestamps
                and bounds[0] <= request.response_timestamps[-1] < bounds[-1]
            ],
            dtype=np.int64,
        ).reshape(-1, 2)
        seconds = (bounds[-1] - bounds[0]) / 1e9
        latencies_s = (times[:, 1] - times[:, 0]) / 1e9
        if not len(times) or seconds <= 0 or latencies_s.min() < 0:
            continue
        found = {"throughput": len(times) * size / seconds}
        for percentile in _PERCENTILES:
            if percentile < _PERCENTILES[-1] or len(times) >= FEWEST_OF_P99:
                # By nearest rank, as its own report has them.
                rank = np.percentile(latencies_s, percentile, method="inverted_cdf")
                found[f"latency_p{percentile}"] = float(rank)
        yield (
            _workload(model, size, one.experiment["mode"], float(one.experiment["value"])),
            Measurement(
                metrics=_estimates(found),
                requests=len(times),
                inferences=float(len(times) * size),
                duration_s=seconds,
                latencies=distribution(latencies_s),
                data=NAME,
            ),
        )


def _workload(model: str, size: int, load: str, value: float) -> Workload:
    if load not in _LOADS.values():
        raise ValueError(f"loads of the mode {load!r} are not read")
    if load == "concurrency":
        return Workload(model, size, int(value))
    return Workload(model, size, request_rate=value)


def _estimates(values: Mapping[str, float]) -> dict[str, Estimate]:
    """Return values as metrics, without an interval: it tells none."""
    return {name: Estimate(METRICS[name].unit, value) for name, value in values.items()}
