"""When to stop: observers that a load asks at every tick."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.record import work_done
from pytest_gaitperf.stats.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.load.record import LoadRecord

MINIMUM_WINDOWS = 6
"""Fewer windows say too little about their own autocorrelation."""

_STEADY_RATIO = 0.1
_FEWEST_ROUNDS = 3
_MINIMUM_WARM_UP_S = 0.5


class WarmUp:
    """Goes on until the mean latency stands still, within ``limit_s``.

    Steady: at least 0.5 s and three rounds of all request slots, and the means of the middle and
    of the last third of the requests within 10 % of each other.
    """

    def __init__(self, concurrency: int, limit_s: float) -> None:
        self._fewest = _FEWEST_ROUNDS * concurrency
        self._limit_ns = int(limit_s * 1e9)

    def __call__(self, record: LoadRecord, now_ns: int) -> bool:
        """Return whether to go on. Raises MeasurementError when every request of it failed."""
        elapsed_ns = now_ns - record.first_send_ns
        if elapsed_ns >= self._limit_ns and record.failures and not record.requests:
            raise MeasurementError(
                f"all {record.failures} requests of the first {elapsed_ns / 1e9:.1f} s failed: "
                + "; ".join(record.failure_reasons)
            )
        if elapsed_ns >= self._limit_ns and record.requests:
            return False
        if elapsed_ns < _MINIMUM_WARM_UP_S * 1e9 or record.requests < self._fewest:
            return True
        _, middle, last = np.array_split(_latencies_s(record), 3)
        return bool(abs(last.mean() / middle.mean() - 1) > _STEADY_RATIO)


def steady_latency_s(record: LoadRecord) -> float:
    """Return the mean latency (s) of the later half of a warm-up; at least one request."""
    latencies = _latencies_s(record)
    return float(latencies[len(latencies) // 2 :].mean())


def _latencies_s(record: LoadRecord) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    starts, ends = record.times()
    return (ends - starts) / 1e9


class Precision:
    """Goes on until the throughput's interval is narrow enough, or the time is up.

    Windows of ``window_s`` follow one another from ``start_ns`` on. A window is taken up ``lag_s``
    after its end, when the requests that were in flight there have completed; so the load always
    runs on past the last edge. The time is up after ``limit_s``; for six windows, and for
    the ``minimum_span_s`` that a power meter needs, there is ``hard_limit_s``. After the load,
    ``edges_ns`` are the edges of the windows to use, and ``reached`` says whether ``precision``
    (relative half-width) was met.
    """

    def __init__(
        self,
        *,
        start_ns: int,
        window_s: float,
        lag_s: float,
        precision: float,
        minimum_span_s: float,
        limit_s: float,
        hard_limit_s: float,
        batch_size: int,
        progress: Callable[[float, float | None], None],
    ) -> None:
        self._start_ns = start_ns
        self._window_ns = int(window_s * 1e9)
        self._lag_ns = int(lag_s * 1e9)
        self._precision = precision
        self._minimum = max(MINIMUM_WINDOWS, int(np.ceil(minimum_span_s / window_s)))
        self._deadline_ns = start_ns + int(limit_s * 1e9)
        self._last_ns = start_ns + int(hard_limit_s * 1e9)
        self._batch_size = batch_size
        self._progress = progress
        self._counts: list[float] = []
        self.reached = False

    @property
    def edges_ns(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The edges of the complete windows, int64[windows + 1]."""
        steps = np.arange(len(self._counts) + 1, dtype=np.int64)
        return self._start_ns + steps * self._window_ns

    def __call__(self, record: LoadRecord, now_ns: int) -> bool:
        """Return whether to go on."""
        while (edge := self._edge(len(self._counts))) + self._window_ns + self._lag_ns <= now_ns:
            # Completions are in order: the window's requests begin at the first one past its edge.
            starts, ends = record.times(bisect_right(record.ends_ns, edge))
            edges = np.array([edge, edge + self._window_ns], dtype=np.int64)
            self._counts.append(float(work_done(starts, ends, edges)[0]))
        half_width = self._half_width()
        mean = float(np.mean(self._counts)) if self._counts else 0.0
        self._progress(mean * self._batch_size / (self._window_ns / 1e9), half_width)
        if len(self._counts) < self._minimum:
            return now_ns < self._last_ns
        self.reached = half_width is not None and half_width <= self._precision
        return not self.reached and now_ns < self._deadline_ns

    def _edge(self, index: int) -> int:
        return self._start_ns + index * self._window_ns

    def _half_width(self) -> float | None:
        if len(self._counts) < MINIMUM_WINDOWS or not any(self._counts):
            return None
        low, high = mean_interval(self._counts)
        return (high - low) / 2 / float(np.mean(self._counts))
