"""Reading a run's results back (``--gaitperf-json``), checked against their schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.export.history import CellFigures, SessionFigures
from pytest_gaitperf.json_text import parse_json
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.stats.distribution import Distribution  # noqa: TC001 - msgspec asks for it

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_T = TypeVar("_T")

SCHEMA = 1
FLEET = "fleet-1"
"""The schema of a fleet's index, which names the results file of each board."""
_PERCENTILES = 101


# What other tools and later versions add is left alone: only what is used is checked.


class _Workload(msgspec.Struct):
    model: str
    batch_size: int
    version: str = ""
    concurrency: int = 0
    request_rate: float = 0.0
    arrival: str = ""
    subjects: int = 0
    frame_rate: float = 0.0
    protocol: str = ""
    transport: str = ""


class _Estimate(msgspec.Struct):
    value: float
    low: float | None = None
    high: float | None = None


class _Cell(msgspec.Struct):
    id: str
    workload: _Workload
    error: str | None = None
    invalid: str | None = None
    metrics: dict[str, _Estimate] = {}
    energy_is_estimated: bool = False
    requests: int = 0
    latency_distribution: Distribution | None = None


class _Profile(msgspec.Struct):
    id: str


class _Triton(msgspec.Struct):
    version: str


class _Environment(msgspec.Struct):
    time: str
    commit: str = ""
    dirty: bool | None = None
    plugin: str = ""
    triton: _Triton | None = None


class _Results(msgspec.Struct):
    schema: int
    profile: _Profile
    environment: _Environment
    cells: list[_Cell]


def read_results(path: Path) -> SessionFigures:
    """Read a results file.

    Raises ConfigurationError, naming the file and the place in it, where it cannot be read or is
    not what ``--gaitperf-json`` writes.
    """
    try:
        return session_of(read_content(path))
    except ConfigurationError as error:
        raise located(error, path) from None


def read_content(path: Path) -> object:
    """Return what a results file holds, unchecked.

    Raises ConfigurationError where it cannot be read or is no JSON.
    """
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror}): give a file that --gaitperf-json wrote"
        ) from None
    except ValueError as error:
        raise ConfigurationError(
            f"not valid JSON ({error}): give a file that --gaitperf-json wrote"
        ) from None


def located(error: ConfigurationError, path: Path) -> ConfigurationError:
    """Return the error with the file's name before it."""
    return ConfigurationError(f"{path}: {error}")


def session_of(content: object) -> SessionFigures:
    """Return the session that results, as plain dictionaries and lists, tell of.

    A cell that could not be measured or is invalid is left out, with its reason. Raises
    ConfigurationError for what is not of the results' schema.
    """
    results = converted(content, _Results)
    for index, cell in enumerate(results.cells):
        _check(cell, index)
    environment = results.environment
    left_out = {
        cell.id: cell.error or cell.invalid or ""
        for cell in results.cells
        if cell.error or cell.invalid
    }
    return SessionFigures(
        time=environment.time,
        profile=results.profile.id,
        cells=tuple(_figures(cell) for cell in results.cells if cell.id not in left_out),
        commit=environment.commit,
        dirty=environment.dirty,
        plugin=environment.plugin,
        triton=environment.triton.version if environment.triton is not None else "",
        left_out=left_out,
    )


def converted(content: object, kind: type[_T]) -> _T:
    """Return the content of a results file as a struct of that kind.

    Raises ConfigurationError, with the place in it, where it is of another schema.
    """
    found = content.get("schema") if isinstance(content, dict) else None
    if found == FLEET:
        raise ConfigurationError(
            "this is the index of a fleet: give the files of its boards, which it names and which "
            "stand beside it"
        )
    if found != SCHEMA:
        raise ConfigurationError(
            f"$.schema is {found!r}, this pytest-gaitperf reads {SCHEMA}: give a file that "
            "--gaitperf-json of the same version wrote"
        )
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise _refused(what, where.strip("`") or "$") from None


def _refused(what: str, where: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {what}: give a file that --gaitperf-json wrote")


def _check(cell: _Cell, index: int) -> None:
    """Refuse what the types cannot."""
    at = f"$.cells[{index}]"
    if not cell.id.startswith(f"{cell.workload.model}-"):
        raise _refused(f"{cell.id!r} is no cell of its model", f"{at}.id")
    spread = cell.latency_distribution
    if spread is not None and len(spread.percentiles_s) != _PERCENTILES:
        raise _refused(
            f"there are {len(spread.percentiles_s)} percentiles and not {_PERCENTILES}",
            f"{at}.latency_distribution.percentiles_s",
        )


def _figures(cell: _Cell) -> CellFigures:
    workload = cell.workload
    return CellFigures(
        model=workload.model,
        key=cell.id.removeprefix(f"{workload.model}-"),
        labels=_labels(workload),
        metrics={
            name: Estimate(METRICS[name].unit, item.value, item.low, item.high)
            for name, item in cell.metrics.items()
            if name in METRICS
        },
        estimated=cell.energy_is_estimated,
        requests=cell.requests,
        latencies=cell.latency_distribution,
    )


def _labels(workload: _Workload) -> Mapping[str, str]:
    """Say how a cell was loaded, leaving out what it was not."""
    labels = {"batch_size": str(workload.batch_size)}
    if workload.concurrency:
        labels["concurrency"] = str(workload.concurrency)
    elif workload.request_rate:
        labels |= {"request_rate": f"{workload.request_rate:g}", "arrival": workload.arrival}
    elif workload.subjects:
        labels |= {"subjects": str(workload.subjects), "frame_rate": f"{workload.frame_rate:g}"}
    if workload.version:
        labels["version"] = workload.version
    return labels | {"protocol": workload.protocol, "transport": workload.transport}
