"""Whether an open load was answered in time: pure, from the times of its requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    import numpy.typing as npt

    Times = npt.NDArray[np.int64]

_SURELY_LATE = 1e-3
_SURELY_SERVED = 0.05
_LONGEST_STALL = 4.0
_SHORTEST_TROUBLE_S = 0.25
_GROUPS = 8
_GROWN = 0.5
_SLOPE_ERRORS = 3.0
_SHORTEST_S, _FEWEST_REQUESTS, _SHORTEST_DEADLINES = 0.8, 30, 10
_LONGEST_OF_SHORTEST = 3


@dataclass(frozen=True, slots=True)
class Target:
    """What serving means: so many percent of the requests are answered within the deadline."""

    deadline_s: float
    percentile: float

    @property
    def late_share(self) -> float:
        """The share of late requests that is allowed, a ratio."""
        return 1 - self.percentile / 100


def shortest_s(target: Target, rate_per_s: float) -> float:
    """Return for how long a load must be looked at before it may be called served."""
    enough_s = _FEWEST_REQUESTS / rate_per_s
    return max(_SHORTEST_S, _SHORTEST_DEADLINES * target.deadline_s, enough_s)


@dataclass(frozen=True, slots=True)
class Lateness:
    """The requests of an open load that were due in a span, and how they were answered.

    ``late`` of ``requests`` took longer than the deadline, from when they were due, or were not
    answered at all; ``trouble_s`` is the time from the first of these to the last. ``growth_s`` is
    how much the latency grew over the span, 0 where it did not, or not beyond its own scatter.
    ``latency_s`` is the percentile's latency of those that were answered.
    """

    requests: int
    late: int
    trouble_s: float
    growth_s: float
    latency_s: float

    def grown(self, target: Target) -> bool:
        """Whether the latency grew by half the deadline or more: the server falls behind."""
        return self.growth_s > _GROWN * target.deadline_s

    def verdict(self, target: Target, elapsed_s: float, shortest_s: float) -> bool | None:
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
        behind = self.grown(target)
        surely = special.bdtr(self.late, self.requests, share) <= _SURELY_SERVED
        if not behind and (surely or not self.late):
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
    """Look at a constant load from its first request counted, due at ``first_ns``, until now.

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
    return Lateness(
        requests=due,
        late=late,
        trouble_s=trouble_s,
        growth_s=_growth_s(starts, latencies),
        latency_s=slow_ns / 1e9,
    )


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
