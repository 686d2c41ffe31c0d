"""github-action-benchmark's ``customBiggerIsBetter``: throughput, and what else should rise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import Direction
from pytest_gaitperf.report.export.github_benchmark_smaller import entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.report.export.history import SessionFigures


def export(sessions: Sequence[SessionFigures], _name: str) -> str:
    """Return the newest session: the action keeps the history itself."""
    return entries(sessions[-1], Direction.HIGHER_IS_BETTER)
