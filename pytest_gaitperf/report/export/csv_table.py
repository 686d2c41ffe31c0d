"""A table for change-point tools and spreadsheets: one row per session, one column per figure.

Values are in SI units, as the column's name says. A column that some session lacks is left out,
since the tools refuse a gap; ``missing_columns`` names those.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.report.export.history import SessionFigures

ABOUT = ("time", "commit", "dirty", "profile", "triton", "plugin", "recorder")
"""The columns that say what a row is of."""

_SUFFIX = {"s": "s", "J": "J", "W": "W", "inf/s": "inf_per_s"}


def export(sessions: Sequence[SessionFigures], _name: str) -> str:
    """Return the table, a header and a row for each session."""
    rows = [_figures(session) for session in sessions]
    columns = complete_columns(sessions)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*ABOUT, *columns])
    for session, row in zip(sessions, rows, strict=True):
        dirty = "" if session.dirty is None else str(session.dirty).lower()
        about = [session.time, session.commit, dirty, session.profile]
        about += [session.triton, session.plugin, session.recorder]
        writer.writerow([*map(_plain, about), *(f"{row[column]:.6g}" for column in columns)])
    return out.getvalue()


def complete_columns(sessions: Sequence[SessionFigures]) -> list[str]:
    """Return the columns of figures that every session has, by cell and metric."""
    rows = [_figures(session) for session in sessions]
    return [column for column in rows[-1] if all(column in row for row in rows)]


def missing_columns(sessions: Sequence[SessionFigures]) -> list[str]:
    """Return the columns that only some of the sessions have."""
    everywhere = set(complete_columns(sessions))
    found = dict.fromkeys(column for session in sessions for column in _figures(session))
    return [column for column in found if column not in everywhere]


def _figures(session: SessionFigures) -> Mapping[str, float]:
    figures = {}
    for cell in sorted(session.cells, key=lambda cell: cell.id):
        for name, estimate in cell.metrics.items():
            unit = METRICS[name].unit
            called = f"estimated_{name}" if cell.is_estimate(name) else name
            figures[_plain(f"{cell.id}:{called}_{_SUFFIX.get(unit, unit)}")] = estimate.value
    return figures


def _plain(text: str) -> str:
    """Return text in one line, such that no spreadsheet takes it for a formula."""
    text = " ".join(sanitize(text.replace("\0", " ")).split())  # Python 3.10 writes no NUL
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
