"""How verdicts look: their words, marks, colours and order, the same in every report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import first_line
from pytest_gaitperf.verdict import State

if TYPE_CHECKING:
    from pytest_gaitperf.session import CellResult, Session

COLUMNS = (
    "throughput",
    "latency_p50",
    "latency_p99",
    "energy_per_inference",
    "server_cpu_per_inference",
)
"""The metrics that a table shows, the most wanted first."""

WORST_FIRST = (
    State.INVALID,
    State.REGRESSED,
    State.INCOMPARABLE,
    State.MISSING,
    State.INCONCLUSIVE,
    State.IMPROVED,
    State.PASS,
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is shown: the word in the last column, the mark behind a change, the colour."""

    word: str
    mark: str
    style: str


LOOKS = {
    State.PASS: Look("ok", "", "green"),
    State.REGRESSED: Look("REGRESSED", "!", "bold red"),
    State.IMPROVED: Look("improved", "+", "cyan"),
    State.INCONCLUSIVE: Look("unsure", "?", "yellow"),
    State.INCOMPARABLE: Look("differs", "x", "magenta"),
    State.MISSING: Look("missing", "", "yellow"),
    State.INVALID: Look("INVALID", "", "bold red"),
}


def word(session: Session, result: CellResult) -> tuple[str, str]:
    """Return what is said of a whole cell in a word, and its style; "" before it was judged.

    A star behind it says that the verdict is provisional.
    """
    if result.measurement is None:
        return "ERROR", "bold red"
    states = {verdict.state for verdict in result.verdicts.values()}
    if result.measurement.invalid:
        states.add(State.INVALID)
    worse = states & {State.INVALID, State.REGRESSED}
    if not worse and any(session.is_broken(check) for check in result.limits.values()):
        return "LIMIT", "bold red"
    if not states:
        return "", ""
    worst = next(state for state in WORST_FIRST if state in states)
    if worst is State.MISSING and session.written:
        return "recorded", "cyan"
    star = "*" if any(verdict.provisional for verdict in result.verdicts.values()) else ""
    return f"{LOOKS[worst].word}{star}", LOOKS[worst].style


def unmeasured(result: CellResult) -> str | None:
    """Say in a line why a cell has no measurement that may be judged, None where it has one."""
    if result.error is not None:
        return first_line(result.error)
    return result.measurement.invalid if result.measurement is not None else None
