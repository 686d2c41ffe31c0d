"""The sampler: a process of its own that reads a sensor on the monotonic clock.

A thread beside a busy Python client is starved by the interpreter's lock and would miss most of
what it should see; a process is not. Run as ``python -m pytest_gaitperf.power.sampler FD`` with the
plan as the first line on stdin (JSON: ``reader``, ``arguments``, ``rails``, ``probe_s``,
``period_s``, ``path`` to modules), it

- probes the sensor: cost of a read, time between updates;
- obeys the lines ``start`` and ``stop``, each answered when it is done;
- writes every reading at once to the ring file behind FD, which its parent reads;
- answers on stdout, one JSON object a line: ``ready``, ``sampling``, or ``error``;
- ends when stdin does, so it never outlives its parent, and ignores Ctrl-C: the parent decides.

Stdlib only, and little of it: on a Jetson this process draws from the rail that it reads.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import select
import signal
import struct
import sys
import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import MeterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.power.sensor import Reader

INTERVAL_S = 0.04 * (5**0.5 - 2)
"""9.44 ms between readings: about 100 Hz, but no simple fraction of 10, 20 or 40 ms, so that a load
repeating at 25, 50 or 100 Hz is seen at every phase instead of always at the same ones."""

CPU_SHARE = 0.05
SLOWEST_S = 0.05
"""Reading may cost this share of a core; a dearer sensor is read less often, down to this."""

_BUSY_LIMIT_S = 1.0
_BUSY_UPDATES = 10
_PROBE_CHANGES = 9
_HASTENED_READS = 10
_STDIN, _STDOUT, _STDERR = 0, 1, 2

CAPACITY = 1 << 19  # 82 minutes at 106 readings a second; 16 MiB with three rails
_COUNT = struct.Struct("<q")
_MARGIN = 64  # slots that the writer may overwrite while a reader copies


class Ring:
    """One side of the file behind ``descriptor``: the sampler appends, its parent reads.

    Layout, little endian: int64 number of records ever written; then ``capacity`` slots of int64
    nanoseconds (CLOCK_MONOTONIC) and one float64 per rail. A record is written before the count
    that admits it, each in one system call, so a reader never sees half a record, and nothing is
    lost when the writer is killed. The file is sparse: it costs what was written.
    """

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


class _Parent:
    """The process that reads the ring: its commands on stdin, our answers on what was stdout.

    What a sensor's library prints goes to stderr: it must not stand between the answers.
    """

    def __init__(self) -> None:
        self._answers = os.dup(_STDOUT)
        os.dup2(_STDERR, _STDOUT)
        self._buffer = b""
        self._poll = select.poll()
        self._poll.register(_STDIN, select.POLLIN | select.POLLHUP)

    def say(self, **message: object) -> None:
        """Write one JSON object as a line."""
        os.write(self._answers, json.dumps(message).encode() + b"\n")

    def command(self, timeout_s: float) -> str | None:
        """Give the next line, None when none came in time. EOFError when the parent is gone."""
        if b"\n" not in self._buffer and self._poll.poll(timeout_s * 1e3):
            chunk = os.read(_STDIN, 65536)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        return line.decode()


def main() -> int:
    """Sample until stdin ends: 0, or 1 after an ``error`` line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(-10)  # the load under test must not delay the meter; only root may
    parent = _Parent()
    try:
        _run(parent, os.getppid(), int(sys.argv[1]))
    except (EOFError, BrokenPipeError):
        return 0
    except MeterError as error:
        with contextlib.suppress(BrokenPipeError):
            parent.say(error=str(error))
        return 1
    return 0


def _run(parent: _Parent, pid: int, descriptor: int) -> None:
    line = None
    while line is None:
        line = parent.command(1.0)
    plan = json.loads(line)
    sys.path[:] = plan["path"]
    module, _, attribute = plan["reader"].partition(":")
    reader: Reader = getattr(importlib.import_module(module), attribute)(**plan["arguments"])
    ring = Ring(descriptor, plan["rails"])
    found = _probe(reader, plan["probe_s"])
    if found["read_s"] > INTERVAL_S and hasattr(reader, "hasten"):
        reader.hasten()
        found |= _cost(reader)
    cheap_s = min(SLOWEST_S, found["cpu_s"] / CPU_SHARE)
    interval_s = max(INTERVAL_S, cheap_s, found["read_s"])
    busy_s = max(_BUSY_LIMIT_S, _BUSY_UPDATES * plan["period_s"])
    parent.say(ready={**found, "interval_s": interval_s})

    sampling, deadline, fresh_at = False, 0.0, 0.0
    while os.getppid() == pid:
        if sampling:
            time.sleep(max(0.0, deadline - time.monotonic()))
        command = parent.command(0.0 if sampling else 1.0)
        if command is None and not sampling:
            continue
        if command == "start" and not sampling:
            sampling, deadline, fresh_at = True, time.monotonic(), time.monotonic()
        # Also one reading at "start" and one at "stop": what lies between is covered to its edges.
        if sampling:
            fresh_at = _sample(reader, ring, fresh_at, busy_s)
        if command is not None:
            sampling = command == "start"
            parent.say(sampling=sampling)
        # A driver that waits for its values keeps its own pace: to wait, too, would miss the next.
        paced = found["read_s"] >= interval_s
        deadline = time.monotonic() if paced else _next(deadline, interval_s)


def _next(deadline: float, interval_s: float) -> float:
    """Return the first deadline to come of those ``interval_s`` apart."""
    late_s = time.monotonic() - deadline
    return deadline + interval_s * (1 + late_s // interval_s) if late_s >= 0 else deadline


def _sample(reader: Reader, ring: Ring, fresh_at: float, busy_s: float) -> float:
    before = time.monotonic_ns()
    values = reader.read()
    after = time.monotonic_ns()
    if values is None:
        if after * 1e-9 - fresh_at > busy_s:
            raise _busy(busy_s)
        return fresh_at
    try:
        ring.append((before + after) // 2, values)
    except OSError as error:
        raise MeterError(
            f"cannot write power readings to the temporary directory: {error.strerror}; "
            "free some space there or set TMPDIR"
        ) from error
    return after * 1e-9


def _busy(seconds: float) -> MeterError:
    return MeterError(
        f"the power sensor answered busy for {seconds:g} s (the chip is suspended or another "
        "process holds the bus); stop other monitors and run again"
    )


def _probe(reader: Reader, longest_s: float) -> dict[str, Any]:
    """Read as fast as sensible until the updates show, or until ``longest_s`` is over.

    The time between updates is the lower quartile of the times between changes, of the slowest
    rail: a change can be late (an equal value hides an update), seldom early. 0 when no rail
    changed often enough to tell. ``steps`` has each rail's smallest change seen, 0 where none was.
    """
    begin = time.monotonic()
    cpu = time.process_time()
    reads, reading_s = 0, 0.0
    previous: tuple[float, ...] | None = None
    changed: list[list[float]] = []
    steps: list[float] = []
    while (now := time.monotonic()) - begin < longest_s:
        values = reader.read()
        reading_s += time.monotonic() - now
        reads += 1
        if values is not None:
            changed = changed or [[] for _ in values]
            steps = steps or [0.0] * len(values)
            for rail, value in enumerate(values):
                step = 0.0 if previous is None else abs(value - previous[rail])
                if step > 0:  # no number (NaN) is no change
                    changed[rail].append(now)
                    steps[rail] = min(steps[rail] or step, step)
            previous = values
            seen = [len(times) for times in changed]
            enough = min(seen) >= _PROBE_CHANGES
            if enough or (now - begin > longest_s / 3 and max(seen) >= _PROBE_CHANGES):
                break
        time.sleep(0.0005)
    if previous is None:
        raise _busy(longest_s)
    periods = []
    for times in changed:
        gaps = sorted(b - a for a, b in itertools.pairwise(times))
        if len(gaps) >= _PROBE_CHANGES // 2:
            periods.append(gaps[len(gaps) // 4])
    return {
        "read_s": reading_s / reads,
        "cpu_s": (time.process_time() - cpu) / reads,
        "period_s": max(periods, default=0.0),
        "steps": steps,
    }


def _cost(reader: Reader) -> dict[str, Any]:
    """Measure again what a reading costs; each is of a fresh value where the driver waits for it.

    The period is that of the readings then, and the steps are those that were seen before.
    """
    begin, cpu = time.monotonic(), time.process_time()
    for _ in range(_HASTENED_READS):
        reader.read()
    read_s = (time.monotonic() - begin) / _HASTENED_READS
    cpu_s = (time.process_time() - cpu) / _HASTENED_READS
    return {"read_s": read_s, "cpu_s": cpu_s, "period_s": read_s}


if __name__ == "__main__":
    sys.exit(main())
