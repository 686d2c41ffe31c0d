"""Reading a results file back (``--gaitperf-json``), checked against its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.report.schema import FLEET, SCHEMA, Cell, Results

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PERCENTILES = 101


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises ConfigurationError, naming the file and the place in it, where it cannot be read or is
    not what ``--gaitperf-json`` writes.
    """
    try:
        return results_of(_content(path))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def read_runs(paths: Iterable[Path]) -> tuple[Results, ...]:
    """Read results files, oldest first; a run that is given twice counts once.

    Raises ConfigurationError for a file that is none, and where they are of several profiles.
    """
    found: list[Results] = []
    for path in paths:
        results = read_results(path)
        if results not in found:
            found.append(results)
    profiles = sorted({results.profile.id for results in found})
    if len(profiles) > 1:
        raise ConfigurationError(
            f"the results are of different kinds of device ({', '.join(profiles)}), which are "
            "never compared: give those of each by themselves"
        )
    return tuple(sorted(found, key=lambda results: results.environment.time))


def results_of(content: object) -> Results:
    """Return the results that plain dictionaries and lists tell of.

    Raises ConfigurationError, with the place in them, for what is not of the results' schema.
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
        results = msgspec.convert(content, Results)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise _refused(what, where.strip("`") or "$") from None
    for index, cell in enumerate(results.cells):
        _check(cell, f"$.cells[{index}]")
    return results


def _content(path: Path) -> object:
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


def _check(cell: Cell, at: str) -> None:
    """Refuse what the types cannot."""
    if not cell.id.startswith(f"{cell.workload.model}-"):
        raise _refused(f"{cell.id!r} is no cell of its model", f"{at}.id")
    spread = cell.latency_distribution
    if spread is not None and len(spread.percentiles_s) != _PERCENTILES:
        raise _refused(
            f"there are {len(spread.percentiles_s)} percentiles and not {_PERCENTILES}",
            f"{at}.latency_distribution.percentiles_s",
        )


def _refused(what: str, where: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {what}: give a file that --gaitperf-json wrote")
