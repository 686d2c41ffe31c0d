"""A table for change-point tools and spreadsheets, and the configuration of one such tool.

One row per run, one column per figure. Values are in SI units, as the column's name says. A column
that some run lacks is left out, since the tools refuse a gap; ``missing_columns`` names those.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.report.export.figures import Format, figures, measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.metrics import Metric
    from pytest_gaitperf.results import Run

_ABOUT = ("time", "commit", "dirty", "profile", "triton", "plugin", "recorder")
_SUFFIX = {"s": "s", "J": "J", "W": "W", "inf/s": "inf_per_s"}


class _Column(NamedTuple):
    cell: str
    figure: str
    metric: Metric

    @property
    def name(self) -> str:
        return f"{self.cell}:{self.figure}"


def _table(runs: Sequence[Run], _name: str) -> str:
    """Return a header and a row for each run."""
    columns = _complete(runs)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_ABOUT, *(column.name for column in columns)])
    for run in runs:
        row, about, triton = _row(run), run.environment, run.environment.triton
        dirty = "" if about.dirty is None else str(about.dirty).lower()
        texts = [about.time, about.commit, dirty, run.profile.id]
        texts += ["" if triton is None else triton.version, about.plugin]
        texts.append(run.profile.facts.get("recorder", ""))
        writer.writerow([*map(_plain, texts), *(f"{row[column]:.6g}" for column in columns)])
    return out.getvalue()


def _otava(runs: Sequence[Run], name: str) -> str:
    """Return the configuration with which apache-otava reads the table, one test for each cell.

    It is JSON, which is YAML too. The table is expected beside it under the same name:
    ``history.yaml`` reads ``history.csv``.
    """
    table = str(PurePath(name or "history.yaml").with_suffix(".csv"))
    tests: dict[str, dict[str, object]] = {}
    for column in _complete(runs):
        test = tests.setdefault(column.cell, {})
        test[column.figure] = {
            "column": column.name,
            "direction": -column.metric.worse_sign,
            "scale": 1,
        }
    common = {"type": "csv", "file": table, "time_column": "time", "attributes": ["commit"]}
    document = {"tests": {cell: {**common, "metrics": found} for cell, found in tests.items()}}
    return json.dumps(document, indent=1) + "\n"


def missing_columns(runs: Sequence[Run]) -> list[str]:
    """Return the columns that only some of the runs have."""
    everywhere = set(_complete(runs))
    found = dict.fromkeys(column for run in runs for column in _row(run))
    return [column.name for column in found if column not in everywhere]


def _complete(runs: Sequence[Run]) -> list[_Column]:
    """Return the columns of figures that every run has, by cell and metric."""
    rows = [_row(run) for run in runs]
    return [column for column in rows[-1] if all(column in row for row in rows)]


def _row(run: Run) -> Mapping[_Column, float]:
    return {
        _Column(
            _plain(cell.id), f"{one.prefix}{one.metric.name}_{_suffix(one.metric)}", one.metric
        ): one.estimate.value
        for cell, found in measured(run)
        for one in figures(found)
    }


def _suffix(metric: Metric) -> str:
    return _SUFFIX.get(metric.unit, metric.unit)


def _plain(text: str) -> str:
    """Return harmless text in one line, such that no spreadsheet takes it for a formula."""
    text = sanitize(" ".join(text.replace("\0", " ").split()))  # Python 3.10 writes no NUL
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


CSV, OTAVA = Format(_table), Format(_otava)
