"""The clocks of a Jetson's GPU and memory (EMC) that can be fixed: which, at what, and back.

The GPU's are a devfreq device, the memory's a directory of the firmware (BPMP) in debugfs, as
``jetson_clocks`` of JetPack 4 to 6 uses them. Nothing here has run on a Jetson yet.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.host.nvpmodel import held, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLOCKS_SET = "GAITPERF_CLOCKS"
"""The environment variable by which a run knows the clocks that have been fixed for it."""

_RESTORED = re.compile(
    r"/sys/(class/devfreq/[^/]+/(min|max)_freq|kernel/debug/bpmp/debug/clk/emc/(rate|mrq_rate_locked))"
)
_EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
_GPU = re.compile(r"gpu|g[avpm]\d+b", re.IGNORECASE)
_NEAR_HZ = 1e6


class ClockNotAllowedError(MeasurementError):
    """The power mode does not allow a clock; nothing was changed."""


class Clock(NamedTuple):
    """A clock that is fixed: of the ``gpu`` or the ``emc``, at so many hertz."""

    part: str
    hz: int

    def __str__(self) -> str:
        return f"{self.part.upper()} {self.hz / 1e6:g} MHz"

    @property
    def name(self) -> str:
        """A short name, safe in a file's name: ``gpu612``."""
        return f"{self.part}{self.hz / 1e6:.0f}"


def restorable(values: Mapping[str, str]) -> dict[str, str]:
    """Return what of a note may be written with root's rights: numbers, to files of clocks."""
    return {
        path: value
        for path, value in values.items()
        if _RESTORED.fullmatch(path) and value.isdecimal()
    }


class _Files(NamedTuple):
    """Where a clock is set: files that hold it in hertz, and one that says 1 where it is held."""

    lowest: Path
    highest: Path
    set: tuple[Path, ...]
    held: Path | None
    listed: Path | None


class Clocks:
    """Fixes clocks of the machine below ``root``; writing needs root, or sudo without a password.

    Raises ConfigurationError: a part of those asked for has no clock that can be set.
    """

    def __init__(self, parts: Sequence[str], root: Path = Path("/")) -> None:
        self._files = {part: _gpu(root) if part == "gpu" else _emc(root) for part in parts}

    def chosen(self, part: str, wanted: Sequence[str]) -> list[Clock]:
        """Return the clocks of these megahertz, or for ``all`` each that the GPU has, rising.

        Raises ConfigurationError for one that it does not have.
        """
        files = self._files[part]
        text = "" if files.listed is None else _held(files.listed)
        listed = sorted({int(word) for word in text.split() if word.isdecimal()})
        if list(wanted) == ["all"]:
            if not listed:
                raise ConfigurationError(
                    f"--gaitperf-{part}-clocks: the {part.upper()} of this device does not list "
                    "its clocks: name them, in MHz"
                )
            return [Clock(part, hz) for hz in listed]
        found: dict[Clock, None] = {}
        for word in wanted:
            near = [hz for hz in listed if abs(hz - float(word) * 1e6) < _NEAR_HZ]
            if listed and not near:
                raise ConfigurationError(
                    f"--gaitperf-{part}-clocks: the {part.upper()} of this device has no clock of "
                    f"{word} MHz; it has {', '.join(f'{hz / 1e6:g}' for hz in listed)}"
                )
            found[Clock(part, near[0] if near else round(float(word) * 1e6))] = None
        return list(found)

    def values(self) -> dict[str, str]:
        """Return what the files hold, to be written again with ``write_all``, in this order."""
        found: dict[str, str] = {}
        for files in self._files.values():
            fixed = "1" if files.held is None else _held(files.held)
            if fixed == "1":  # else the rate is the governor's again, whatever it is
                found |= {str(path): _held(path) for path in files.set}
            if files.held is not None:
                found[str(files.held)] = fixed
        return found

    def fix(self, clock: Clock) -> None:
        """Set a clock and see that it is held.

        Raises ClockNotAllowedError; MeasurementError: the device did not take it;
        ConfigurationError: the right is missing.
        """
        files = self._files[clock.part]
        # The GPU's lowest is a wish of the governor's; the memory's is the hardware's.
        lowest, highest = 0 if files.held is None else _number(files.lowest), _number(files.highest)
        if not lowest <= clock.hz <= highest:
            raise ClockNotAllowedError(
                f"{clock} is not allowed in this power mode: {lowest / 1e6:g} to "
                f"{highest / 1e6:g} MHz are"
            )
        values = {} if files.held is None else {files.held: "1"}
        values |= dict.fromkeys(files.set, str(clock.hz))
        problem = write_all({str(path): value for path, value in values.items()})
        if "sudo:" in problem:
            tee = ", ".join(f"/usr/bin/tee {path}" for path in values)
            raise ConfigurationError(
                f"{clock} cannot be set ({problem}): run as root, or allow it in sudoers "
                "(visudo -f /etc/sudoers.d/clocks):\n"
                f"  {os.environ.get('USER', 'USER')} ALL=(root) NOPASSWD: {tee}"
            )
        if problem:
            raise MeasurementError(f"{clock} was not taken: {problem}")


def _gpu(root: Path) -> _Files:
    devices = sorted((root / "sys/class/devfreq").glob("*"))
    found = [one for one in devices if (one / "device/load").exists() or _GPU.search(one.name)]
    if not found:
        raise ConfigurationError(
            f"--gaitperf-gpu-clocks: {root / 'sys/class/devfreq'} has no GPU: its clock can be set "
            "on a Jetson only"
        )
    low, high = found[0] / "min_freq", found[0] / "max_freq"
    # The highest first: where it is refused below the lowest, the second attempt sets it.
    return _Files(low, high, (high, low), None, found[0] / "available_frequencies")


def _emc(root: Path) -> _Files:
    folder = root / _EMC
    files = _Files(
        folder / "min_rate",
        folder / "max_rate",
        (folder / "rate",),
        folder / "mrq_rate_locked",
        None,
    )
    _number(files.highest)
    return files


def _held(path: Path) -> str:
    return held(str(path))


def _number(path: Path) -> int:
    text = _held(path)
    if not text.isdecimal():
        raise ConfigurationError(f"{path} cannot be read, as root or with sudo -n: {text[:200]}")
    return int(text)
