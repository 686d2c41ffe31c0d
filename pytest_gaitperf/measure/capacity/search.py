"""The search for the most subjects that are served: pure, it asks and is told.

Near its capacity a server is in time at one look and late at the next, and a machine's hiccup makes
it late at any load. So no look is final: every look moves a belief, after QUEST (Watson and Pelli,
"QUEST: a Bayesian adaptive psychometric method", 1983). The next load is the belief's median, where
a look tells most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.measure.capacity.belief import Belief
from pytest_gaitperf.measurement import Capacity, Trial

if TYPE_CHECKING:
    from collections.abc import Generator

RESOLUTION = 0.10
"""The search is settled once the 95 % interval reaches so far above and below its middle."""

SEARCH_S = 24.0
"""The seconds that a search may take, whatever shorter budget a cell has."""

LEAST_SEARCH_S = 10.0
"""The seconds without which no search is begun."""

FURTHER_BELOW = 0.85
"""What share of the answer is measured where a load just below it did not hold."""

_BELOW = 0.97
_NOT_ONE = 0.9
_MOST_LOOKS = 40
_FAILURES = 2


@dataclass(frozen=True, slots=True)
class Ask:
    """Load the server with so many subjects, a fraction among them too.

    ``measured``: for long, as the answer's own measurement; otherwise just until it is clear.
    """

    subjects: float
    measured: bool = False


def search(guess: float) -> Generator[Ask, Trial | None, Capacity]:
    """Find the capacity of a server, in subjects, from a ``guess`` at it.

    Send what came of each load that is asked for; None says that there is no time for it. It looks
    at the middle of what it believes until that is known well enough or time is short, and then
    measures a load a little below. Below one subject it does not search: where one subject failed
    twice and the belief is that not even one is served, ``capacity`` is 0.
    """
    belief = Belief(max(guess, 1.0))
    trials: list[Trial] = []
    while len(trials) < _MOST_LOOKS and not (belief.width <= 1 + RESOLUTION and len(trials) > 1):
        trial = yield Ask(max(belief.middle, 1.0))
        if trial is None:
            break
        trials.append(trial)
        belief.note(trial.subjects, served=trial.served)
        ones = [one for one in trials if one.subjects == 1 and not one.served]
        if len(ones) >= _FAILURES and belief.below(1.0) > _NOT_ONE:
            return _answer(belief, trials, 0.0, nobody=True)
    at, known = 0.0, belief.width <= 1 + RESOLUTION
    for share in (_BELOW, _BELOW, FURTHER_BELOW):
        if not any(trial.served for trial in trials):
            break
        asked = max(belief.surely[0] * share, 1.0)
        trial = yield Ask(asked, measured=True)
        if trial is None:
            break
        trials.append(trial)
        belief.note(trial.subjects, served=trial.served, looks=2)
        if trial.served:
            at = asked
            break
    return _answer(belief, trials, at, known=known)


def _answer(
    belief: Belief, trials: list[Trial], at: float, *, known: bool = False, nobody: bool = False
) -> Capacity:
    """Sum up what is believed after these looks.

    ``known``: the search was not cut short. ``nobody``: not even one subject is served.
    """
    served = [trial.subjects for trial in trials if trial.served]
    failed = [trial for trial in trials if not trial.served]
    capacity, low, found = belief.surely
    high: float | None = found
    if not failed:  # what was served is all that is known
        capacity = low = max(served, default=0.0)
        high = None
    elif nobody or not served:
        capacity = 0.0
    above = [trial for trial in failed if trial.subjects >= capacity]
    too_much = min(above, key=lambda trial: trial.subjects) if above else None
    return Capacity(
        subjects=capacity,
        low=min(low, capacity),
        high=high,
        too_much=too_much or max(failed, key=lambda trial: trial.subjects, default=None),
        trials=tuple(trials),
        settled=at > 0 and known,
        at=at,
    )
