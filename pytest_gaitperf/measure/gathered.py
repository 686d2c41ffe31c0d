"""What one life of a model leaves behind under load, before it is evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from pytest_gaitperf.load.record import (
    completed_between,
    longest_silence_ns,
    mean_in_flight,
    requests_done,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_gaitperf.host.utilisation import Look
    from pytest_gaitperf.host.watch import Watched
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.measure.memory import ModelMemory
    from pytest_gaitperf.measure.neighbours import Load
    from pytest_gaitperf.power.metering import PowerReading
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload

    Times = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that was gathered about one cell in one life of its model, not yet evaluated.

    ``windows_ns`` (int64[windows, 2], monotonic clock) has the start and the end of each window to
    use, ascending, none overlapping; between two of them the load went on. ``warm_up`` and
    ``record`` are the requests before and in the measured load. ``sent`` is the server's statistics
    over both, ``statistics`` over the measured load alone. ``server_cpu_s`` is the CPU time of the
    server over the measured load, None where ``server_cpu_absent`` says why; ``server_cpu_ns``
    (float64[windows]) is that in each window, None where it is not known. ``lives`` is in how many
    lives the cell's budget is spent. ``watched`` is what others did in the windows, those that were
    replaced included; ``disturbed`` says why too few were left, so that all are used.
    ``neighbours`` are what was kept up beside it. ``looks`` has how busy the machine was, once a
    second, ``memory`` what of it was the model's.
    """

    workload: Workload
    windows_ns: Times
    warm_up: LoadRecord
    record: LoadRecord
    sent: ModelStatistics
    statistics: ModelStatistics
    server_cpu_s: float | None
    server_cpu_absent: str
    power: PowerReading
    throttled: str | None = None
    notes: tuple[str, ...] = ()
    data: str = ""
    lives: int = 1
    server_cpu_ns: Values | None = None
    watched: Watched | None = None
    disturbed: str | None = None
    looks: Sequence[Look] = ()
    memory: ModelMemory | None = None
    neighbours: tuple[Load, ...] = ()

    @property
    def span_ns(self) -> tuple[int, int]:
        """The first window's start and the last one's end."""
        return int(self.windows_ns[0, 0]), int(self.windows_ns[-1, 1])

    @property
    def edges_ns(self) -> Times:
        """The times at which windows begin or end, int64[edges]."""
        return np.unique(self.windows_ns)

    @property
    def stretches_ns(self) -> Times:
        """The windows with adjoining ones joined, int64[stretches, 2]."""
        windows = self.windows_ns
        parted = np.flatnonzero(windows[1:, 0] != windows[:-1, 1])
        starts, ends = np.r_[0, parted + 1], np.r_[parted, len(windows) - 1]
        return np.column_stack((windows[starts, 0], windows[ends, 1]))

    @property
    def seconds(self) -> float:
        """The length of all windows together."""
        return float((self.windows_ns[:, 1] - self.windows_ns[:, 0]).sum()) / 1e9

    @property
    def in_flight(self) -> float:
        """How many requests were in flight in the windows, on average."""
        times = self.record.times()
        flown = [mean_in_flight(*times, int(a), int(b)) * (b - a) for a, b in self.stretches_ns]
        return float(sum(flown)) / 1e9 / self.seconds

    def latencies(self) -> Values:
        """Return the latencies (s), sorted, of the requests completed within the windows."""
        times = self.record.times()
        return joined([completed_between(*times, int(a), int(b)) for a, b in self.stretches_ns])

    @property
    def due_and_done(self) -> tuple[Values, Values]:
        """How many of the answered requests of an open loop were due, and done, in each window."""
        starts, ends = self.record.times()
        counts = [np.searchsorted(at, self.windows_ns, "right") for at in (np.sort(starts), ends)]
        due, done = (np.diff(count)[:, 0].astype(np.float64) for count in counts)
        return due, done

    @property
    def silence_s(self) -> float:
        """The longest time in the windows in which nothing was answered that was due."""
        times = self.record.times()
        spans = ((int(low), int(high)) for low, high in self.stretches_ns)
        return max(longest_silence_ns(*times, *span) for span in spans) / 1e9

    def first_answers(self) -> Values:
        """Return the times (s) to the first answer, sorted, of the requests in the windows."""
        starts, ends = self.record.times()
        firsts = np.frombuffer(self.record.firsts_ns, dtype=np.int64)
        parts = [np.searchsorted(ends, stretch, "right") for stretch in self.stretches_ns]
        inside = np.concatenate([np.arange(*part) for part in parts])
        some = inside[firsts[inside] > 0]
        return np.sort(firsts[some] - starts[some]) / 1e9

    def answers(self, windows_ns: Times) -> Values:
        """Return the answers that came in each of some windows (int64[windows, 2], as ours)."""
        came = np.frombuffer(self.record.answers_ns, dtype=np.int64)
        return np.diff(np.searchsorted(came, windows_ns, "right"))[:, 0].astype(np.float64)

    def inferences(self, windows_ns: Times, within_s: float = math.inf) -> Values:
        """Return the inferences done in each of some windows (int64[windows, 2], as ours).

        With ``within_s`` only those of requests that took no longer.
        """
        starts, ends = self.record.times()
        if within_s < math.inf:
            in_time = ends - starts <= within_s * 1e9
            starts, ends = starts[in_time], ends[in_time]
        edges = np.unique(windows_ns)
        closed = self.workload.concurrency > 0
        requests = requests_done(starts, ends, edges, closed=closed)
        return requests[np.searchsorted(edges, windows_ns[:, 0])] * self.workload.batch_size


def joined(parts: Sequence[Values]) -> Values:
    """Return several sorted arrays, at least one, as one."""
    if len(parts) == 1:
        return parts[0]  # a million requests are 8 MB
    whole: Values = np.concatenate(parts)
    whole.sort()
    return whole


class _Lived(Protocol):
    @property
    def disturbed(self) -> str | None: ...


_Life = TypeVar("_Life", bound=_Lived)


def undisturbed(runs: Sequence[_Life]) -> tuple[dict[int, _Life], list[str]]:
    """Return the lives to use, by number from 1 on, and what to say of those that are left out.

    Left out are those that others disturbed, unless that leaves no majority: then all are used.
    """
    numbered = dict(enumerate(runs, 1))
    kept = {number: run for number, run in numbered.items() if run.disturbed is None}
    if len(kept) == len(runs) or 2 * len(kept) <= len(runs):
        return numbered, []
    notes = [
        f"life {number} was left out: {run.disturbed}"
        for number, run in numbered.items()
        if number not in kept
    ]
    return kept, notes
