"""The file through which the sampler hands readings over: a ring of fixed-size records.

Stdlib only. Layout, little endian: int64 number of records ever written; then ``capacity`` slots of
int64 nanoseconds (CLOCK_MONOTONIC) and one float64 per rail. A record is written before the count
that admits it, each in one system call, so a reader never sees half a record, and nothing is lost
when the writer is killed. The file is sparse: it costs what was written, and never more than
``capacity`` records.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CAPACITY = 1 << 19  # 82 minutes at 106 readings a second; 16 MiB with three rails
_COUNT = struct.Struct("<q")
_MARGIN = 64  # slots that the writer may overwrite while a reader copies


class Ring:
    """One side of the file behind ``descriptor``: the sampler appends, its parent reads."""

    def __init__(self, descriptor: int, rails: int, capacity: int = CAPACITY) -> None:
        self._descriptor = descriptor
        self._record = struct.Struct(f"<q{rails}d")
        self._capacity = capacity
        self._written = 0

    def append(self, time_ns: int, values: Sequence[float]) -> None:
        """Write one reading; visible to the other side on return."""
        os.pwrite(
            self._descriptor, self._record.pack(time_ns, *values), self._offset(self._written)
        )
        self._written += 1
        os.pwrite(self._descriptor, _COUNT.pack(self._written), 0)

    @property
    def count(self) -> int:
        """How many readings were ever written."""
        head = os.pread(self._descriptor, _COUNT.size, 0)
        return int(_COUNT.unpack(head)[0]) if len(head) == _COUNT.size else 0

    def last_time_ns(self) -> int | None:
        """Time of the newest reading, None before the first."""
        count = self.count
        return self._time(count - 1) if count else None

    def between(self, start_ns: int, end_ns: int) -> bytes:
        """Give the records from the last one before ``start_ns`` to the first one after ``end_ns``.

        Packed as in the file: int64 time, float64 per rail.
        """
        count = self.count
        kept = range(max(0, count - self._capacity + _MARGIN), count)
        first = max(0, bisect_left(kept, start_ns, key=self._time) - 1)
        last = min(len(kept), bisect_right(kept, end_ns, key=self._time) + 1)
        chunks = []
        index, stop = kept.start + first, kept.start + last
        while index < stop:
            run = min(stop - index, self._capacity - index % self._capacity)
            chunks.append(os.pread(self._descriptor, run * self._record.size, self._offset(index)))
            index += run
        return b"".join(chunks)

    def _offset(self, index: int) -> int:
        return _COUNT.size + index % self._capacity * self._record.size

    def _time(self, index: int) -> int:
        return int(_COUNT.unpack(os.pread(self._descriptor, _COUNT.size, self._offset(index)))[0])
