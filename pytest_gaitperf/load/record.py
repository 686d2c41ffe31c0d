"""What a load leaves behind, and the pure functions that cut it into windows."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

MAXIMUM_FAILURE_REASONS = 5


@dataclass(slots=True)
class LoadRecord:
    """The requests of one stretch of load, in the order of their completion.

    ``starts_ns`` and ``ends_ns`` (monotonic clock) hold the successful requests: just before the
    first byte was sent, just after the last byte came. 16 bytes a request.
    """

    starts_ns: array[int] = field(default_factory=lambda: array("q"))
    ends_ns: array[int] = field(default_factory=lambda: array("q"))
    failures: int = 0
    failure_reasons: list[str] = field(default_factory=list)
    first_send_ns: int = 0
    stopped_ns: int = 0
    drained_ns: int = 0
    client_cpu_ns: int = 0

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

    def times(self, first: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return copies of (starts, ends) in ns from the ``first``-th completion on."""
        return (
            np.array(self.starts_ns[first:], dtype=np.int64),
            np.array(self.ends_ns[first:], dtype=np.int64),
        )


def work_done(
    starts_ns: npt.NDArray[np.int64],
    ends_ns: npt.NDArray[np.int64],
    edges_ns: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the requests done in each of the windows between consecutive edges.

    A request counts in a window by the share of its own duration that lies in it, so that a window
    of 8 slow requests is not quantised to an eighth, and the counts of adjoining windows add up.
    Result: float64[edges - 1].
    """
    durations = np.maximum(ends_ns - starts_ns, 1).astype(np.float64)
    done = [float(np.sum(np.clip((edge - starts_ns) / durations, 0.0, 1.0))) for edge in edges_ns]
    return np.diff(np.array(done, dtype=np.float64))


def completed_between(
    starts_ns: npt.NDArray[np.int64],
    ends_ns: npt.NDArray[np.int64],
    start_ns: int,
    end_ns: int,
) -> npt.NDArray[np.float64]:
    """Return the sorted latencies (s) of the requests completed in (start, end]."""
    inside = (ends_ns > start_ns) & (ends_ns <= end_ns)
    return np.sort((ends_ns[inside] - starts_ns[inside]) / 1e9)
