"""Numbers as people read them."""

from __future__ import annotations

import math
import os
import shlex
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS

if TYPE_CHECKING:
    from pytest_gaitperf.baseline.cells import Session
    from pytest_gaitperf.config.settings import Settings


def number(value: float) -> str:
    """Return a value in at most six characters where it lies between 0.001 and 999 999."""
    size = abs(value)
    if size >= 1000:
        return f"{value:.0f}"
    digits = 2 if size >= 10 else 3
    return f"{value:.{1 if size >= 100 else digits}f}"


def scaled(metric: str, value: float) -> str:
    """Return a metric's value in its display unit, without the unit."""
    return number(value * METRICS[metric].scale)


def percent(change: float | None) -> str:
    """Return a relative change with its sign, e.g. ``-12.3%`` or ``+250%``."""
    if change is None or not math.isfinite(change):
        return ""
    return f"{change * 100:+.1f}%" if abs(change) < 1 else f"{change * 100:+.0f}%"


def command(settings: Settings, *extra: str) -> str:
    """Return the command line of this run with options added, or put in place of their like."""
    names = {option.partition("=")[0] for option in extra}
    kept = []
    words = iter(settings.invocation)
    for word in words:
        if word in names:  # its value is the next word
            next(words, None)
        elif word.partition("=")[0] not in names:
            kept.append(shlex.quote(word))
    return " ".join(["pytest", *kept, *extra])


def count(number: int, noun: str) -> str:
    """Return e.g. ``1 cell`` or ``2 cells``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def on_ci() -> bool:
    """Return whether a CI system runs this; told as pytest tells it."""
    return any(os.environ.get(name) for name in ("CI", "BUILD_NUMBER"))


def text_width(terminal: int) -> int:
    """Return the columns to write in: the terminal's, but 80 in a CI log unless COLUMNS says more.

    Some CI systems give the job a terminal of any size; nobody reads the log in that.
    """
    return 80 if on_ci() and not os.environ.get("COLUMNS") else terminal


def origin(session: Session) -> str:
    """Return who recorded a session of a baseline, and on which commit."""
    commit = f"commit {session.commit[:12]}" if session.commit else "no commit known"
    dirty = " with local changes" if session.dirty else ""
    return f"{session.recorder or 'unknown'} on {commit}{dirty}"
