"""Numbers as people read them: in every output, and in the reasons of verdicts."""

from __future__ import annotations

import difflib
import math
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# From where on 0, 1 and 2 digits after the point are enough.
_LEAST = (1000, 100, 10)
_THREE_DIGITS = 999.5
_LONGEST_IN_SECONDS = 90

LARGEST = 10.0
"""A change beyond this (1000 %) is of no use as something that could be heard."""


def number(value: float) -> str:
    """Return a value in at most six characters where it lies between 0.001 and 999 999."""
    digits = next((digits for digits, least in enumerate(_LEAST) if abs(value) >= least), 3)
    return f"{value:.{digits}f}"


def brief(value: float) -> str:
    """Return a value in three digits, or in as many as a whole number has."""
    return f"{value:.3g}" if abs(value) < _THREE_DIGITS else f"{value:.0f}"


def scaled(metric: str, value: float) -> str:
    """Return a metric's value in its display unit, without the unit."""
    return number(value * METRICS[metric].scale)


def shown(metric: str, value: float | None) -> str:
    """Return a metric's value with its display unit, "" for none."""
    return "" if value is None else f"{scaled(metric, value)} {METRICS[metric].display_unit}"


def percent(change: float | None) -> str:
    """Return a relative change with its sign, e.g. ``-12.3%`` or ``+250%``; "" if not finite."""
    if change is None or not math.isfinite(change):
        return ""
    value = round(change * 100, 1 if abs(change) < 1 else 0) + 0.0  # which makes +0 of -0
    return f"{value:+.1f}%" if abs(change) < 1 else f"{value:+.0f}%"


def size_text(change: float) -> str:
    """Return the size of a change, such as ``15%``; ``over 1000%`` where it is of no use."""
    return f"{change:.0%}" if change <= LARGEST else f"over {LARGEST:.0%}"


def did_you_mean(
    word: str, known: Iterable[str], meaning: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return ``" (did you mean 'budget'?);"`` of the nearest known word, ``";"`` if none is near.

    For a message that goes on with the words there are. ``meaning`` has what to say in place of a
    known word.
    """
    names = list(known)
    close = difflib.get_close_matches(word, names, 1)
    close = close or [name for name in names if word and word in name]
    return f" (did you mean {meaning.get(close[0], close[0])!r}?);" if close else ";"


def time_text(seconds: float) -> str:
    """Return a time in seconds, from a minute and a half on in minutes."""
    return f"{seconds / 60:.3g} min" if seconds > _LONGEST_IN_SECONDS else f"{seconds:.0f} s"


def count(number: int, noun: str) -> str:
    """Return e.g. ``1 cell`` or ``2 cells``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
