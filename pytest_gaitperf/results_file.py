"""The file of ``--gaitperf-json``: written, read back and described by the types of a run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_gaitperf import journal
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json, read_bytes
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.results import SCHEMA, Cell, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MOST_RESULTS = 256 << 20
"""The largest results file that is read, in bytes: ten sessions of a thousand cells have 90 MB."""


def encode(run: Run) -> str:
    """Return the text of a results file."""
    document = json.loads(msgspec.json.encode(run))
    text = json.dumps(document, indent=1) + "\n"
    # Lists of numbers stand in one line: a thousand cells have half a million of them. No string
    # holds a line's end as it is, so what is found are lists and never parts of a text.
    return re.sub(r"\[\n[-+.\deEnul,\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a results file; unknown keys are allowed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(Run),
    }


def read_results(path: Path) -> Run:
    """Read a results file, of this schema or of schema 1, or the journal of a run that was killed.

    Raises ConfigurationError, naming the file and the place in it, where it cannot be read or is
    not what ``--gaitperf-json`` writes.
    """
    content = _content(path)
    try:
        if content.startswith(journal.START):
            return settled(results_of(journal.read(content)[0]))
        return results_of(parse_json(content))
    except ValueError as error:
        raise ConfigurationError(
            f"{path}: not valid JSON ({error}): give a file that --gaitperf-json wrote"
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def read_journal(path: Path) -> tuple[Run, dict[str, Any]]:
    """Return the run of a journal, and the fingerprint of each cell in it, plain data, by id.

    Raises ConfigurationError where it cannot be read, or is none.
    """
    content = _content(path)
    if not content.startswith(journal.START):
        raise ConfigurationError(f"{path}: it is no journal of a run that was cut short")
    try:
        document, fingerprints = journal.read(content)
        return results_of(document), fingerprints
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, MOST_RESULTS)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}): give a file that --gaitperf-json wrote"
        ) from None


def read_runs(paths: Iterable[Path], read: Callable[[Path], Run] = read_results) -> tuple[Run, ...]:
    """Read results files, oldest first; a run that is given twice counts once.

    Raises ConfigurationError for a file that is none, and where they are of several profiles.
    """
    found: list[Run] = []
    for path in paths:
        run = read(path)
        if run not in found:
            found.append(run)
    profiles = sorted({run.profile.id for run in found})
    if len(profiles) > 1:
        raise ConfigurationError(
            f"the results are of different kinds of device ({', '.join(profiles)}), which are "
            "never compared: give those of each by themselves, or --together"
        )
    return tuple(sorted(found, key=lambda run: run.environment.time))


def results_of(content: object) -> Run:
    """Return the run that plain dictionaries and lists tell of.

    Raises ConfigurationError, with the place in them, for what is not of the results' schema.
    """
    found = content.get("schema") if isinstance(content, dict) else None
    if isinstance(found, str) and found.startswith("fleet"):
        raise ConfigurationError(
            "this is the index of a fleet: give the files of its boards, which it names and which "
            "stand beside it"
        )
    if found == 1 and isinstance(content, dict):
        content = _of_schema_1(content)
    elif found != SCHEMA:
        raise ConfigurationError(
            f"$.schema is {found!r}, this pytest-gaitperf reads {SCHEMA}: give a file that "
            "--gaitperf-json of the same version wrote"
        )
    try:
        run = msgspec.convert(content, Run)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise _refused(what, where.strip("`") or "$") from None
    for index, cell in enumerate(run.cells):
        _check(cell, f"$.cells[{index}]")
    return settled(run) if found == 1 else run


def _check(cell: Cell, at: str) -> None:
    """Refuse what the types cannot."""
    if not cell.id.startswith(f"{cell.workload.model}-"):
        raise _refused(f"{cell.id!r} is no cell of its model", f"{at}.id")
    latencies = cell.measurement.latencies if cell.measurement is not None else None
    if latencies is not None and len(latencies.percentiles_s) != 101:
        raise _refused(
            f"there are {len(latencies.percentiles_s)} percentiles and not 101",
            f"{at}.measurement.latencies.percentiles_s",
        )


def _refused(what: str, where: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {what}: give a file that --gaitperf-json wrote")


_RENAMED = {
    "latency_distribution": "latencies",
    "course": "timeline",
    "energy_is_estimated": "energy_estimated",
    "energy_relative_error": "energy_error",
}


def _of_schema_1(old: dict[str, Any]) -> dict[str, Any]:
    """Return a document of schema 1 as this schema has it; what is no document stays one."""
    old = _without_none(old)
    sessions = _dict(old.get("sessions"))
    findings = [_dict(one) for one in _list(old.get("findings"))]
    cells = old.get("cells", [])
    kept = ("profile", "environment", "full_run", "orphans", "frontier", "against", "board")
    return {
        **{key: old[key] for key in kept if key in old},
        "schema": SCHEMA,
        "sessions": sessions,
        "cells": [_cell_of_schema_1(_dict(cell)) for cell in cells]
        if isinstance(cells, list)
        else cells,
        "findings": [
            {"change": None, "limit": None, "sessions": 0, **one, "scope": one.pop("depth", "run")}
            for one in findings
        ],
    }


def _cell_of_schema_1(old: dict[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = {
        key: old[key] for key in ("id", "error", "model_change", "recorded") if key in old
    }
    new["workload"] = old.get("workload")
    if "error" in old:
        return new
    new["measurement"] = _measurement_of_schema_1(old)
    new["further"] = [
        _measurement_of_schema_1(_dict(one)) for one in _list(old.get("further_sessions"))
    ]
    new["limits"] = [
        {"bound": 0.0, **limit, "certain": limit.get("sure", True)}
        for limit in map(_dict, _list(old.get("limits")))
    ]
    kinds, judgements = _dict(old.get("verdicts")), _dict(old.get("judgements"))
    new["verdicts"] = {
        metric: {
            "reason": "",
            **_dict(judgements.get(metric)),
            "metric": metric,
            "kind": kind,
            "scope": _dict(judgements.get(metric)).get("depth", "cell"),
        }
        for metric, kind in kinds.items()
        if kind != "invalid"  # the measurement says so itself
    }
    return new


def _measurement_of_schema_1(old: dict[str, Any]) -> dict[str, Any]:
    new = {_RENAMED.get(key, key): value for key, value in old.items()}
    power, search = old.get("power_trace"), old.get("search")
    if isinstance(power, dict):
        window = power.get("window_s")
        span = window[1] if isinstance(window, list) and len(window) > 1 else None
        new["power"] = {**power, "span_s": span}
    if isinstance(search, dict):
        found = search.get("capacity")
        new["capacity"] = {
            "subjects": found,
            "low": found,
            "high": None,
            "settled": search.get("settled"),
            "trials": search.get("probes", []),
        }
    return new


def _without_none(value: Any) -> Any:
    """Return a document without the keys that say nothing."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return value if not isinstance(value, list) else [_without_none(one) for one in value]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
