"""Where a history of sessions changed its level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_gaitperf.gate.prediction import Seen, predict, successive_dof
from pytest_gaitperf.gate.verdict import session_noise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from pytest_gaitperf.measurement import SessionValue

    Array: TypeAlias = NDArray[np.float64]

LEVEL = 0.01
"""The probability that a steady history is said to have changed."""

_MEDIAN_OF_SQUARES = 0.455  # of a standard normal variable
_EFFICIENCY = 0.37  # of the median of squares beside their mean
_FEWEST = 2  # sessions on either side: a single one is an outlier, no level


class ChangePoint(NamedTuple):
    """From which session on, by its place, a history lies by ``change`` (relative) off before."""

    place: int
    change: float


def change_points(sessions: Sequence[SessionValue]) -> list[ChangePoint]:
    """Return where the level of a history changed, in the order of time, oldest first.

    Binary segmentation (Scott and Knott 1974, Biometrics 30): the split whose two means differ most
    in units of their error, if by more than chance does at ``LEVEL`` shared among all splits; then
    the parts before and after it likewise. Each change is from the mean of the part before. The
    error is that of ``gate.prediction``, from the lives and from the median of the successive
    differences, which knows no change of level. A creeping level shows as several changes.
    """
    if len(sessions) < 2 * _FEWEST:
        return []
    logs = np.log([one.value for one in sessions])
    ((assumed, least),) = session_noise([sessions])
    variance = float(np.median(np.diff(logs) ** 2)) / (2 * _MEDIAN_OF_SQUARES)
    seen = Seen(assumed, variance, _EFFICIENCY * successive_dof(len(sessions)), 1.0, least)
    return sorted(_split(logs, 0, seen, LEVEL / (len(sessions) - 1)))


def _split(logs: Array, start: int, seen: Seen, level: float) -> Iterator[ChangePoint]:
    best = None
    for place in range(_FEWEST, logs.size - _FEWEST + 1):
        change = float(logs[place:].mean() - logs[:place].mean())
        factor = 1 / place + 1 / (logs.size - place)
        if best is None or abs(change) / math.sqrt(factor) > best[0]:
            best = abs(change) / math.sqrt(factor), place, change, factor
    if best is None:
        return
    _, place, change, factor = best
    (error,) = predict([seen._replace(factor=factor)])
    middle = float(logs[:place].mean()) + change / 2
    beyond = (logs - middle) * change > 0
    # Of two sessions, one alone must not make the level.
    several = min((~beyond[:place]).sum(), beyond[place:].sum()) >= _FEWEST
    if several and 2 * error.tail(abs(change)) <= level:
        yield ChangePoint(start + place, math.expm1(change))
        yield from _split(logs[:place], start, seen, level)
        yield from _split(logs[place:], start + place, seen, level)
