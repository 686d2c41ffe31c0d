"""Which new sessions lie beyond what sessions of this profile do, so may not become baselines.

A session, or all of a model's cells in it, is compared with the stored ones where a cell has four
or more, else with the other new sessions too, from four in all. With fewer nothing is an outlier.
The tests are the gate's (``gate.scopes``): how far the run as a whole moved, and how far
each model moved beside the others, for the worse or the better, in each gated metric, against the
prediction limit of one more session. Stored sessions that are outliers themselves do not count.

Only stored sessions with the same content hash, Triton version, signature, protocol, transport and
input count as a cell's past, so a model whose files changed has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.gate.scopes import CellLogs, Shift, shares, shifts
from pytest_gaitperf.gate.verdict import relative, session_noise
from pytest_gaitperf.metrics import GATED, METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from pytest_gaitperf.baseline.cells import CellBaseline, Fingerprint
    from pytest_gaitperf.baseline.schema import Value

    CellKey: TypeAlias = tuple[str, str]

FEWEST_STORED = 4
"""From how many stored sessions on a new one is compared with them alone."""

LEVEL = 0.005
"""How probable it may be to refuse an ordinary session.

By simulation with 4 stored sessions that differ by 3 %, 4 models of 9 cells: 2 of 300 ordinary
sessions were refused (1 of 300 where sessions have heavy tails), and 74 or more of 75 in which the
run, or one model, was 25 % off. With 4 sessions of a single cell, such a session is found in 6 of
10: that little history knows no more.
"""

_STORED_LEVEL = LEVEL / 10  # dropping ordinary ones would make the others look too much alike


@dataclass(frozen=True, slots=True)
class NewCell:
    """What one new session has of one cell; ``afresh``: it begins a new history, without a past."""

    fingerprint: Fingerprint
    values: Mapping[str, Value]
    afresh: bool = False


@dataclass(frozen=True, slots=True)
class Outlier:
    """The new session with index ``session``, or with ``model`` what it has of that model."""

    session: int
    model: str | None
    reason: str


def outliers(
    stored: Mapping[CellKey, CellBaseline], new: Sequence[Mapping[CellKey, NewCell]]
) -> list[Outlier]:
    """Return which of the new sessions must not be written, by session and model."""
    pool = _Pool(stored, new)
    while (odd := pool.oddest(sorted(pool.stored), _STORED_LEVEL)) is not None:
        pool.drop(odd)
    found = []
    names = {_name(index): index for index in range(len(new))}
    while (odd := pool.oddest(list(names), LEVEL)) is not None:
        pool.drop(odd)
        found.append(Outlier(names[odd.session], odd.model, odd.reason))
    return sorted(found, key=lambda one: (one.session, one.model or ""))


class _Odd(NamedTuple):
    """A session that differs, or a model in it, and how often chance would do that."""

    probability: float
    session: str
    model: str | None
    reason: str


class _Pool:
    """The values of all sessions that may be compared, by metric, cell and session."""

    def __init__(
        self,
        stored: Mapping[CellKey, CellBaseline],
        new: Sequence[Mapping[CellKey, NewCell]],
    ) -> None:
        self._values: dict[str, dict[CellKey, dict[str, Value]]] = {name: {} for name in GATED}
        self.stored: set[str] = set()
        afresh = {key for session in new for key, cell in session.items() if cell.afresh}
        for index, session in enumerate(new):
            for key, cell in session.items():
                past = None if key in afresh else stored.get(key)
                for metric in cell.values.keys() & self._values.keys():
                    cells = self._values[metric]
                    if key not in cells:
                        cells[key] = _past(past, cell.fingerprint, metric)
                        self.stored |= cells[key].keys()
                    cells[key][_name(index)] = cell.values[metric]

    def drop(self, odd: _Odd) -> None:
        """Forget a session, or what it has of one model."""
        for cells in self._values.values():
            for (model, _), sessions in cells.items():
                if odd.model in (None, model):
                    sessions.pop(odd.session, None)

    def oddest(self, sessions: Sequence[str], level: float) -> _Odd | None:
        """Return what of these sessions differs most from the others, None where none does."""
        odd = [one for session in sessions for one in self._odd(session, level)]
        # A session as a whole before its models: these would differ for the same reason.
        return min(odd, key=lambda one: (one.model is not None, one.probability), default=None)

    def _odd(self, session: str, level: float) -> list[_Odd]:
        tests = [
            (sign, metric, model, shift)
            for sign in (1, -1)
            for metric, cells in self._values.items()
            for model, shift in _shifts(self._compared(session, metric, cells, sign))
        ]
        levels = shares([shift for _, _, _, shift in tests])
        return [
            _Odd(shift.tail, session, model, _reason(metric, sign, shift, level * share))
            for (sign, metric, model, shift), share in zip(tests, levels, strict=True)
            if shift.tail <= level * share
        ]

    def _compared(
        self, session: str, metric: str, cells: Mapping[CellKey, Mapping[str, Value]], sign: int
    ) -> list[CellLogs]:
        """Return the cells of a session with those sessions that it is to be compared with.

        ``sign`` -1 makes a change for the better positive.
        """
        up = sign * _up(metric)
        compared: list[tuple[str, Value, dict[str, Value]]] = []
        having = ((model, values) for (model, _), values in cells.items() if session in values)
        for model, values in having:
            others = {name: value for name, value in values.items() if name != session}
            stored = {name: value for name, value in others.items() if name in self.stored}
            if session in self.stored or len(stored) >= FEWEST_STORED:
                others = stored
            # With other new sessions, four in all: this one and three.
            if len(others) >= FEWEST_STORED - (len(others) > len(stored)):
                compared.append((model, values[session], others))
        each = [[now, *others.values()] for _, now, others in compared]
        noise = session_noise(each, METRICS[metric].floor)
        return [
            CellLogs(
                model,
                {name: up * math.log(value.value) for name, value in others.items()},
                up * math.log(now.value),
                assumed=assumed,
                least=least,
            )
            for (model, now, others), (assumed, least) in zip(compared, noise, strict=True)
        ]


def _shifts(cells: Sequence[CellLogs]) -> list[tuple[str | None, Shift]]:
    """Return how far the run and each of its models moved; the model is None for the run."""
    # One cell alone is the run: nothing is to be taken together.
    return [
        (None if shift.scope != "model" else cells[shift.cells[0]].model, shift)
        for shift in shifts(cells, anchored=False)
        if shift.scope != "cell" or len(cells) == 1
    ]


def _reason(metric: str, sign: int, shift: Shift, level: float) -> str:
    up = _up(metric) * sign
    change, limit = (relative(up * moved) for moved in (shift.change, shift.error.limit(level)))
    side = "above" if up > 0 else "below"
    what = "all cells together" if shift.scope != "model" else "its cells beside the other models'"
    return (
        f"{metric} of {what} is {abs(change):.1%} {side} that of {shift.sessions} sessions, and "
        f"ordinary ones stay within {abs(limit):.1%}: the device was in another state; record "
        "again when it is not"
    )


def _past(cell: CellBaseline | None, current: Fingerprint, metric: str) -> dict[str, Value]:
    """Return the stored values of the sessions that measured the same thing, by session."""
    if cell is None:
        return {}
    values, _ = cell.comparable(current, metric)
    return {
        one.id: values[one.id]
        for one in cell.sessions
        if one.id in values and len({one.fingerprint.content, current.content} - {""}) < 2
    }


def _up(metric: str) -> int:
    return METRICS[metric].worse_sign


def _name(index: int) -> str:
    return f"new {index}"
