"""Keep a power trace, and read it back to the same joules.

The file is a NumPy ``.npz`` (a zip of arrays, compressed, read without pickle: nothing in it is
executed) with

- ``times_ns`` int64[n], CLOCK_MONOTONIC of the machine that recorded it, not decreasing;
- ``values`` float64[n, rails], watts, or joules of a counter;
- ``edges_ns`` int64[m], the edges of the measured windows on the same clock;
- ``about``, a JSON text: ``format`` (1), ``meter``, ``description``, ``rails``, ``total_rails``,
  ``gpu_rails``, ``kind`` ("power" or "energy"), ``estimated``, ``label``.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_gaitperf.arrays import read_npz
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.power.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.trace import Kind

FORMAT = 1
SUFFIX = ".power.npz"
_LARGEST: dict[Kind, float] = {"power": 1e9, "energy": 1e17}
"""No sensor gives more watts (a power station's), nor a counter more joules (64 bits of mJ)."""
_LATEST_NS = 1 << 62
_ARRAYS = {"times_ns": (np.int64, 1), "values": (np.float64, 2), "edges_ns": (np.int64, 1)}


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace with what is needed to integrate it again.

    ``edges_ns`` (int64[m]) are the edges of the measured windows; ``label`` says of what.
    """

    trace: Trace
    meter: str
    description: str
    total_rails: tuple[str, ...]
    gpu_rails: tuple[str, ...]
    estimated: bool
    edges_ns: npt.NDArray[np.int64]
    label: str


def recording_of(meter: Meter, trace: Trace, edges_ns: Sequence[int], label: str) -> Recording:
    """Join a meter's trace with what the meter says of itself."""
    return Recording(
        trace=trace,
        meter=meter.name,
        description=meter.description,
        total_rails=meter.total_rails,
        gpu_rails=meter.gpu_rails,
        estimated=meter.estimated,
        edges_ns=np.asarray(edges_ns, dtype=np.int64),
        label=label,
    )


def file_name(label: str) -> str:
    """Give a file name for a label such as a cell's id, safe on every file system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", label) + SUFFIX


def save(directory: Path, recording: Recording, number: int = 1) -> Path:
    """Write the recording to ``directory``, made if missing, under its label; replace an old one.

    It is named for its label and for ``number``, where that is more than 1: the recordings of one
    run must not replace each other. Raises ConfigurationError when it cannot be written.
    """
    label = recording.label if number == 1 else f"{recording.label}.{number}"
    path = directory / file_name(label)
    trace = recording.trace
    about = {
        "format": FORMAT,
        "meter": recording.meter,
        "description": recording.description,
        "rails": trace.rails,
        "total_rails": recording.total_rails,
        "gpu_rails": recording.gpu_rails,
        "kind": trace.kind,
        "estimated": recording.estimated,
        "label": recording.label,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".trace-", delete=False) as file:
            try:
                np.savez_compressed(
                    file,
                    times_ns=trace.times_ns,
                    values=trace.values,
                    edges_ns=recording.edges_ns,
                    about=np.array(json.dumps(about)),
                )
                file.flush()
                Path(file.name).chmod(0o644)
                os.replace(file.name, path)  # noqa: PTH105 - one step, on one file system
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ConfigurationError(
            f"--power-trace: cannot write {path}: {error.strerror}; choose a directory that this "
            "user may write to"
        ) from error
    return path


def load(path: Path) -> Recording:
    """Read a recording back.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or is none of ours: says what is wrong with it.

    """
    try:
        arrays = read_npz(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"cannot read the power trace {path}: {error.strerror}") from error
    except ValueError as error:
        raise _wrong(path, "it is no .npz file, or damaged, or holds pickled objects") from error
    for name, (kind, dimensions) in _ARRAYS.items():
        array = arrays.get(name)
        if array is None:
            raise _wrong(path, f"the array {name} is missing")
        if array.dtype != kind or array.ndim != dimensions:
            raise _wrong(
                path,
                f"{name} is {array.dtype} with {array.ndim} dimensions instead of "
                f"{np.dtype(kind)} with {dimensions}",
            )
    about = _about(path, arrays.get("about"))
    fault = _fault_of_numbers(arrays, about["kind"])
    if fault:
        raise _wrong(path, fault)
    rails = tuple(about["rails"])
    try:
        trace = Trace(rails, arrays["times_ns"], arrays["values"], about["kind"])
    except ValueError as error:
        raise _wrong(path, str(error)) from error
    return Recording(
        trace=trace,
        meter=about["meter"],
        description=about["description"],
        total_rails=tuple(about["total_rails"]),
        gpu_rails=tuple(about["gpu_rails"]),
        estimated=about["estimated"],
        edges_ns=arrays["edges_ns"],
        label=about["label"],
    )


def _about(path: Path, array: npt.NDArray[Any] | None) -> dict[str, Any]:
    if array is None or array.dtype.kind != "U" or array.ndim:
        raise _wrong(path, "the text about is missing")
    try:
        about = parse_json(array.item())
    except ValueError as error:
        raise _wrong(path, f"about is no JSON ({error})") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise _wrong(path, f"its format is {found!r}, this version reads {FORMAT}")
    fault = _fault(about)
    if fault:
        raise _wrong(path, f"about.{fault}")
    return about


def _fault_of_numbers(arrays: dict[str, npt.NDArray[Any]], kind: Kind) -> str | None:
    values, times_ns = arrays["values"], arrays["times_ns"]
    if not np.all(np.isfinite(values)):
        return "a value is not finite"
    if np.any(np.abs(values) > _LARGEST[kind]):
        unit = "W" if kind == "power" else "J"
        return f"a value is larger than {_LARGEST[kind]:.0e} {unit}, which no sensor gives"
    # Also keeps differences, and the replay's move onto another clock, within 64 bits.
    if any(np.any((each < 0) | (each >= _LATEST_NS)) for each in (times_ns, arrays["edges_ns"])):
        return "a time lies before the machine's start, or 146 years and more after it"
    if times_ns.size > 1 and times_ns.min() == times_ns.max():
        return "its readings span no time"
    if np.any(np.diff(arrays["edges_ns"]) <= 0):
        return "the windows' edges do not increase"
    return None


def _fault(about: dict[str, Any]) -> str | None:
    for name in ("meter", "description", "label"):
        if not isinstance(about.get(name), str):
            return f"{name} is no text"
    for name in ("rails", "total_rails", "gpu_rails"):
        value = about.get(name)
        if not isinstance(value, list) or not all(isinstance(rail, str) for rail in value):
            return f"{name} is no list of rails"
        unknown = set(value) - set(about["rails"])
        if unknown:
            return f"{name} names {', '.join(sorted(unknown))}, no rail of it"
    if about.get("kind") not in ("power", "energy"):
        return f"kind is {about.get('kind')!r} instead of power or energy"
    if not isinstance(about.get("estimated"), bool):
        return "estimated is not true or false"
    return None


def _wrong(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a power trace of --power-trace: {what}; record it again"
    )
