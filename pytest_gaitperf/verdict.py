"""Measurement x baseline x policy -> verdict: pure, without pytest, files or sockets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """What can be said of one metric of one cell."""

    PASS = "pass"
    REGRESSED = "regressed"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"
    MISSING = "missing"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as a regression.

    ``tolerance``: the relative change that does not matter (0.05 is 5 %). ``alpha``: the
    false-alarm probability of the whole run. ``comparisons``: how many metrics x cells this run
    gates; alpha is shared among them.
    """

    tolerance: float = 0.05
    alpha: float = 0.01
    comparisons: int = 1


@dataclass(frozen=True, slots=True)
class SessionValue:
    """One session's value of one metric of one cell, with its windows' log-SD."""

    value: float
    spread: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one metric of one cell, with its numbers and its reason in one line.

    ``change`` is now/baseline - 1 (relative). ``low`` and ``high`` are the interval of that change.
    ``provisional`` says that too few sessions stand behind the baseline for a prediction interval.
    """

    metric: str
    state: State
    reason: str
    baseline: float | None = None
    now: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    sessions: int = 0
    provisional: bool = False


def judge(
    metric: str, now: SessionValue, sessions: Sequence[SessionValue], policy: Policy
) -> Verdict:
    """Judge one metric against the baseline's sessions."""
    raise NotImplementedError
