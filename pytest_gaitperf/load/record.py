"""What a load leaves behind, and the pure functions that cut it into windows."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

Times: TypeAlias = "npt.NDArray[np.int64]"
Values: TypeAlias = "npt.NDArray[np.float64]"

Observer: TypeAlias = "Callable[[LoadRecord, int], bool]"
"""Called at every tick with what has completed and the time now (monotonic, ns); the load goes on
while it returns True."""

MAXIMUM_FAILURE_REASONS = 5


@dataclass(slots=True)
class LoadRecord:
    """The requests of one stretch of load, in the order of their completion.

    ``starts_ns`` and ``ends_ns`` (monotonic clock) hold the successful requests: just before the
    first byte was sent (in an open loop: when it was to be sent by the schedule), just after the
    last byte came. 16 bytes a request. ``failures`` counts the others, ``stopped_ns`` is when the
    last request had been sent, ``drained_ns`` when the last had been answered, ``client_cpu_ns``
    the CPU time of the loading threads from first send to there. ``send_ns`` and ``receive_ns`` are
    sums over the successful requests: first byte sent to last byte sent, first byte come to last
    byte come (with a single slot of a closed loop: from when the first piece had been read).
    ``delays_ns`` (open loop only) has, for each request sent, by how much it was sent after its
    scheduled time, in the order of sending.
    """

    starts_ns: array[int] = field(default_factory=lambda: array("q"))
    ends_ns: array[int] = field(default_factory=lambda: array("q"))
    failures: int = 0
    failure_reasons: list[str] = field(default_factory=list)
    first_send_ns: int = 0
    stopped_ns: int = 0
    drained_ns: int = 0
    client_cpu_ns: int = 0
    send_ns: int = 0
    receive_ns: int = 0
    delays_ns: array[int] = field(default_factory=lambda: array("q"))

    @property
    def requests(self) -> int:
        """Return the number of successful requests."""
        return len(self.ends_ns)

    def fail(self, reason: str) -> None:
        """Count a failed request; the first few different reasons are kept."""
        self.failures += 1
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


def completions(ends_ns: Times, edges_ns: Times) -> Values:
    """Return the requests completed in each of the windows between consecutive edges.

    The count goes up evenly from one completion to the next, so that a window of few requests is
    not quantised, and the counts of adjoining windows add up. ``ends_ns`` must not decrease.
    Result: float64[edges - 1].
    """
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
