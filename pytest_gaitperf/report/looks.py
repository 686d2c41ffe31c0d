"""The words, marks and colours of a verdict, in every table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from pytest_gaitperf.engine.session import CellResult, Session


class Look(NamedTuple):
    """How a state is shown: the word in the last column, the mark behind a change, the colour.

    ``quiet``: nobody has to look at the cell.
    """

    word: str
    mark: str
    style: str
    quiet: bool = False


WORST_FIRST = (
    VerdictKind.INVALID,
    VerdictKind.REGRESSED,
    VerdictKind.INCOMPARABLE,
    VerdictKind.MISSING,
    VerdictKind.INCONCLUSIVE,
    VerdictKind.IMPROVED,
    VerdictKind.PASS,
)
LOOKS = {
    VerdictKind.PASS: Look("ok", "", "green", quiet=True),
    VerdictKind.REGRESSED: Look("REGRESSED", "!", "bold red"),
    VerdictKind.IMPROVED: Look("improved", "+", "cyan"),
    VerdictKind.INCONCLUSIVE: Look("unsure", "?", "yellow"),
    VerdictKind.INCOMPARABLE: Look("differs", "x", "magenta"),
    VerdictKind.MISSING: Look("missing", "", "yellow"),
    VerdictKind.INVALID: Look("INVALID", "", "bold red"),
}
ONCE_RECORDED = {
    VerdictKind.REGRESSED: Look("accepted", "!", "yellow", quiet=True),
    VerdictKind.MISSING: Look("recorded", "", "cyan", quiet=True),
}
"""How these look where the baseline got the cell: a regression does only when it is accepted."""

ERROR = Look("ERROR", "", "bold red")
LIMIT = Look("LIMIT", "", "bold red")
NOTHING = Look("", "", "", quiet=True)

_BY_RANK = (
    *(ERROR, LOOKS[VerdictKind.INVALID], LOOKS[VerdictKind.REGRESSED], LIMIT),
    *(LOOKS[state] for state in WORST_FIRST[2:]),
    *ONCE_RECORDED.values(),
    NOTHING,
)
RANKS = {shown.word: rank for rank, shown in enumerate(_BY_RANK)}
"""The words by how much they matter, the worst first."""


def look(result: CellResult, state: VerdictKind) -> Look:
    """Return how a state of one of the cell's metrics is shown."""
    return (ONCE_RECORDED.get(state) if result.recorded else None) or LOOKS[state]


def look_of_cell(session: Session, result: CellResult) -> Look:
    """Return how the cell as a whole is shown: as the worst of what was judged of it."""
    measurement = result.measurement
    if measurement is None:
        return ERROR
    states = {verdict.state for verdict in result.verdicts.values()}
    if measurement.invalid:
        states.add(VerdictKind.INVALID)
    worse = states & {VerdictKind.INVALID, VerdictKind.REGRESSED}
    if not worse and any(session.is_broken(check) for check in result.limits.values()):
        return LIMIT
    if not states:
        return NOTHING
    return look(result, next(state for state in WORST_FIRST if state in states))
