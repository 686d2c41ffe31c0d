"""A meter whose sensor is read by the sampler's process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from pytest_gaitperf.deadline import kill
from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.boundary import ended, search_path
from pytest_gaitperf.power.sampler import Ring
from pytest_gaitperf.power.trace import Trace, calibrated, changes, shortest_window_s, uncovered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_gaitperf.power.sensor import Sensor

UPDATES_PROBED = 10
"""The probe at start may take this many of the nominal periods."""

MIN_FRESH = 5
"""Fewer changed readings of a chip than this in a window: it is stuck, or the window too short."""

_PARTS_MARGIN, _PARTS_ROUNDING = 1.05, 0.1
"""Shunts of 1 or 2 % and steps of some 40 mW can put parts so far above what contains them."""

_BLOCKING_S = 0.002
_NOW_S = 1.0
_ANSWER_S = 5.0
_PACKAGE_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class SensorTiming:
    """What the sampler saw of the sensor when it began.

    ``read_s`` and ``cpu_s`` are the wall and CPU time of one reading of all rails; a driver that
    blocks until a fresh conversion has much of the first and little of the second. ``period_s`` is
    the time between updates, 0 when too few were seen to tell. ``interval_s`` is the time between
    the sampler's readings. ``steps`` has each rail's smallest change seen (watts, or joules of a
    counter), 0 where none was: its quantum, as far as a moment tells.
    """

    read_s: float
    cpu_s: float
    period_s: float
    interval_s: float
    steps: Sequence[float]

    @property
    def blocks(self) -> bool:
        """Whether the driver makes a reader wait, for a conversion or for a slow bus."""
        return self.read_s > max(_BLOCKING_S, 2 * self.cpu_s)


class SampledMeter:
    """A Meter over a Sensor, sampled by another process.

    The sampler starts, probes the sensor and waits as soon as the meter is made.

    Raises MeterError: the sensor cannot be read.
    """

    def __init__(self, sensor: Sensor) -> None:
        self.name, self.estimated = sensor.name, sensor.estimated
        self.rails, self.gpu_rails = sensor.rails, sensor.gpu_rails
        self.total_rails, self.calibration = sensor.total_rails, sensor.calibration
        self._sensor = sensor
        self._sampler = _Sampler(sensor)
        self._running = False

    @property
    def description(self) -> str:
        """The sensor in words, with what the probe saw of it."""
        timing, power = self.timing, self._sensor.kind == "power"
        step = max(timing.steps[self.rails.index(rail)] for rail in self.total_rails)
        period = (
            f"updates every {timing.period_s * 1e3:.1f} ms"
            if timing.period_s
            else f"update period not seen, {self._sensor.nominal_period_s * 1e3:g} ms assumed"
        )
        return (
            f"{self._sensor.description}; {period}, a reading "
            f"{'blocks for' if timing.blocks else 'takes'} {timing.read_s * 1e3:.2f} ms, "
            f"one every {timing.interval_s * 1e3:.1f} ms"
            + (f", in steps of {step * 1e3:.3g} mW" if step and power else "")
            + "".join(f"; {note}" for note in self._sensor.notes)
        )

    @property
    def timing(self) -> SensorTiming:
        """What the sampler saw of the sensor."""
        return self._sampler.timing

    @property
    def sampler_pid(self) -> int:
        """The sampler's process, to measure what it costs."""
        return self._sampler.pid

    @property
    def update_period_s(self) -> float:
        """Time between two values that can differ: the sensor's update or the sampler's reading."""
        period = self.timing.period_s or self._sensor.nominal_period_s
        return max(period, self.timing.interval_s)

    @property
    def minimum_window_s(self) -> float:
        """The shortest window that this meter resolves."""
        return shortest_window_s(self.update_period_s)

    def start(self) -> None:
        """Begin sampling; from its return on, time is covered. A sampler that died is renewed."""
        if self._sampler.ended:
            self.close()
            self._sampler = _Sampler(self._sensor)
        if not self._running:
            since_ns = time.monotonic_ns()
            self._sampler.command("start")
            self._running = True
            self._await_update(since_ns)

    def stop(self) -> None:
        """End sampling; time up to the call is covered. What failed is for trace() to say."""
        if self._running and not self._sampler.ended:
            self._await_update(time.monotonic_ns())
            with contextlib.suppress(MeterError):
                self._sampler.command("stop")
        self._running = False

    def close(self) -> None:
        """End the sampler's process and drop its readings."""
        self._running = False
        self._sampler.close()

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Give the readings that cover [start_ns, end_ns], waiting briefly for those past the end.

        Raises MeterError: the sampler failed, it was not sampling for the whole window, or a chip
        showed fewer than ``MIN_FRESH`` new values.
        """
        patience = time.monotonic() + self._patience_s
        while True:
            if self._sampler.ended:
                raise self._sampler.failure()
            trace = self._read(start_ns - self._reach_ns, end_ns + self._reach_ns)
            reason = uncovered(trace, start_ns, end_ns, self._awaited(end_ns))
            if reason is None:
                break
            if not self._running or time.monotonic() > patience:
                raise MeterError(
                    f"{self.name} did not cover a window of {(end_ns - start_ns) * 1e-9:.2f} s: "
                    f"{reason}; start the meter before the load and stop it after, and check that "
                    "the machine is not overloaded"
                )
            time.sleep(self.timing.interval_s)
        self._check(trace, start_ns, end_ns)
        return trace.of(
            rail
            for rail in trace.rails
            if rail in self.total_rails or uncovered(trace, start_ns, end_ns, (rail,)) is None
        )

    def power_now_w(self) -> float | None:
        """Return the mean power of the total over about the last second, in watts.

        At once, from what the sampler has written; None where that is too little, or it has ended.
        """
        if self._sampler.ended:
            return None
        now_ns = time.monotonic_ns()
        since_ns = now_ns - round(1e9 * max(_NOW_S, 4 * self.update_period_s))
        trace = self._read(since_ns, now_ns)
        if not trace.times_ns.size or trace.times_ns[-1] < since_ns:
            return None
        total_w = 0.0
        for rail in map(trace.rails.index, self.total_rails):
            values = trace.values[:, rail]
            if self._sensor.kind == "power":
                total_w += float(values.mean())
                continue
            updates = changes(trace, rail)
            if updates.size <= 1:  # it takes two
                return None
            first, last = updates[0], updates[-1]
            seconds = float(trace.times_ns[last] - trace.times_ns[first]) * 1e-9
            total_w += float(values[last] - values[first]) / seconds
        return total_w

    def _await_update(self, since_ns: int) -> None:
        """Wait for a reading since then, of a counter until it has moved: what is covered.

        Most sensors are read at the command itself; a service sends when it likes. One that stays
        as it is is for trace() to complain about.
        """
        if self._sensor.kind == "energy":
            since_ns = time.monotonic_ns()
        patience = time.monotonic() + self._patience_s
        while time.monotonic() < patience and not self._sampler.ended:
            trace = self._read(since_ns, time.monotonic_ns())
            if uncovered(trace, time.monotonic_ns(), since_ns, self._awaited(since_ns)) is None:
                break
            time.sleep(self.timing.interval_s)

    def _awaited(self, since_ns: int) -> tuple[str, ...]:
        """Name the rails that must have been read since a time, none for all.

        A counter beside the total may rest: it is not waited for as long.
        """
        early = self._running and time.monotonic_ns() < since_ns + self._reach_ns
        return () if early else self.total_rails

    @property
    def _reach_ns(self) -> int:
        return round(1e9 * max(0.2, 4 * self.update_period_s))

    @property
    def _patience_s(self) -> float:
        return max(2.0, 10 * self.update_period_s)

    def _read(self, start_ns: int, end_ns: int) -> Trace:
        layout = np.dtype([("time", "<i8"), ("values", "<f8", (len(self.rails),))])
        records = np.frombuffer(self._sampler.ring.between(start_ns, end_ns), dtype=layout)
        trace = Trace(
            self.rails,
            np.ascontiguousarray(records["time"], dtype=np.int64),
            records["values"],
            self._sensor.kind,
            tuple(self._sensor.chips.values()),
        )
        # A rail beside the total that could not be read all the time has no energy.
        read = zip(self.rails, np.isfinite(trace.values).all(axis=0), strict=True)
        trace = trace.of(rail for rail, always in read if always or rail in self.total_rails)
        return calibrated(trace, self.total_rails, self._sensor.gain, self._sensor.offset_w)

    def _check(self, trace: Trace, start_ns: int, end_ns: int) -> None:
        window_s = (end_ns - start_ns) * 1e-9
        first = int(np.searchsorted(trace.times_ns, start_ns, "right")) - 1
        last = int(np.searchsorted(trace.times_ns, end_ns, "left"))
        for chip, rails in self._sensor.chips.items():
            if not any(rail in self.total_rails for rail in rails):
                continue
            columns = [trace.rails.index(rail) for rail in rails if rail in trace.rails]
            moved = np.diff(trace.values[first : last + 1, columns], axis=0) != 0
            fresh = int(moved.any(axis=1).sum())
            if fresh < MIN_FRESH:
                raise MeterError(
                    f"{chip}: {fresh} new values among {last - first} readings of a window of "
                    f"{window_s:.2f} s (at least {MIN_FRESH} are needed): the sensor is stuck, or "
                    f"the window is shorter than the {self.minimum_window_s:.2f} s it resolves"
                )
        self._check_parts(trace.rails, trace.values[first : last + 1])

    def _check_parts(self, rails: Sequence[str], values: npt.NDArray[np.float64]) -> None:
        """Raise MeterError where parts of the total drew more than it: that cannot be."""
        levels = values.mean(axis=0) if self._sensor.kind == "power" else values[-1] - values[0]
        level = dict(zip(rails, levels.tolist(), strict=True))
        total = sum(level[rail] for rail in self.total_rails)
        parts = sum(level.get(rail, 0.0) for rail in self._sensor.parts)
        unit = "W" if self._sensor.kind == "power" else "J"
        if parts > _PARTS_MARGIN * total + _PARTS_ROUNDING:
            raise MeterError(
                f"{self.name}: {' + '.join(self._sensor.parts)} took {parts:.2f} {unit}, more than "
                f"the {total:.2f} {unit} of {' + '.join(self.total_rails)}, which contains them: "
                "its shunt (shuntN_resistor) or the labels are wrong, or its channel is stuck; "
                "name rails that are right with --power-rails"
            )


class _Sampler:
    """The sampler's process, seen from its parent."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        self._buffer = b""
        self._readings = tempfile.TemporaryFile(prefix="gaitperf-power-")  # noqa: SIM115 - close()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - close()
        descriptor = self._readings.fileno()
        self.ring = Ring(descriptor, len(sensor.rails))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_gaitperf.power.sampler", str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=(descriptor,),
            # Where this very package is found, and no file of the user's shadows a module.
            cwd=_PACKAGE_ROOT,
            # Out of the terminal's group: Ctrl-C is for the parent to handle.
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        plan = {
            "reader": sensor.reader,
            "arguments": dict(sensor.arguments),
            "rails": len(sensor.rails),
            "probe_s": UPDATES_PROBED * sensor.nominal_period_s,
            "period_s": sensor.nominal_period_s,
            "path": search_path(),
        }
        try:
            self._send(json.dumps(plan))
            self.timing = SensorTiming(**self._answer("ready", 4 * _ANSWER_S))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        # One that was closed while it waited in the kernel for a driver may live on.
        return self._stdin.closed or self._process.poll() is not None

    def command(self, word: str) -> None:
        """Send a command and wait until it is done; one that fails ends the process."""
        try:
            self._send(word)
            self._answer("sampling", _ANSWER_S)
        except MeterError:  # it hangs: the next start makes another one
            self.close()
            raise

    def _send(self, line: str) -> None:
        try:
            self._stdin.write(line.encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            raise self.failure() from None

    def _answer(self, key: str, timeout_s: float) -> dict[str, Any]:
        descriptor = self._stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1e3):
                raise MeterError(
                    f"the sampler of {self._sensor.name} did not answer in {timeout_s:g} s: a read "
                    f"of {self._sensor.description} hangs; check the sensor's driver (dmesg)"
                )
            chunk = os.read(descriptor, 4096)
            if not chunk:
                raise self.failure()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        if "error" in message:
            raise MeterError(message["error"])
        answer = message[key]
        return answer if isinstance(answer, dict) else {}

    def failure(self) -> MeterError:
        """Say why the process ended: its own words, its last line on stderr, or the signal."""
        if self._stdout.closed:
            return MeterError(f"the meter {self._sensor.name} was closed; start it again")
        code = self._process.wait()
        for line in (self._buffer + self._stdout.read()).splitlines():
            if "error" in (message := json.loads(line)):
                self._buffer = line + b"\n"
                return MeterError(message["error"])
        self._stderr.seek(0)
        how = ended(code, self._stderr.read())
        return MeterError(
            f"the power sampler of {self._sensor.name} {how}; the energy of this cell is lost, "
            "measure it again"
        )

    def close(self) -> None:
        """End the process: by closing its stdin, by force if a read hangs."""
        if not self._stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._stdin.close()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                kill(self._process)
            self._stdout.close()
            self._readings.close()
            self._stderr.close()
