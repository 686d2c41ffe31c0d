"""A long load, summed up while it goes on: its windows, and latencies in bins, part by part. Pure.

However many requests there are, what is kept of them is bounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.stats import Interval, mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.record import LoadRecord

    Values = npt.NDArray[np.float64]
    Rate = tuple[float, Interval]

MOST_PARTS = 60
"""The most parts of a timeline; those of a long load are each of a second or more."""

FIRST_S = 60.0
"""What is sustained is compared with so much of the load, or with its first fifth."""

_FIFTH = 5
_LEAST_S, _MOST_S, _STEP = 1e-6, 1e4, 0.005
_BINS = math.ceil(math.log(_MOST_S / _LEAST_S) / _STEP)

_HALF = 0.5
_FEWEST_LOW, _LOW_SHARE, _LOW_S = 5, 0.1, 10.0
_FEWEST_EXPECTED = 30


class Latencies:
    """Latencies (s) in bins of half a percent: a sorted sequence of them, to within that."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, latencies_s: Values) -> None:
        """Count some more."""
        places = np.log(np.maximum(latencies_s, _LEAST_S) / _LEAST_S) / _STEP
        bins = np.minimum(places.astype(np.int64), _BINS - 1)
        self._counts += np.bincount(bins, minlength=_BINS)

    @staticmethod
    def of(parts: Iterable[Part]) -> Latencies:
        """Return those of several parts together."""
        found = Latencies()
        for part in parts:
            found._counts += part.latencies._counts  # noqa: SLF001 - its own kind
        return found

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __getitem__(self, rank: int) -> float:
        return self._at(rank)

    def quantile(self, q: float) -> float | None:
        """Return the ``q`` quantile (s), None where there are no latencies."""
        count = len(self)
        return self._at(q * (count - 1)) if count else None

    def _at(self, rank: float) -> float:
        sums = np.cumsum(self._counts)
        place = int(np.searchsorted(sums, rank, "right"))
        before = sums[place] - self._counts[place]
        inside = min((rank - before + 0.5) / self._counts[place], 1.0)
        return float(_LEAST_S * math.exp(_STEP * (place + inside)))


@dataclass(slots=True)
class Part:
    """A stretch of the load: what was done in it, and what the machine did meanwhile."""

    start_ns: int
    end_ns: int
    inferences: float
    latencies: Latencies
    disturbed: bool
    joules: dict[str, float] | None = None
    temperature_c: float | None = None
    clock_hz: float | None = None
    throttled: bool = False

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def rate(self) -> float:
        """Inferences per second."""
        return self.inferences / self.seconds


@dataclass(frozen=True, slots=True)
class Needed:
    """What a load must sustain not to be red: inferences/s, and a share of its first minute.

    ``of_rate`` and ``of_ratio`` say who asks for it. 0 where nobody does.
    """

    rate: float = 0.0
    ratio: float = 0.0
    of_rate: str = ""
    of_ratio: str = ""


@dataclass(slots=True, kw_only=True)
class Parts:
    """Takes up a load as it goes on, from ``start_ns``, and lets its record forget.

    There are ``count`` parts of so many ``windows`` of ``window_ns`` each. A window is taken up
    ``lag_ns`` after its end, a part once ``undisturbed`` knows of it. Requests, of ``batch_size``
    inferences, count where they completed, evenly from one completion to the next. ``late`` of the
    ``sent`` requests of an open loop were sent more than ``late_from_s`` after they were due;
    ``asked`` is its rate in inferences/s, 0 of a closed one.
    """

    start_ns: int
    window_ns: int
    count: int
    windows: int
    lag_ns: int
    batch_size: int
    late_from_s: float
    asked: float
    undisturbed: Callable[[int, int], bool | None]
    done: list[Part] = field(default_factory=list, init=False)
    late: int = field(default=0, init=False)
    sent: int = field(default=0, init=False)
    delays: Latencies = field(default_factory=Latencies, init=False)
    busy_s: float = field(default=0.0, init=False)
    _done: list[float] = field(default_factory=list, init=False)
    _latencies: Latencies = field(default_factory=Latencies, init=False)
    _begun: bool = field(default=False, init=False)
    _completed: float = field(default=0.0, init=False)
    _last_ns: int = field(default=0, init=False)

    @property
    def complete(self) -> bool:
        """Whether the load was kept up for as long as was asked for."""
        return len(self.done) == self.count

    @property
    def seconds(self) -> float:
        """How long the load is to be kept up."""
        return self.count * self.windows * self.window_ns / 1e9

    def take(self, record: LoadRecord, now_ns: int) -> None:
        """Take up what has completed by now."""
        self._take_delays(record)
        if not self._begun and self.start_ns + self.lag_ns <= now_ns:
            self._take_until(record, self.start_ns)
            self._latencies, self.busy_s, self._begun = Latencies(), 0.0, True
        while self._begun and not self.complete:
            first = len(self.done) * self.windows
            if len(self._done) == first + self.windows:
                start_ns, end_ns = map(self._edge_ns, (first, first + self.windows))
                good = self.undisturbed(start_ns, end_ns)
                if good is None:
                    break
                done = sum(self._done[first:])
                self.done.append(Part(start_ns, end_ns, done, self._latencies, not good))
                self._latencies = Latencies()
                continue
            edge_ns = self._edge_ns(len(self._done) + 1)
            if edge_ns + self.lag_ns > now_ns:
                break
            self._done.append(self._take_until(record, edge_ns) * self.batch_size)

    def _edge_ns(self, windows: int) -> int:
        return self.start_ns + windows * self.window_ns

    def _take_until(self, record: LoadRecord, edge_ns: int) -> float:
        """Take up what completed until an edge; return how many requests that are."""
        starts, ends = record.times()
        inside = int(np.searchsorted(ends, edge_ns, "right"))
        completed = float(record.requests - ends.size + inside)
        if inside > 0:
            latencies = (ends[:inside] - starts[:inside]) / 1e9
            self._latencies.add(latencies)
            self.busy_s += float(latencies.sum())
            self._last_ns = int(ends[inside - 1])
        if inside < ends.size and self._last_ns:
            completed += (edge_ns - self._last_ns) / max(int(ends[inside]) - self._last_ns, 1)
        del starts, ends  # while there are views, nothing can be forgotten
        record.forget(edge_ns)
        before, self._completed = self._completed, completed
        return completed - before

    def _take_delays(self, record: LoadRecord) -> None:
        if not record.delays_ns:
            return
        delays = np.frombuffer(record.delays_ns, dtype=np.int64) / 1e9
        self.sent += delays.size
        self.late += int((delays > self.late_from_s).sum())
        self.delays.add(delays)
        del record.delays_ns[:]

    # What it comes to

    @property
    def first(self) -> range:
        """The windows that the end is compared with: those of a minute, or of a fifth."""
        minute = int(FIRST_S * 1e9 / self.window_ns)
        return range(max(min(self.count // _FIFTH * self.windows, minute), 1))

    @property
    def last(self) -> Sequence[Part]:
        """The last fifth; of a load that is plainly lost, the parts that lost it."""
        return self.done[-(self.count // _FIFTH if self.complete else self.low) :]

    @property
    def calm_end(self) -> Sequence[Part]:
        """Those of the last parts that nobody disturbed."""
        return [part for part in self.last if not part.disturbed]

    @property
    def low(self) -> int:
        """How many parts in a row must be far too slow for the load to be plainly lost."""
        span_s = max(_LOW_SHARE * self.seconds, _LOW_S)
        return max(_FEWEST_LOW, math.ceil(span_s / self.seconds * self.count))

    @property
    def first_rate(self) -> Rate | None:
        """The rate at the beginning; None where others disturbed more than half of that.

        Of an open loop the one that was asked for: one that is behind from the beginning holds
        nothing.
        """
        if self.asked:
            return self.asked, Interval(self.asked, self.asked)
        return self._rate(range(min(len(self.first), len(self.done) * self.windows)))

    @property
    def last_rate(self) -> Rate | None:
        """The rate at the end, likewise."""
        end = len(self.done) * self.windows
        return self._rate(range(end - len(self.last) * self.windows, end))

    def _rate(self, windows: range) -> Rate | None:
        good = [place for place in windows if not self.done[place // self.windows].disturbed]
        if not good or 2 * len(good) < len(windows):
            return None
        rates = np.array(self._done)[good] / (self.window_ns / 1e9)
        return float(rates.mean()), mean_interval(rates)

    def lost(self, needed: Needed) -> str:
        """Say that the load plainly does not sustain what it must, "" where it may.

        So it is where it had less than half of that in so many parts in a row as ``low`` says (a
        tenth of the time, 10 s at least), none of them disturbed, and 30 requests were to be
        expected in them. What got that slow for that long has not held, whatever it would do in the
        end.
        """
        parts = self.done[-self.low :]
        if len(parts) < self.low or any(part.disturbed for part in parts):
            return ""
        begun = len(self.done) * self.windows >= len(self.first)
        first = self.first_rate if begun else None
        of_first = needed.ratio * first[0] if first is not None else 0.0
        rate, asked = max((needed.rate, needed.of_rate), (of_first, needed.of_ratio))
        span_s = sum(part.seconds for part in parts)
        if rate * span_s < _FEWEST_EXPECTED * self.batch_size:
            return ""
        if any(part.rate >= _HALF * rate for part in parts):
            return ""
        return f"less than half of the {rate:.4g} inf/s of {asked} for {span_s:.0f} s"
