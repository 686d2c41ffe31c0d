"""How many subjects a server serves in time: one load judged, and the search over loads. Pure.

Near its capacity a server is in time at one trial and late at the next, and a machine's hiccup
makes it late at any load. So no trial is final: each updates a posterior, after QUEST (Watson and
Pelli, "QUEST: a Bayesian adaptive psychometric method", 1983). The next load is the posterior's
median, where a trial tells most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measurement import Capacity, Trial

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    Times = npt.NDArray[np.int64]

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
_MOST_TRIALS = 40
_FAILURES = 2

_SURELY_LATE = 1e-3
_SURELY_SERVED = 0.05
_LONGEST_STALL = 4.0
_SHORTEST_TROUBLE_S = 0.25
_GROUPS = 8
_GROWN = 0.5
_SLOPE_ERRORS = 3.0
_SHORTEST_S, _FEWEST_REQUESTS, _SHORTEST_DEADLINES = 0.8, 30, 10
_LONGEST_OF_SHORTEST = 3
_RAMP_DEADLINES = 2.0
_RAMP_S = 0.1

_STEP = 0.01
_REACH = math.log(60.0)
_PRIOR_WIDTH = 0.25
_BEGIN = 0.92
_SLOPE = 0.03
_LAPSE = 0.05
_IN_TIME = _SLOPE * math.log(3.0)


# One load


@dataclass(frozen=True, slots=True)
class Target:
    """What serving means: so many percent of the requests are answered within the deadline."""

    deadline_s: float
    percentile: float

    @property
    def late_share(self) -> float:
        """The share of late requests that is allowed, a ratio."""
        return 1 - self.percentile / 100

    def shortest_s(self, rate_per_s: float) -> float:
        """Return for how long a load must be tried before it may be called served."""
        enough_s = _FEWEST_REQUESTS / rate_per_s
        return max(_SHORTEST_S, _SHORTEST_DEADLINES * self.deadline_s, enough_s)


class Lateness(NamedTuple):
    """The requests of an open load that were due in a span, and how they were answered.

    ``late`` of ``requests`` took longer than the deadline, from when they were due, or were not
    answered at all; ``trouble_s`` is the time from the first of these to the last. ``growth_s`` is
    how much the latency grew over the span, 0 where it did not, or not beyond its own scatter.
    ``latency_s`` is the percentile's latency of those that were answered.
    """

    requests: int = 0
    late: int = 0
    trouble_s: float = 0.0
    growth_s: float = 0.0
    latency_s: float = 0.0

    def grown(self, target: Target) -> bool:
        """Whether the latency grew by half the deadline or more: the server falls behind."""
        return self.growth_s > _GROWN * target.deadline_s

    def decided(self, target: Target, elapsed_s: float, shortest_s: float) -> bool | None:
        """Say whether the load is served; None: not known yet, load on.

        More requests are late than the target allows, at 99.9 % confidence by the exact binomial
        (Clopper and Pearson 1934), and for longer than a single stall of the machine: not served.
        Fewer, at 95 %, or none in ``shortest_s``, and the server does not fall behind: served. The
        first is asked for more, since it is asked again and again while the load goes on.

        After three times ``shortest_s`` the share itself decides. At the capacity it is the allowed
        one, so there either answer is right; to call all doubt "not served" would ask a load of
        25 requests/s for 12 s without a late one before it is ever served, and put every slow model
        too low.
        """
        share = target.late_share
        if not self.requests:
            return None
        if (
            self.late
            and special.bdtrc(self.late - 1, self.requests, share) <= _SURELY_LATE
            and self.trouble_s > max(_LONGEST_STALL * target.deadline_s, _SHORTEST_TROUBLE_S)
        ):
            return False
        if elapsed_s < shortest_s:
            return None
        surely = special.bdtr(self.late, self.requests, share) <= _SURELY_SERVED
        if not self.grown(target) and (surely or not self.late):
            return True
        return self.served(target) if elapsed_s >= _LONGEST_OF_SHORTEST * shortest_s else None

    def served(self, target: Target) -> bool:
        """Say it by the share alone, sure or not."""
        # 1 late of 100 is 1 %, whatever 1 - 99 / 100 is in binary.
        within = self.late <= target.late_share * self.requests + 1e-9
        return within and not self.grown(target)


def lateness(
    starts_ns: Times,
    ends_ns: Times,
    *,
    first_ns: int,
    now_ns: int,
    rate_per_s: float,
    target: Target,
) -> Lateness:
    """Sum up a constant load from its first request counted, due at ``first_ns``, until now.

    ``starts_ns`` are the times at which the answered requests were due. What was due less than the
    deadline ago may still be in time, and does not count yet.
    """
    deadline_ns = int(target.deadline_s * 1e9)
    until_ns = now_ns - deadline_ns
    counted = (starts_ns >= first_ns) & (starts_ns <= until_ns)
    starts, latencies = starts_ns[counted], (ends_ns - starts_ns)[counted]
    due = int((until_ns - first_ns) * rate_per_s / 1e9) + 1 if until_ns >= first_ns else 0
    due = max(due, starts.size)  # times are whole nanoseconds, their gaps are not
    answered_late = latencies > deadline_ns
    unanswered = due - starts.size
    late = int(answered_late.sum()) + unanswered
    trouble_s = 0.0
    if late:
        # Unanswered ones are the newest, or in the middle of what is late anyway.
        late_at = starts[answered_late]
        begin = (
            int(late_at.min()) if late_at.size else until_ns - int(unanswered / rate_per_s * 1e9)
        )
        end = until_ns if unanswered else int(late_at.max())
        trouble_s = (end - begin) / 1e9
    slow_ns = float(np.quantile(latencies, target.percentile / 100)) if latencies.size else 0.0
    return Lateness(due, late, trouble_s, _growth_s(starts, latencies), slow_ns / 1e9)


def _growth_s(starts: Times, latencies: Times) -> float:
    """Return how far a line through the latencies rises, 0 within three of its standard errors."""
    if starts.size < 2 * _GROUPS:
        return 0.0
    order = np.argsort(starts, kind="stable")
    means = np.array([part.mean() for part in np.array_split(latencies[order], _GROUPS)]) / 1e9
    at = np.linspace(-0.5, 0.5, _GROUPS)
    slope = float(at @ means / (at @ at))
    rest = means - means.mean() - slope * at
    error = float(np.sqrt(rest @ rest / (_GROUPS - 2) / (at @ at)))
    return slope if slope > _SLOPE_ERRORS * error else 0.0


class TrialObserver:
    """Goes on until it is clear whether the load is served; an ``Observer`` of a load.

    ``shortest_s`` is how long it must be tried before it may be called served; inf only to end it
    where it is not. Afterwards ``seen`` and ``record`` are what was seen, ``served`` and
    ``overloaded`` say which it is; neither, where it was not clear.
    """

    def __init__(self, target: Target, rate_per_s: float, shortest_s: float) -> None:
        self._target = target
        self._rate = rate_per_s
        self._shortest_s = shortest_s
        self._ramp_s = max(_RAMP_S, _RAMP_DEADLINES * target.deadline_s)
        self.record = LoadRecord()
        self.seen = Lateness()
        self.served = False
        self.overloaded = False

    def __call__(self, record: LoadRecord, now_ns: int) -> bool:
        """Return whether to go on."""
        self.record = record
        from_ns = record.first_send_ns + int(self._ramp_s * 1e9)
        self.take(record, from_ns, now_ns)
        elapsed_s = (now_ns - from_ns) / 1e9 - self._target.deadline_s
        decided = self.seen.decided(self._target, elapsed_s, self._shortest_s)
        self.served, self.overloaded = decided is True, decided is False
        return decided is None

    def take(self, record: LoadRecord, from_ns: int, until_ns: int) -> None:
        """Take the requests that were due between two times."""
        before = math.ceil((from_ns - record.first_send_ns) * self._rate / 1e9)
        self.seen = lateness(
            *record.times(),
            first_ns=record.first_send_ns + int(before / self._rate * 1e9),
            now_ns=until_ns,
            rate_per_s=self._rate,
            target=self._target,
        )


# The search


class Posterior:
    """The distribution of the capacity's logarithm, on a grid of 1 %.

    It begins around a little less than ``guess``, with the heavy tails of a Cauchy distribution,
    for a guess may be far off. A trial of a load ``x`` is in time with the probability

        lapse + (1 - 2 lapse) / (1 + exp((ln x - ln capacity) / slope)),

    that is, mostly below the capacity and seldom above it, half of the time at it, and one time in
    twenty the wrong way, by the machine's doing. ``surely`` is the load that is in time at three
    trials in four: a trial of a second or two does not see every late request.
    """

    def __init__(self, guess: float) -> None:
        centre = math.log(guess * _BEGIN)
        count = round(2 * _REACH / _STEP) + 1
        self._grid = centre - _REACH + _STEP * np.arange(count)
        self._log_p = -np.log1p(((self._grid - centre) / _PRIOR_WIDTH) ** 2)

    def update(self, load: float, *, served: bool, trials: int = 1) -> None:
        """Take a trial of a load into account, or one as long as several."""
        below = special.expit((self._grid - math.log(load)) / _SLOPE)
        in_time = _LAPSE + (1 - 2 * _LAPSE) * below
        self._log_p += trials * np.log(in_time if served else 1 - in_time)

    @property
    def median(self) -> float:
        """The median."""
        return self._quantile(0.5)

    @property
    def surely(self) -> tuple[float, float, float]:
        """The load that is in time at three trials in four, and its 95 % interval."""
        down = math.exp(-_IN_TIME)
        return self.median * down, self._quantile(0.025) * down, self._quantile(0.975) * down

    @property
    def width(self) -> float:
        """How far the interval reaches on either side of its middle, as a ratio."""
        _, low, high = self.surely
        return math.sqrt(high / low)

    def below(self, load: float) -> float:
        """Return the probability that the capacity is below a load."""
        weights = np.exp(self._log_p - self._log_p.max())
        return float(weights[self._grid < math.log(load)].sum() / weights.sum())

    def _quantile(self, share: float) -> float:
        sums = np.cumsum(np.exp(self._log_p - self._log_p.max()))
        index = int(np.searchsorted(sums, share * sums[-1]))
        before = sums[index - 1] if index else 0.0
        inside = (share * sums[-1] - before) / max(sums[index] - before, 1e-300)
        return math.exp(self._grid[index] + _STEP * (inside - 0.5))


class Ask(NamedTuple):
    """Load the server with so many subjects, a fraction among them too.

    ``measured``: for long, as the answer's own measurement; otherwise just until it is clear.
    """

    subjects: float
    measured: bool = False


def search(guess: float) -> Generator[Ask, Trial | None, Capacity]:
    """Find the capacity of a server, in subjects, from a ``guess`` at it.

    Send what came of each load that is asked for; None says that there is no time for it. It tries
    the posterior's median until that is known well enough or time is short, and then measures a
    load a little below. Below one subject it does not search: where one subject failed twice and
    probably not even one is served, ``capacity`` is 0.
    """
    posterior = Posterior(max(guess, 1.0))
    trials: list[Trial] = []
    while len(trials) < _MOST_TRIALS and not (
        posterior.width <= 1 + RESOLUTION and len(trials) > 1
    ):
        trial = yield Ask(max(posterior.median, 1.0))
        if trial is None:
            break
        trials.append(trial)
        posterior.update(trial.subjects, served=trial.served)
        ones = [one for one in trials if one.subjects == 1 and not one.served]
        if len(ones) >= _FAILURES and posterior.below(1.0) > _NOT_ONE:
            return _answer(posterior, trials, 0.0, nobody=True)
    at, known = 0.0, posterior.width <= 1 + RESOLUTION
    for share in (_BELOW, _BELOW, FURTHER_BELOW):
        if not any(trial.served for trial in trials):
            break
        asked = max(posterior.surely[0] * share, 1.0)
        trial = yield Ask(asked, measured=True)
        if trial is None:
            break
        trials.append(trial)
        posterior.update(trial.subjects, served=trial.served, trials=2)
        if trial.served:
            at = asked
            break
    return _answer(posterior, trials, at, known=known)


def _answer(
    posterior: Posterior,
    trials: list[Trial],
    at: float,
    *,
    known: bool = False,
    nobody: bool = False,
) -> Capacity:
    """Sum up what is known after these trials.

    ``known``: the search was not cut short. ``nobody``: not even one subject is served.
    """
    served = [trial.subjects for trial in trials if trial.served]
    failed = [trial for trial in trials if not trial.served]
    capacity, low, found = posterior.surely
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
