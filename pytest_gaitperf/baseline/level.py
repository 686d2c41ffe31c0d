"""What a cell's sessions come to: which of them count, their level and how they differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_gaitperf.baseline.store import CellBaseline, Value


def in_use(cell: CellBaseline, metric: str) -> Mapping[str, Value]:
    """Return the values by session, oldest first, that compare with the newest one; {} if none.

    These are what the gate compares a session with that is like the newest.
    """
    having = [session for session in cell.sessions if metric in session.values]
    return cell.comparable(having[-1].facts, metric)[0] if having else {}


def level(values: Iterable[Value]) -> float:
    """Return the geometric mean of one value or more: what the gate compares with."""
    logs = [math.log(value.value) for value in values]
    return math.exp(math.fsum(logs) / len(logs))


def spread(values: Iterable[Value]) -> float | None:
    """Return the SD of the sessions' logs (nearly: relative to the level), None for one session."""
    logs = [math.log(value.value) for value in values]
    if len(logs) < 2:  # noqa: PLR2004 - an SD needs two
        return None
    centre = math.fsum(logs) / len(logs)
    return math.sqrt(math.fsum((log - centre) ** 2 for log in logs) / (len(logs) - 1))
