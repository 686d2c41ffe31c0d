"""The search for the most subjects that are served: pure, it asks and is told.

Near its capacity a server is in time at one look and late at the next, and a machine's hiccup makes
it late at any load. So no look is final: every look moves a belief, after QUEST (Watson and Pelli,
"QUEST: a Bayesian adaptive psychometric method", 1983). The next load is the belief's median, where
a look tells most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.measure.capacity.belief import Belief

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


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of one load.

    ``late`` of ``requests`` missed the deadline, in ``seconds`` of load; ``latency_s`` is the
    percentile's, of those that were answered. ``growing``: the latency grew with the time.
    ``client_load`` is how busy the client was, in cores.
    """

    subjects: float
    served: bool
    seconds: float
    requests: int
    late: int
    latency_s: float
    growing: bool = False
    measured: bool = False
    client_load: float = 0.0

    @property
    def text(self) -> str:
        """What was seen, in words."""
        seen = f"{self.late} of {self.requests} requests late"
        return seen + (", and the backlog grew" if self.growing else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the search found.

    ``capacity`` is the load, in subjects, up to which the server is in time at three looks in four;
    below 1 not even one subject is served. ``low`` and ``high`` are its 95 % interval; ``high`` is
    infinite where no load was too much. ``too_much`` is a look above it that failed. ``at`` is the
    load that was measured, a little below the capacity; 0 where none was. ``settled``: it was
    measured, and the interval is as narrow as was asked for.
    """

    capacity: float
    low: float
    high: float
    too_much: Probe | None
    probes: tuple[Probe, ...]
    settled: bool
    at: float = 0.0

    @property
    def text(self) -> str:
        """The answer in words: whole subjects, and the capacity behind them."""
        served = math.floor(self.capacity)
        noun = "subject" if served == 1 else "subjects"
        return f"{served} {noun} (capacity {self.capacity:.3g}, {self.low:.3g} .. {self.high:.3g})"

    def lines(self, percentile: float) -> list[str]:
        """Say what was measured, and what broke above it: one line each."""
        best = [probe for probe in self.probes if probe.subjects == self.at][-1:]
        shown = [*best, self.too_much] if self.too_much is not None else best
        return [
            f"{probe.subjects:.3g} {'served' if probe.served else 'not served'}: "
            f"p{percentile:.12g} {probe.latency_s * 1e3:.3g} ms, {probe.text}"
            for probe in shown
        ] or ["not one subject is served: one request at a time is already too slow"]


def search(guess: float) -> Generator[Ask, Probe | None, Answer]:
    """Find the capacity of a server, in subjects, from a ``guess`` at it.

    Send what came of each load that is asked for; None says that there is no time for it. It looks
    at the middle of what it believes until that is known well enough or time is short, and then
    measures a load a little below. Below one subject it does not search: where one subject failed
    twice and the belief is that not even one is served, ``capacity`` is 0.
    """
    belief = Belief(max(guess, 1.0))
    probes: list[Probe] = []
    while len(probes) < _MOST_LOOKS and not (belief.width <= 1 + RESOLUTION and len(probes) > 1):
        probe = yield Ask(max(belief.middle, 1.0))
        if probe is None:
            break
        probes.append(probe)
        belief.note(probe.subjects, served=probe.served)
        ones = [one for one in probes if one.subjects == 1 and not one.served]
        if len(ones) >= _FAILURES and belief.below(1.0) > _NOT_ONE:
            return _answer(belief, probes, 0.0, nobody=True)
    at, known = 0.0, belief.width <= 1 + RESOLUTION
    for share in (_BELOW, _BELOW, FURTHER_BELOW):
        if not any(probe.served for probe in probes):
            break
        asked = max(belief.surely[0] * share, 1.0)
        probe = yield Ask(asked, measured=True)
        if probe is None:
            break
        probes.append(probe)
        belief.note(probe.subjects, served=probe.served, looks=2)
        if probe.served:
            at = asked
            break
    return _answer(belief, probes, at, known=known)


def _answer(
    belief: Belief, probes: list[Probe], at: float, *, known: bool = False, nobody: bool = False
) -> Answer:
    """Sum up what is believed after these looks.

    ``known``: the search was not cut short. ``nobody``: not even one subject is served.
    """
    served = [probe.subjects for probe in probes if probe.served]
    failed = [probe for probe in probes if not probe.served]
    capacity, low, high = belief.surely
    if not failed:  # what was served is all that is known
        capacity = low = max(served, default=0.0)
        high = math.inf
    elif nobody or not served:
        capacity = 0.0
    above = [probe for probe in failed if probe.subjects >= capacity]
    too_much = min(above, key=lambda probe: probe.subjects) if above else None
    return Answer(
        capacity=capacity,
        low=min(low, capacity),
        high=high,
        too_much=too_much or max(failed, key=lambda probe: probe.subjects, default=None),
        probes=tuple(probes),
        settled=at > 0 and known,
        at=at,
    )
