"""A stretch of sensor readings: kept in a file, read back, and replayed in place of a sensor.

The file of ``--power-trace`` is a NumPy ``.npz`` (a zip of arrays, compressed, read without pickle:
nothing in it is executed) with

- ``times_ns`` int64[n], CLOCK_MONOTONIC of the machine that recorded it, not decreasing;
- ``values`` float64[n, rails], watts, or joules of a counter;
- ``edges_ns`` int64[m], the edges of the measured windows on the same clock;
- ``about``, a JSON text: ``format`` (1), ``meter``, ``description``, ``rails``, ``total_rails``,
  ``gpu_rails``, ``kind`` ("power" or "energy"), ``estimated``, ``label``, ``calibration``.
"""

from __future__ import annotations

import io
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from pytest_gaitperf.arrays import MOST_UNPACKED, read_npz
from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.files import parse_json, read_bytes, replace_file
from pytest_gaitperf.power.sensor import Kind, Request, chosen_rails

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1
SUFFIX = ".power.npz"
_LARGEST: dict[Kind, tuple[float, str]] = {"power": (1e9, "W"), "energy": (1e17, "J")}
"""No sensor gives more watts (a power station's), nor a counter more joules (64 bits of mJ)."""
_LATEST_NS = 1 << 62
_ARRAYS = {"times_ns": (np.int64, 1), "values": (np.float64, 2), "edges_ns": (np.int64, 1)}

_UPDATES_PER_WINDOW = 20
_SHORTEST_WINDOW_S = 0.5


@dataclass(frozen=True, slots=True)
class Trace:
    """Readings of a meter's rails.

    ``times_ns`` is int64[n], CLOCK_MONOTONIC, non-decreasing: the midpoint of each read.
    ``values`` is float64[n, rails]: watts (signed) where ``kind`` is "power"; where it is
    "energy", a cumulative counter in joules that never wraps (the reader unwraps it). ``chips``
    are the rails that stand still together when a chip is stuck, also such as this trace lacks;
    without them, all do.
    """

    rails: tuple[str, ...]
    times_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    kind: Kind
    chips: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.values.shape != (self.times_ns.size, len(self.rails)):
            raise ValueError(
                f"a trace of {self.times_ns.size} times and {len(self.rails)} rails needs values "
                f"of that shape, not {self.values.shape}"
            )
        if np.any(np.diff(self.times_ns) < 0):
            raise ValueError("a trace's times must not decrease")

    def of(self, rails: Iterable[str]) -> Trace:
        """Return the trace of some of its rails."""
        kept = tuple(rails)
        columns = [self.rails.index(rail) for rail in kept]
        return replace(self, rails=kept, values=np.ascontiguousarray(self.values[:, columns]))


def shortest_window_s(update_period_s: float) -> float:
    """Return the shortest window that is resolved: its edges are uncertain by part of an update."""
    return max(_SHORTEST_WINDOW_S, _UPDATES_PER_WINDOW * update_period_s)


def changes(trace: Trace, rail: int) -> npt.NDArray[np.intp]:
    """Give the indices of the readings of one rail that differ from the reading before."""
    return np.flatnonzero(np.diff(trace.values[:, rail])) + 1


def calibrated(trace: Trace, rails: tuple[str, ...], gain: float, offset_w: float) -> Trace:
    """Give the sum of some rails a gain and an offset, the latter to each in equal parts."""
    if (gain, offset_w) == (1.0, 0.0) or not trace.times_ns.size:
        return trace
    values, part_w = trace.values.copy(), offset_w / len(rails)
    for column in map(trace.rails.index, rails):
        offset: npt.NDArray[np.float64] | float = part_w
        if trace.kind == "energy":  # what a counter adds, it adds at its updates
            at = np.zeros(trace.times_ns.size, dtype=np.intp)
            moved = changes(trace, column)
            at[moved] = moved
            offset = part_w * trace.times_ns[np.maximum.accumulate(at)] * 1e-9
        values[:, column] = gain * values[:, column] + offset
    return replace(trace, values=values)


def uncovered(trace: Trace, start_ns: int, end_ns: int, rails: tuple[str, ...] = ()) -> str | None:
    """Say why the trace cannot give the energy of [start_ns, end_ns], None when it can.

    Power needs a reading at or before the start and one at or after the end. A counter needs an
    *update* of each of ``rails`` (all, if empty) on either side: between updates it repeats an old
    value.
    """
    for name in rails or trace.rails:
        if trace.kind == "energy":
            moved = changes(trace, trace.rails.index(name))
            times, what = trace.times_ns[moved], f"an update of {name}"
        else:
            times, what = trace.times_ns, "a reading"
        if times.size == 0:
            return f"it has not {what}"
        if times[0] > start_ns:
            return f"{what} is missing before the start (first {_s(times[0] - start_ns)} s after)"
        if times[-1] < end_ns:
            return f"{what} is missing after the end (last {_s(end_ns - times[-1])} s before)"
    return None


def _s(nanoseconds: float) -> str:
    return f"{nanoseconds * 1e-9:.3f}"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded beside the readings; ``label`` says of what they are.

    ``calibration`` is what besides the rails they rest on, such as shunts, "" where nobody tells.
    """

    format: int = FORMAT
    meter: str
    description: str
    rails: tuple[str, ...]
    total_rails: tuple[str, ...]
    gpu_rails: tuple[str, ...]
    kind: Kind
    estimated: bool
    label: str
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace with what is needed to integrate it again.

    ``edges_ns`` (int64[m]) are the edges of the measured windows.
    """

    trace: Trace
    edges_ns: npt.NDArray[np.int64]
    about: About


def save(directory: Path, recording: Recording, number: int = 1) -> Path:
    """Write the recording to ``directory``, made if missing, under its label; replace an old one.

    It is named for its label and for ``number``, where that is more than 1: the recordings of one
    run must not replace each other. Raises ConfigurationError when it cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(
        content,
        times_ns=recording.trace.times_ns,
        values=recording.trace.values,
        edges_ns=recording.edges_ns,
        about=np.array(msgspec.json.encode(recording.about).decode()),
    )
    label = recording.about.label
    path = directory / file_name(label if number == 1 else f"{label}.{number}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.getvalue())
    except OSError as error:
        raise ConfigurationError(
            f"--power-trace: cannot write {path}: {error.strerror}; choose a directory that this "
            "user may write to"
        ) from error
    return path


def file_name(label: str) -> str:
    """Return a file name for a label such as a cell's id, safe on every file system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", label) + SUFFIX


def load(path: Path) -> Recording:
    """Read a recording back.

    Raises ConfigurationError where the file cannot be read, or is none of ours, with what is wrong.
    """
    try:
        return _recording(read_bytes(path, MOST_UNPACKED))
    except OSError as error:
        raise ConfigurationError(f"cannot read the power trace {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is not a power trace of --power-trace: {error}; record it again"
        ) from error


def _recording(content: bytes) -> Recording:
    """Check what a file holds; raise ValueError for the first fault."""
    try:
        arrays = read_npz(content)
    except ValueError as error:
        raise ValueError("it is no .npz file, or damaged, or holds pickled objects") from error
    for name, (kind, dimensions) in _ARRAYS.items():
        array = arrays.get(name)
        if array is None:
            raise ValueError(f"the array {name} is missing")
        if array.dtype != kind or array.ndim != dimensions:
            raise ValueError(
                f"{name} is {array.dtype} with {array.ndim} dimensions instead of "
                f"{np.dtype(kind)} with {dimensions}"
            )
    about = _about(arrays.get("about"))
    trace = Trace(about.rails, arrays["times_ns"], arrays["values"], about.kind)
    recording = Recording(trace, arrays["edges_ns"], about)
    check(recording)
    return recording


def check(recording: Recording) -> None:
    """Raise ValueError for the first thing in a recording that no sensor and no clock gives."""
    trace, edges_ns = recording.trace, recording.edges_ns
    values, times_ns = trace.values, trace.times_ns
    largest, unit = _LARGEST[trace.kind]
    # The bound on times also keeps differences, and a replay's move to another clock, in 64 bits.
    faults = {
        "a value is not finite": not np.all(np.isfinite(values)),
        f"a value is larger than {largest:.0e} {unit}, which no sensor gives": np.any(
            np.abs(values) > largest
        ),
        "a time lies before the machine's start, or 146 years and more after it": any(
            np.any((each < 0) | (each >= _LATEST_NS)) for each in (times_ns, edges_ns)
        ),
        "its readings span no time": times_ns.size > 1 and times_ns.min() == times_ns.max(),
        "the windows' edges do not increase": np.any(np.diff(edges_ns) <= 0),
    }
    for fault, found in faults.items():
        if found:
            raise ValueError(fault)


def _about(array: npt.NDArray[Any] | None) -> About:
    if array is None or array.dtype.kind != "U" or array.ndim:
        raise ValueError("the text about is missing")
    try:
        about = msgspec.convert(parse_json(array.item()), About)
    except (ValueError, msgspec.ValidationError) as error:
        raise ValueError(f"about: {error}") from error
    if about.format != FORMAT:
        raise ValueError(f"its format is {about.format}, this version reads {FORMAT}")
    unknown = {*about.total_rails, *about.gpu_rails} - {*about.rails}
    if unknown:
        raise ValueError(f"about names {', '.join(sorted(unknown))}, which is no rail of it")
    return about


class ReplayMeter:
    """A Meter that plays a recording from each ``start()`` on: ``--power=replay:FILE``.

    A window as long after ``start()`` as it was when recorded gives the same joules. They are those
    of the recorded run, not of the present one, so the meter is marked *estimated*.
    """

    estimated = True

    def __init__(self, recording: Recording, rails: tuple[str, ...], source: str) -> None:
        trace = recording.trace
        self.name = "replay"
        self.rails = trace.rails
        self.total_rails = rails or recording.about.total_rails
        self.gpu_rails = recording.about.gpu_rails
        # What is covered begins at the first reading, of a counter at the first update.
        self._origin_ns = max(
            int(trace.times_ns[_first(trace, rail)]) for rail in range(len(trace.rails))
        )
        self.update_period_s = float(np.median(np.diff(trace.times_ns))) * 1e-9
        self.minimum_window_s = shortest_window_s(self.update_period_s)
        self._recording, self._source = recording, source
        self._shift_ns: int | None = None

    @property
    def description(self) -> str:
        """The recording in words."""
        times_ns, about = self._recording.trace.times_ns, self._recording.about
        return (
            f"ESTIMATED: {(times_ns[-1] - times_ns[0]) * 1e-9:.1f} s recorded in {self._source} of "
            f"{about.label} ({about.description})"
        )

    def start(self) -> None:
        """Begin the recording anew, at this moment."""
        self._shift_ns = time.monotonic_ns() - self._origin_ns

    def stop(self) -> None:
        """Do nothing: the recording has its end."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Give the recording, moved onto the clock as it was at ``start()``.

        Raises MeterError when it does not cover the window.
        """
        if self._shift_ns is None:
            raise MeterError("the replay was not started; start the meter before the load")
        trace = self._recording.trace
        moved = replace(trace, times_ns=trace.times_ns + self._shift_ns)
        reason = uncovered(moved, start_ns, end_ns)
        if reason is not None:
            raise MeterError(
                f"the recording {self._source} does not cover a window of "
                f"{(end_ns - start_ns) * 1e-9:.2f} s: {reason}; record a longer one"
            )
        return moved


def open_replay(request: Request) -> ReplayMeter:
    """Open the recording that the request names.

    Raises ConfigurationError: no file is named, it cannot be read, is too short, or lacks a chosen
    rail.
    """
    if not request.argument:
        raise ConfigurationError(
            "--power=replay needs a file that --power-trace recorded, as in "
            "--power=replay:traces/CELL.power.npz"
        )
    recording = load(Path(request.argument))
    trace = recording.trace
    if any(_first(trace, rail) >= trace.times_ns.size - 1 for rail in range(len(trace.rails))):
        raise ConfigurationError(
            f"{request.argument}: {trace.times_ns.size} readings are too few to replay"
        )
    rails = chosen_rails(request.rails, trace.rails)
    return ReplayMeter(recording, rails, request.argument)


def _first(trace: Trace, rail: int) -> int:
    """Give the index of a rail's first reading that can begin a window."""
    if trace.kind == "power":
        return 0
    moved = changes(trace, rail)
    return int(moved[0]) if moved.size else trace.times_ns.size
