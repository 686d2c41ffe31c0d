"""Recorded arrival times, from CSV or JSON lines, to be replayed."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from pytest_gaitperf.workload import Workload

_COLUMN = re.compile(r"(timestamp|time|arrival|interval)(?:_(s|ms|us|ns))?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_COLUMNS = "timestamp, time, arrival or interval, with _ms, _us or _ns behind it for that unit"
_FEWEST = 2
_SHORTEST_S, _LONGEST_S = 1e-9, 1e9
_PIECE = 4096
_DIGEST_DIGITS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """When requests arrived: ``offsets_ns`` after the first, ascending; at least two of them."""

    offsets_ns: npt.NDArray[np.int64]

    @property
    def digest(self) -> str:
        """What ``Workload.trace`` is: the hash of the times, whatever file holds them."""
        content = self.offsets_ns.astype("<i8").tobytes()
        return f"sha256:{hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]}"

    @property
    def rate(self) -> float:
        """How many requests arrived a second, in the mean."""
        return (len(self.offsets_ns) - 1) / (float(self.offsets_ns[-1]) / 1e9)

    @property
    def seconds(self) -> float:
        """How long it lasts, with a gap of the mean length behind the last arrival."""
        return len(self.offsets_ns) / self.rate


@dataclass(frozen=True, slots=True)
class Replay:
    """The times of a trace (ns after the start), so fast that they are ``rate`` a second.

    Each iteration begins anew; behind its end the trace begins again.
    """

    trace: Trace
    rate: float

    @property
    def seconds(self) -> float:
        """How long a round of the trace takes."""
        return len(self.trace.offsets_ns) / self.rate

    def __iter__(self) -> Iterator[int]:
        # In pieces: the whole of a long trace would hold up the load that asks for its next time.
        offsets, speed = self.trace.offsets_ns, self.trace.rate / self.rate
        round_ns, begins_ns = self.seconds * 1e9, 0.0
        while True:
            for first in range(0, len(offsets), _PIECE):
                piece = offsets[first : first + _PIECE] * speed + begins_ns
                yield from np.rint(piece).astype(np.int64).tolist()
            begins_ns += round_ns


def replay_of(workload: Workload) -> Replay:
    """Return the trace that a workload replays; ConfigurationError where it is another by now."""
    trace = read_trace(Path(workload.trace_file))
    if trace.digest != workload.trace:
        raise ConfigurationError(
            f"{workload.trace_file}: has the arrivals {trace.digest}, and had {workload.trace} "
            "when the run began: run again, and leave the file alone meanwhile"
        )
    return Replay(trace, workload.request_rate)


def read_trace(path: Path) -> Trace:
    """Read a ``.csv`` file, with a line of headings or without, or JSON lines (``.jsonl``).

    The times are in a column ``timestamp``, ``time`` or ``arrival``, of seconds, of the unit in its
    name (``timestamp_ms``) or of dates of ISO 8601; or in ``interval``, the time since the one
    before. Without headings the first column has seconds. Order does not matter. Raises
    ConfigurationError, with the file and the line.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{path}: the trace cannot be read: {why}") from error
    rows = _json_rows(path, text) if path.suffix != ".csv" else _csv_rows(path, text)
    found, column = [], "timestamp"
    try:
        for line, name, value in rows:
            found.append(_seconds(f"{path}:{line}", name, value))
            column = name
    except csv.Error as error:
        raise ConfigurationError(f"{path}: cannot be read as CSV: {error}") from error
    interval = column.lower().startswith("interval")
    times = list(accumulate(found)) if interval else sorted(found)
    span = times[-1] - times[0] if times else 0.0
    if len(times) < _FEWEST or not _SHORTEST_S <= span < _LONGEST_S:
        raise ConfigurationError(
            f"{path}: has {len(times)} arrivals"
            + (", all at once" if len(times) >= _FEWEST and span < _SHORTEST_S else "")
            + ": a trace needs at least two at different times"
        )
    return Trace(np.rint((np.array(times) - times[0]) * 1e9).astype(np.int64))


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, str, Any]]:
    at, name, began = 0, "timestamp", False
    for line, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not row or row[0].startswith("#"):
            continue
        headings, began = not began and not _is_time(row[0]), True
        if headings:
            columns = [cell.strip() for cell in row]
            at = _column(f"{path}:{line}", columns)
            name = columns[at]
            continue
        if at >= len(row):
            raise ConfigurationError(f"{path}:{line}: has no column {name!r}")
        yield line, name, row[at].strip()


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, str, Any]]:
    for line, row in enumerate(text.splitlines(), 1):
        if not row.strip():
            continue
        try:
            entry = parse_json(row)
        except ValueError as error:
            raise ConfigurationError(f"{path}:{line}: is not JSON: {error}") from None
        if isinstance(entry, dict):
            names = list(entry)
            name = names[_column(f"{path}:{line}", names)]
            yield line, name, entry[name]
        else:
            yield line, "timestamp", entry


def _column(where: str, names: list[str]) -> int:
    for at, name in enumerate(names):
        if _COLUMN.fullmatch(name):
            return at
    raise ConfigurationError(
        f"{where}: has no times: one of {', '.join(names) or 'no columns'} must be {_COLUMNS}"
    )


def _is_time(value: str) -> bool:
    try:
        _seconds("", "timestamp", value.strip())
    except ConfigurationError:
        return False
    return True


def _seconds(where: str, name: str, value: Any) -> float:
    match = _COLUMN.fullmatch(name)
    unit = match[2].lower() if match is not None and match[2] else "s"
    try:
        seconds = float(value) * _SECONDS[unit]
    except (TypeError, ValueError, OverflowError):
        seconds = _date(value)
    if not math.isfinite(seconds) or isinstance(value, bool):
        raise ConfigurationError(f"{where}: {value!r:.40} is no time")
    if name.lower().startswith("interval") and seconds < 0:
        raise ConfigurationError(f"{where}: an interval of {seconds:g} s: time runs forward")
    return seconds


def _date(value: Any) -> float:
    """Return the seconds of a date of ISO 8601, NaN for none; what is behind microseconds is cut.

    Without a zone it is taken for UTC.
    """
    text = re.sub(r"(\.\d{6})\d+", r"\1", str(value)).replace("Z", "+00:00")
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp()
