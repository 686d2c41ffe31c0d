"""What a load leaves behind, cut into windows, and the observers that stop it at a tick."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from pytest_gaitperf.errors import FailedRequestsError
from pytest_gaitperf.stats import mean_interval, minimum_count, ratio_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

Times: TypeAlias = "npt.NDArray[np.int64]"
Values: TypeAlias = "npt.NDArray[np.float64]"

Observer: TypeAlias = "Callable[[LoadRecord, int], bool]"
"""Called at every tick with what has completed and the time now (monotonic, ns); the load goes on
while it returns True."""

MAXIMUM_FAILURE_REASONS = 5

MINIMUM_WINDOWS = 6
"""Fewer windows say too little about their own autocorrelation."""

MINIMUM_REQUESTS = minimum_count(0.5)
"""Fewer requests do not even tell the median."""

_FEWEST_ROUNDS = 3
_FEWEST_REQUESTS = 12
_MINIMUM_WARM_UP_S = 0.5
_STEADY_LOOKS = 4
_LATER = 0.6
_FEWEST_GROUPS, _MOST_GROUPS = 3, 8
_NO_TREND = 0.02
_LARGEST_TREND = 0.1
_LARGEST_TREND_ERROR = 0.06
_TREND_ERRORS = 2.0


@dataclass(slots=True)
class LoadRecord:
    """The requests of one stretch of load, in the order of their completion.

    ``starts_ns`` and ``ends_ns`` (monotonic clock) hold the successful requests: just before the
    first byte was sent (in an open loop: when it was to be sent by the schedule), just after the
    last byte came. 16 bytes a request, unless a long load lets it ``forget``. ``failures`` counts
    the others, ``refused`` how often the server did nothing of a request, which was sent again.
    ``stopped_ns`` is when the last request had been sent, ``drained_ns`` when the last had been
    answered, ``client_cpu_ns`` the CPU time of the loading threads from first send to there.
    ``send_ns`` and ``receive_ns`` are sums over the successful requests: first byte sent to last
    byte sent, first byte come to last byte come (with a single slot of a closed loop: from when the
    first piece had been read).
    ``delays_ns`` (open loop only) has, for each request sent, by how much it was sent after its
    scheduled time, in the order of sending. Of streams ``answers_ns`` has when each answer came,
    and ``firsts_ns`` when the first one to each successful request did, 0 where it had none.
    """

    starts_ns: array[int] = field(default_factory=lambda: array("q"))
    ends_ns: array[int] = field(default_factory=lambda: array("q"))
    failures: int = 0
    refused: int = 0
    failure_reasons: list[str] = field(default_factory=list)
    first_send_ns: int = 0
    stopped_ns: int = 0
    drained_ns: int = 0
    client_cpu_ns: int = 0
    send_ns: int = 0
    receive_ns: int = 0
    delays_ns: array[int] = field(default_factory=lambda: array("q"))
    answers_ns: array[int] = field(default_factory=lambda: array("q"))
    firsts_ns: array[int] = field(default_factory=lambda: array("q"))
    _forgotten: int = 0
    _forgotten_answers: int = 0

    @property
    def requests(self) -> int:
        """Return the number of successful requests, the forgotten ones among them."""
        return self._forgotten + len(self.ends_ns)

    @property
    def came(self) -> int:
        """Return how much has come back: requests that succeeded or failed, answers of streams."""
        return self.requests + self.failures + self._forgotten_answers + len(self.answers_ns)

    def forget(self, until_ns: int) -> None:
        """Give up all but the number of what came until a time; no view of it may be kept."""
        done, answers = (bisect_right(at, until_ns) for at in (self.ends_ns, self.answers_ns))
        for times in (self.starts_ns, self.ends_ns, self.firsts_ns):
            del times[:done]
        del self.answers_ns[:answers]
        self._forgotten += done
        self._forgotten_answers += answers

    def fail(self, reason: str) -> None:
        """Count a failed request; the first few different reasons are kept."""
        self.failures += 1
        if re.search(r"out of (data )?(bounds|range)", reason):
            reason += "; if these are ids, give the model's: [ranges.MODEL] TENSOR = [low, high]"
        if "must specify the START flag" in reason:
            reason += (
                "; the server gave the sequence up: let fewer sequences share the rate, or raise "
                "max_sequence_idle_microseconds in the model's config.pbtxt"
            )
        kept = len(self.failure_reasons)
        if kept < MAXIMUM_FAILURE_REASONS and reason not in self.failure_reasons:
            self.failure_reasons.append(reason)

    def times(self, first: int = 0) -> tuple[Times, Times]:
        """Return (starts, ends) in ns from the ``first``-th completion on.

        Views, not copies: a load that goes on cannot append while one of them is kept.
        """
        return (
            np.frombuffer(self.starts_ns, dtype=np.int64)[first:],
            np.frombuffer(self.ends_ns, dtype=np.int64)[first:],
        )


def work_done(starts_ns: Times, ends_ns: Times, edges_ns: Times) -> Values:
    """Return the requests done in each of the windows between consecutive edges.

    A request counts in a window by the share of its own duration that lies in it, so that a window
    of 8 slow requests is not quantised to an eighth, and the counts of adjoining windows add up.
    ``ends_ns`` must not decrease. Result: float64[edges - 1].
    """
    if not ends_ns.size:
        return np.zeros(max(len(edges_ns) - 1, 0))
    longest_ns = int((ends_ns - starts_ns).max())
    # By an edge, what ended before it is done; only what ends after it, and not so long after that
    # it must have started after it too, can be done in part.
    whole = np.searchsorted(ends_ns, edges_ns, "right")
    last = np.searchsorted(ends_ns, edges_ns + longest_ns, "right")
    done = whole.astype(np.float64)
    for index, edge in enumerate(edges_ns):
        open_ = slice(whole[index], last[index])
        starts, ends = starts_ns[open_], ends_ns[open_]
        shares = (edge - starts) / np.maximum(ends - starts, 1)
        done[index] += np.clip(shares, 0.0, 1.0).sum()
    return np.diff(done)


def requests_done(starts_ns: Times, ends_ns: Times, edges_ns: Times, *, closed: bool) -> Values:
    """Return the requests of a closed or an open loop done in each window, as ``work_done``.

    A request of an open loop counts where it completed: its time begins with the schedule, long
    before the server knows of it in a backlog. The count goes up evenly from one completion to the
    next, so that a window of few requests is not quantised.
    """
    if closed:
        return work_done(starts_ns, ends_ns, edges_ns)
    if not ends_ns.size:
        return np.zeros(max(len(edges_ns) - 1, 0))
    first_ns = ends_ns[0]
    counts = np.arange(1, len(ends_ns) + 1)
    return np.diff(np.interp(edges_ns - first_ns, ends_ns - first_ns, counts, left=0.0))


def completed_between(starts_ns: Times, ends_ns: Times, start_ns: int, end_ns: int) -> Values:
    """Return the sorted latencies (s) of the requests completed in (start, end]; ends ascend."""
    first, last = np.searchsorted(ends_ns, [start_ns, end_ns], "right")
    latencies: Values = (ends_ns[first:last] - starts_ns[first:last]) / 1e9
    latencies.sort()
    return latencies


def mean_in_flight(starts_ns: Times, ends_ns: Times, start_ns: int, end_ns: int) -> float:
    """Return how many requests were in flight on average between two times; ends ascend."""
    first = int(np.searchsorted(ends_ns, start_ns, "right"))
    starts, ends = starts_ns[first:], ends_ns[first:]
    after = int(np.searchsorted(ends, end_ns, "right"))
    inside = np.clip(starts, start_ns, end_ns)
    np.subtract(ends, inside, out=inside)  # in place: a million requests are 8 MB
    inside[after:] -= ends[after:] - end_ns
    return float(inside.sum()) / (end_ns - start_ns)


def longest_silence_ns(starts_ns: Times, ends_ns: Times, start_ns: int, end_ns: int) -> int:
    """Return the longest time within (start, end) without an answer while one was due; ends ascend.

    One is due while a request is in flight that completes later.
    """
    first = int(np.searchsorted(ends_ns, start_ns, "right"))
    ends, starts = ends_ns[first:], starts_ns[first:]
    if not ends.size:
        return 0
    # Before a completion it was silent since the last one, or since the oldest of the requests that
    # were still to complete was sent.
    silent = np.minimum.accumulate(starts[::-1])[::-1]
    last = min(int(np.searchsorted(ends, end_ns, "left")) + 1, ends.size)
    silent = silent[:last]
    np.maximum(silent, start_ns, out=silent)  # in place: a million requests are 8 MB
    np.maximum(silent[1:], ends[: last - 1], out=silent[1:])
    np.subtract(ends[:last], silent, out=silent)
    silent[-1] -= max(int(ends[last - 1]) - end_ns, 0)
    return max(int(silent.max()), 0)


class WarmUp:
    """Goes on until the mean latency stands still, within ``limit_s`` after the first round.

    ``slots`` are the requests in flight of a closed loop, 1 for an open one. So many answers are a
    round; the first one may take long, since a model prepares itself. A line is laid through
    the last three fifths of the latencies, in groups of at least a round of all slots. Steady: from
    end to end it changes by less than 2 %, or by less than 10 % and less than twice its own
    standard error, which must be below 6 %; so at four ticks in a row, after at least ``least_s``,
    three rounds of all slots and 12 requests. The constants were chosen by simulation;
    ``tests/load/test_warm_up`` repeats the cases.
    """

    def __init__(self, slots: int, limit_s: float, least_s: float = _MINIMUM_WARM_UP_S) -> None:
        self._slots = slots
        self._least_ns = int(least_s * 1e9)
        self._fewest = max(_FEWEST_ROUNDS * slots, _FEWEST_REQUESTS)
        self._limit_ns = int(limit_s * 1e9)
        self._steady_looks = 0

    def __call__(self, record: LoadRecord, now_ns: int) -> bool:
        """Return whether to go on. Raises FailedRequestsError when every request failed."""
        elapsed_ns = now_ns - record.first_send_ns
        if elapsed_ns >= self._limit_ns and record.failures and not record.requests:
            raise FailedRequestsError(
                f"all {record.failures} requests of the first {elapsed_ns / 1e9:.1f} s failed: "
                + "; ".join(record.failure_reasons)
            )
        slots = self._slots
        if record.requests >= slots and now_ns - record.ends_ns[slots - 1] >= self._limit_ns:
            return False
        steady = record.requests >= self._fewest and self._stands_still(
            _later_s(record, record.requests, _LATER)
        )
        self._steady_looks = self._steady_looks + 1 if steady else 0
        return self._steady_looks < _STEADY_LOOKS or elapsed_ns < self._least_ns

    def _stands_still(self, latencies_s: Values) -> bool:
        groups = min(max(len(latencies_s) // self._slots, _FEWEST_GROUPS), _MOST_GROUPS)
        means = np.array([group.mean() for group in np.array_split(latencies_s, groups)])
        at = np.linspace(-0.5, 0.5, groups)  # so that the slope is the change from end to end
        slope = float(at @ means / (at @ at))
        rest = means - means.mean() - slope * at
        error = float(np.sqrt(rest @ rest / (groups - 2) / (at @ at)) / means.mean())
        change = abs(slope / float(means.mean()))
        within_noise = change <= min(_LARGEST_TREND, _TREND_ERRORS * error)
        return error <= _LARGEST_TREND_ERROR and (change <= _NO_TREND or within_noise)


def steady_latency_s(record: LoadRecord) -> float:
    """Return the mean latency (s) of the later half of a warm-up; at least one request.

    What an open loop answered after the last send does not count: a server that is behind answers
    its backlog then.
    """
    answered = record.requests
    if record.delays_ns:
        answered = bisect_right(record.ends_ns, record.stopped_ns) or answered
    return float(_later_s(record, answered, 0.5).mean())


def _later_s(record: LoadRecord, answered: int, share: float) -> Values:
    """Return the latencies (s) of the last share of the first so many requests."""
    starts, ends = record.times()
    later = slice(int(answered * (1 - share)), answered)
    return (ends[later] - starts[later]) / 1e9


class _Window(NamedTuple):
    """What is known of one window: the requests done in it, completed in it, and their seconds.

    ``good``: nothing disturbed it.
    """

    work: float
    completed: int
    latency_s: float
    good: bool


@dataclass(slots=True, kw_only=True)
class Precision:
    """Goes on until the cell is known well enough, or the time is up.

    Well enough: the interval of the throughput (``open_loop``: of the mean latency) has a relative
    half-width of at most ``precision``. The requests that a percentile needs are waited for too:
    ``fewest_requests`` for the median; of ``wanted_requests`` the most that come within ``limit_s``
    by the rate so far.

    Windows of ``window_s`` follow one another from ``start_ns`` on. A window is taken up ``lag_s``
    after its end, when the requests that were in flight there have completed, and when
    ``undisturbed`` knows of it (None: not yet); only undisturbed windows count. The time is up
    after ``limit_s``; for six windows, the fewest requests, and the ``minimum_span_s`` of a power
    meter, there is ``hard_limit_s``, unless most windows are disturbed. Afterwards ``windows_ns``
    are the windows to use, and ``reached`` says whether ``precision`` was met.
    """

    start_ns: int
    window_s: float
    lag_s: float
    precision: float
    minimum_span_s: float
    limit_s: float
    hard_limit_s: float
    batch_size: int
    progress: Callable[[float, float | None], None]
    open_loop: bool = False
    fewest_requests: int = MINIMUM_REQUESTS
    wanted_requests: tuple[int, ...] = ()
    undisturbed: Callable[[int, int], bool | None] = lambda _start_ns, _end_ns: True
    reached: bool = field(default=False, init=False)
    _window_ns: int = field(init=False)
    _windows: list[_Window] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._window_ns = int(self.window_s * 1e9)

    @property
    def enough(self) -> bool:
        """Whether there are as many undisturbed windows and requests as an evaluation needs."""
        good = self._good
        completed = sum(window.completed for window in good)
        return len(good) >= MINIMUM_WINDOWS and completed >= self.fewest_requests

    @property
    def windows_ns(self) -> Times:
        """The start and the end of each window to use, int64[windows, 2].

        They are the undisturbed ones, or all complete ones where those are not enough.
        """
        starts = self.start_ns + np.arange(len(self._windows), dtype=np.int64) * self._window_ns
        if self.enough:
            starts = starts[[window.good for window in self._windows]]
        return np.column_stack((starts, starts + self._window_ns))

    @property
    def _good(self) -> list[_Window]:
        return [window for window in self._windows if window.good]

    def __call__(self, record: LoadRecord, now_ns: int) -> bool:
        """Return whether to go on."""
        done_ns = now_ns - int(self.lag_s * 1e9)
        edge = self.start_ns + len(self._windows) * self._window_ns
        while edge + self._window_ns <= done_ns:
            good = self.undisturbed(edge, edge + self._window_ns)
            if good is None:
                break
            self._windows.append(self._window(record, edge, good=good))
            edge += self._window_ns
        windows = self._good
        half_width = self._half_width(windows)
        mean = float(np.mean([window.work for window in windows])) if windows else 0.0
        self.progress(mean * self.batch_size / (self._window_ns / 1e9), half_width)
        requests = sum(window.completed for window in windows)
        minimum = max(MINIMUM_WINDOWS, int(np.ceil(self.minimum_span_s / self.window_s)))
        spent_ns = now_ns - self.start_ns
        if len(windows) < minimum or requests < self.fewest_requests:
            completed = sum(window.completed for window in self._windows)
            too_few = len(self._windows) < minimum or completed < self.fewest_requests
            passing = 2 * len(windows) > len(self._windows)
            # A disturbance that stays is not waited for.
            limit_s = self.hard_limit_s if too_few or passing else self.limit_s
            return spent_ns < int(limit_s * 1e9)
        self.reached = half_width is not None and half_width <= self.precision
        if spent_ns >= int(self.limit_s * 1e9):
            return False
        # How many there will be at the end of the time, at the rate so far.
        measured_ns = len(self._windows) * self._window_ns
        expected = requests * int((self.limit_s - self.lag_s) * 1e9) / measured_ns
        within = [wanted for wanted in self.wanted_requests if wanted <= expected]
        return not self.reached or requests < max(within, default=0)

    def _window(self, record: LoadRecord, edge: int, *, good: bool) -> _Window:
        # Completions are in order: the window's requests begin at the first one past its edge.
        starts, ends = record.times(bisect_right(record.ends_ns, edge))
        edges = np.array([edge, edge + self._window_ns], dtype=np.int64)
        latencies = completed_between(starts, ends, edge, int(edges[1]))
        work = len(latencies) if self.open_loop else float(work_done(starts, ends, edges)[0])
        return _Window(work, len(latencies), float(latencies.sum()), good)

    def _half_width(self, windows: Sequence[_Window]) -> float | None:
        if len(windows) < MINIMUM_WINDOWS or not any(window.completed for window in windows):
            return None
        work, completed, latencies_s, _ = zip(*windows, strict=True)
        values = ratio_values(latencies_s, completed) if self.open_loop else np.array(work)
        low, high = mean_interval(values)
        return (high - low) / 2 / float(np.mean(values))
