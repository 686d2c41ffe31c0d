"""What became of a cell, as every report tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.errors import first_line

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import CellResult


def unmeasured(result: CellResult) -> str | None:
    """Say in a line why a cell has no measurement that may be judged, None where it has one."""
    if result.error is not None:
        return first_line(result.error)
    return result.measurement.invalid if result.measurement is not None else None
