"""The search for the most subjects that are served: pure, it asks and is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

RESOLUTION = 0.04
"""How far the least load that was too much may lie above the largest that was served."""

SEARCH_S = 18.0
"""The seconds that a search may take, whatever shorter budget a cell has."""

LEAST_SEARCH_S = 10.0
"""The seconds without which no search is begun."""

_BESIDE = 1 + RESOLUTION / 2
_BEGIN = 0.92
_STEP = 0.08
_LARGEST_STEP = 4.0
_FAILURES = 2
_MOST_PROBES = 40


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

    ``capacity`` is the largest load that was served, in subjects; below 1 not even one is. The
    truth lies between ``low`` and ``high``: half a resolution beyond the largest load served and
    the least that was too much; where looks contradicted each other, beyond all these. ``high`` is
    inf where nothing was found that is too much.
    ``too_much`` is the probe above it that failed. ``settled``: the answer was measured, and what
    lies above it failed again.
    """

    capacity: float
    low: float
    high: float
    too_much: Probe | None
    probes: tuple[Probe, ...]
    settled: bool

    @property
    def text(self) -> str:
        """The answer in words: whole subjects, and the capacity behind them."""
        served = math.floor(self.capacity)
        noun = "subject" if served == 1 else "subjects"
        return f"{served} {noun} (capacity {self.capacity:.3g}, {self.low:.3g} .. {self.high:.3g})"

    def lines(self, percentile: float) -> list[str]:
        """Say what was served, and what broke above it: one line each."""
        best = [probe for probe in self.probes if probe.subjects == self.capacity][-1:]
        shown = [*best, self.too_much] if self.too_much is not None else best
        return [
            f"{probe.subjects:.3g} {'served' if probe.served else 'not served'}: "
            f"p{percentile:.12g} {probe.latency_s * 1e3:.3g} ms, {probe.text}"
            for probe in shown
        ] or ["not one subject is served: one request at a time is already too slow"]


@dataclass(slots=True)
class _Bracket:
    """What is known so far: ``low`` is served (0: nothing is), ``high`` is not (inf: all may be).

    What a later look at the same load or beyond contradicts is forgotten, but stays in ``probes``.
    """

    probes: list[Probe] = field(default_factory=list)
    served: set[float] = field(default_factory=set)
    failed: dict[float, int] = field(default_factory=dict)
    measured: set[float] = field(default_factory=set)
    step: float = _STEP

    @property
    def low(self) -> float:
        return max(self.served, default=0.0)

    @property
    def high(self) -> float:
        return min(self.failed, default=math.inf)

    def note(self, probe: Probe) -> None:
        """Take a look at the server into account; one that was measured counts for two."""
        self.probes.append(probe)
        subjects = probe.subjects
        if probe.served:
            self.served.add(subjects)
            self.failed = {n: count for n, count in self.failed.items() if n > subjects}
            if probe.measured:
                self.measured.add(subjects)
        else:
            weight = _FAILURES if probe.measured else 1
            self.failed[subjects] = self.failed.get(subjects, 0) + weight
            self.served = {n for n in self.served if n < subjects}
            self.measured &= self.served

    def ask(self, guess: float) -> Ask | None:
        """Return the next load to look at, None where all is known."""
        low, high = self.low, self.high
        if not low:
            return self._lower() if math.isfinite(high) else Ask(max(guess * _BEGIN, 1.0))
        if high > low * (1 + RESOLUTION):
            return Ask(low * self._strides() if math.isinf(high) else math.sqrt(low * high))
        self.step = _STEP
        if self.failed[high] < _FAILURES:
            return Ask(high)
        return Ask(low, measured=True) if low not in self.measured else None

    def hurried(self) -> Ask | None:
        """Return the load to be measured where no time is left to search.

        Where that fails it goes down in long steps: an answer that is too low tells more than none.
        """
        low, high = self.low, self.high
        if low in self.measured or high <= 1 or (not low and math.isinf(high)):
            return None
        return Ask(low or math.sqrt(high), measured=True)

    def _lower(self) -> Ask | None:
        """Return a load below those that failed; one subject itself until it failed again."""
        high = self.high
        if high > 1:
            return Ask(max(high / self._strides(), 1.0))
        return Ask(high) if self.failed[high] < _FAILURES else None

    def _strides(self) -> float:
        """Return how far the next step goes, as a ratio; the one after it goes twice as far."""
        step, self.step = self.step, min(2 * self.step, _LARGEST_STEP)
        return 1 + step

    def answer(self) -> Answer:
        low, high = self.low, self.high
        known = [probe for probe in self.probes if probe.subjects == high]
        failed = [probe.subjects for probe in self.probes if not probe.served]
        passed = [probe.subjects for probe in self.probes if probe.served]
        return Answer(
            capacity=low,
            low=min([low, *failed]) / _BESIDE,
            high=max([high, *passed]) * _BESIDE,
            too_much=known[-1] if known else None,
            probes=tuple(self.probes),
            settled=low in self.measured
            and high <= low * (1 + RESOLUTION)
            and self.failed[high] >= _FAILURES,
        )


def search(guess: float) -> Generator[Ask, Probe | None, Answer]:
    """Find the largest load that is served, in subjects, from a ``guess`` at it.

    Send what came of each load that is asked for. None says that time is short: from then on it
    only asks for loads to be measured, until one of these is served; a second None ends it. It
    begins a little below the guess, goes up or down in steps that double until the answer is
    bracketed, and bisects on the log scale until the bracket is ``RESOLUTION`` wide. Then both its
    ends are checked again: what failed must fail a second time, and what was served is measured for
    long. Whichever end does not hold moves, and the search goes on from there; so a single look at
    a bad moment cannot make the answer. Below one subject it does not search: not even one is
    served, and ``capacity`` is 0.
    """
    known = _Bracket()
    hurry = False
    while len(known.probes) < _MOST_PROBES:
        ask = known.hurried() if hurry else known.ask(guess)
        probe = None if ask is None else (yield ask)
        if ask is None or (hurry and probe is None):
            break
        if probe is None:
            hurry = True
        else:
            known.note(probe)
    return known.answer()
