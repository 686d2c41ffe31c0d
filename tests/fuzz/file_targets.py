"""Baselines, results, grids, settings, options, accuracies: what people and other runs write."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from msgspec import structs

from pytest_gaitperf import journal
from pytest_gaitperf.baseline.cells import cells_of
from pytest_gaitperf.baseline.schema import decode, encode
from pytest_gaitperf.commands import prune
from pytest_gaitperf.config.grid import load_grid
from pytest_gaitperf.config.options import OPTIONS
from pytest_gaitperf.config.settings import load_settings, project_settings, read_accuracy
from pytest_gaitperf.engine.expectation import expand
from pytest_gaitperf.errors import BaselineError, ConfigurationError
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.fleet.board import Board, _answered
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.results_file import encode as encode_run
from pytest_gaitperf.results_file import read_results
from tests.fuzz.mutating import JSON, TEXT, TOML
from tests.fuzz.target import SEPARATOR, Target, as_file
from tests.report.runs import MIXED

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
OPTION_ERRORS = (ConfigurationError, argparse.ArgumentTypeError, ValueError)
MODEL = ModelInfo(
    name="identity",
    versions=("1",),
    max_batch_size=8,
    inputs=(TensorSpec("INPUT0", "FP32", (4,), optional=False),),
    outputs=(TensorSpec("OUTPUT0", "FP32", (4,), optional=False),),
    backend="python",
    decoupled=False,
)


def _baseline(data: bytes, directory: Path) -> None:
    path = directory / "profile" / "identity.json"
    # The name of a damaged file's model is damaged with it: what it says is taken for granted.
    model, profile = "3D_fp32_0_batchd", "x86_64"
    try:
        document = json.loads(data)
        model, profile = str(document["model"]), str(document["profile"]["id"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    content = decode(data, path, model, profile)
    for cell in cells_of(content):
        for session in cell.sessions:
            assert all(0 < value.value < math.inf for value in session.values.values())
    assert decode(encode(content), path, model, profile) == content


def _baselines() -> tuple[bytes, ...]:
    found = sorted((ROOT / "baselines").glob("*/*.json"))
    small = min(found, key=lambda path: path.stat().st_size)
    return small.read_bytes(), (ROOT / "tests/baseline/schemas/1.json").read_bytes()


def _results(data: bytes, directory: Path) -> None:
    run = read_results(as_file("results.json", data, directory))
    for cell in run.cells:
        for estimate in cell.measurement.metrics.values() if cell.measurement else ():
            assert math.isfinite(estimate.value)
        assert cell.id == f"{cell.workload.model}-{cell.key}"


def _results_seeds() -> tuple[bytes, ...]:
    return (encode_run(MIXED).encode(),)


def _journal(data: bytes, directory: Path) -> None:
    run = read_results(as_file("journal.jsonl", data, directory))
    for cell in run.cells:
        assert cell.id == f"{cell.workload.model}-{cell.key}"
    assert encode_run(run)


def _journal_seeds() -> tuple[bytes, ...]:
    """Return what a run writes that was killed after its third cell."""
    with TemporaryDirectory() as directory:
        kept = journal.Journal(Path(directory, "journal.jsonl"))
        kept.begin = lambda: MIXED
        for cell in MIXED.cells[:3]:
            kept.add(cell, {"triton": "2.51.0"})
        kept.close()
        return (Path(directory, "journal.jsonl").read_bytes(),)


def _board(data: bytes, _directory: Path) -> None:
    """Let a board send this before it begins, and at its end."""
    board = Board("a", "here")
    board.why = _answered(SimpleNamespace(python="python", ssh="board"), data, 0)
    assert not _DRIVES & set(board.ending)
    with suppress(ValueError):
        board.take(parse_json(data))
    assert not _DRIVES & set(board.ending)


_DRIVES = {"\x1b", "\x07", "\x9b", "\u202e"}


def _board_seeds() -> tuple[bytes, ...]:
    results = encode_run(structs.replace(MIXED, cells=(), findings=(), sensitivity=()))
    end = {"code": 0, "tail": ["ERROR: none"], "results": results, "baselines": {}}
    return json.dumps(end).encode(), b'[[3, 12], {"pytest": "9.0", "pytest-gaitperf": "0.2.0"}]\n'


_WITH_ORPHANS = structs.replace(
    MIXED, full_run=True, orphans={"3D_fp32_0_batchd": ("b8-c4", "b1-c1")}
)


def _orphans(data: bytes, directory: Path) -> None:
    # Reading is a private step of the command, which asks on a terminal afterwards.
    results = as_file("run.json", data, directory)
    found = prune._orphans(argparse.Namespace(results=results, profile=None))
    assert all(isinstance(key, str) for keys in found.values() for key in keys)


def _grid(data: bytes, directory: Path) -> None:
    grid = load_grid(str(as_file("grid.toml", data, directory)))
    grid.source.encode()
    if len(grid.batch_sizes) * (len(grid.concurrencies) + len(grid.subjects)) > 100:
        return
    for workload in expand(grid, {MODEL.name: MODEL}):
        workload.id.encode()
        assert workload.sends_per_s < math.inf
        assert 0 < workload.frame_deadline_s < math.inf


_GRIDS = (
    b"""models = ["identity", "id*"]
batch_sizes = [1, 4]
concurrencies = [1, 8]
request_rates = [50.5, 100]
arrival = "poisson"
subjects = [4, 8]
most_subjects = true
frame_rate = 25
deadline = "40 ms"
percentile = 99
protocol = "grpc"
transport = "shm"
[shapes.identity]
INPUT0 = [4]
[ranges.identity]
INPUT0 = [-1.5, 3]
""",
    b'models = "*"\nbatch_sizes = [1]\nsubjects = [1, 2]\n',
)


def _settings(data: bytes, directory: Path) -> None:
    settings = project_settings(as_file("pyproject.toml", data, directory).parent)
    assert 0 < settings.alpha < 1
    assert 0 < settings.budget < math.inf
    assert all(0 < value < 1 for value in settings.tolerance.values())
    assert all(0 < limit.bound < math.inf for limit in settings.limits.values())


_SETTINGS = (
    b"""[project]
name = "mine"
[tool.gaitperf]
grid = "full"
models = ["3D_*"]
budget = 30
precision = "2%"
alpha = 0.05
tolerance = "5%"
limits = ["latency_p99 <= 40 ms", "throughput >= 25"]
tolerances = { latency_p50 = 0.1 }
strict = true
sessions = 3
update = "missing"
exports = ["bencher:bmf.json"]
power_rails = ["VDD_IN"]
cooldown = 50.5
triton_url = "127.0.0.1:8000"
triton_grpc_port = 8001
baselines = "baselines"
latency_bound = "40 ms"
[tool.gaitperf.model."3D_*"]
tolerance = "8%"
limits = "energy_per_inference <= 10 mJ"
""",
)


def _option(data: bytes, directory: Path) -> None:
    """Read the text of one option as from the command line: ``NAME`` separator ``TEXT``."""
    name, _, text = data.decode("utf-8", "surrogateescape").partition(SEPARATOR.decode())
    given: dict[str, Any] = {}
    for option in OPTIONS:
        if option.pytest_dest == name and not option.choices and not option.switch:
            value = option.convert(text)
            given[name] = [value] if option.merged else value
    config = SimpleNamespace(
        rootpath=directory / "nowhere",
        getoption=given.get,
        invocation_params=SimpleNamespace(args=(), dir=directory),
    )
    load_settings(cast("pytest.Config", config))


@cache
def _option_seeds() -> tuple[bytes, ...]:
    texts = {
        "gaitperf_budget": "30", "gaitperf_alpha": "1%", "gaitperf_precision": "0.02",
        "gaitperf_tolerance": "5%,latency_p99=10%", "gaitperf_cooldown": "55",
        "gaitperf_limits": "latency_p99 <= 40 ms, throughput >= 25", "gaitperf_sessions": "1",
        "gaitperf_lives": "3",
        "gaitperf_latency_bound": "40ms", "gaitperf_deadline": "40 ms",
        "gaitperf_triton_timeout": "60", "gaitperf_triton_grpc_port": "8001",
        "gaitperf_exports": "bencher:out.json", "gaitperf_power_rails": "A,B",
        "gaitperf_frame_rate": "12.5", "gaitperf_against": "2", "gaitperf_models": "3D_*,2D_*",
        "gaitperf_run_budget": "600",
    }  # fmt: skip
    known = {option.pytest_dest for option in OPTIONS}
    assert texts.keys() <= known, texts.keys() - known
    return tuple(f"{name}{SEPARATOR.decode()}{text}".encode() for name, text in texts.items())


def _accuracy_csv(data: bytes, directory: Path) -> None:
    _check_accuracies(read_accuracy(as_file("accuracy.csv", data, directory)))


def _accuracy_toml(data: bytes, directory: Path) -> None:
    _check_accuracies(read_accuracy(as_file("accuracy.toml", data, directory)))


def _check_accuracies(found: dict[str, Any]) -> None:
    assert all(0 <= value <= 1 for value in found.values())


TARGETS = (
    Target("baseline", _baseline, _baselines, JSON, "identity.json", (BaselineError,), 1.5),
    Target("results", _results, _results_seeds, JSON, "results.json", (ConfigurationError,)),
    Target(
        "orphans",
        _orphans,
        lambda: (encode_run(_WITH_ORPHANS).encode(),),
        JSON,
        "run.json",
        (ConfigurationError,),
        0.5,
    ),
    Target("journal", _journal, _journal_seeds, JSON, "journal.jsonl", (ConfigurationError,)),
    Target("board", _board, _board_seeds, JSON, errors=()),
    Target("grid", _grid, lambda: _GRIDS, TOML, "grid.toml", (ConfigurationError,)),
    Target(
        "settings", _settings, lambda: _SETTINGS, TOML, errors=(ConfigurationError,), weight=0.5
    ),
    Target("options", _option, _option_seeds, TEXT, "", OPTION_ERRORS, 0.5),
    Target(
        "accuracy-csv",
        _accuracy_csv,
        lambda: (b'model,accuracy\n3D_fp32_0_batchd,94.7%\n"2D, best",0.9\n# note\n',),
        TEXT,
        "accuracy.csv",
        (ConfigurationError,),
    ),
    Target(
        "accuracy-toml",
        _accuracy_toml,
        lambda: (b'"3D_fp32_0_batchd" = 0.947\nb = "94.7%"\n',),
        TOML,
        "accuracy.toml",
        (ConfigurationError,),
    ),
)
