"""Read power from the kernel's text files, one integer each.

Stdlib only: this runs in the sampler's process.
"""

from __future__ import annotations

import errno
import math
import os
import time
from itertools import cycle
from math import prod
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeterError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The chip is suspended, a conversion or another master holds the bus: worth another try.
_BUSY = frozenset({errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})


_RESET_WITHIN_S = 1.0


class DisabledError(MeterError):
    """The channel is switched off (the driver answers ENODATA)."""


class IntegerFile:
    """A file of the kernel's that holds one integer, kept open and read anew each time.

    Opening costs several times what reading does. A driver that is unbound makes the read fail;
    ``refresh`` notices a plain file that was removed or replaced.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def read(self) -> int | None:
        """Read the integer, None when the sensor is busy.

        Raises MeterError: the file vanished, is unreadable, or holds something else than an
        integer.
        """
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            text = os.pread(self._descriptor, 64, 0)
        except OSError as error:
            if error.errno in _BUSY:
                return None
            self.close()
            raise _explained(self._path, error) from error
        try:
            return int(text)
        except ValueError:
            raise MeterError(
                f"the power sensor {self._path} holds {text!r} instead of an integer; "
                "check the sensor's driver (dmesg), or choose another meter with --power"
            ) from None

    def refresh(self) -> None:
        """Let the next read open the file again if what is open has no name any more."""
        if self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0:
            self.close()

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _explained(path: str, error: OSError) -> MeterError:
    if error.errno == errno.ENODATA:
        return DisabledError(
            f"{path} answers ENODATA: the channel is disabled; write 1 to its in*_enable, or "
            "leave that rail out with --power-rails"
        )
    if isinstance(error, PermissionError):
        remedy = "let this user read it (udev rule, group, or root)"
    elif error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        remedy = "the sensor vanished: check that its driver is still bound (dmesg)"
    else:
        remedy = "check the sensor's driver (dmesg)"
    return MeterError(f"cannot read the power sensor {path}: {error.strerror}; {remedy}")


class FileReader:
    """Rails whose value is the product of a few files and a scale.

    - ``channels``: per rail the paths of its factors, and what turns their product into watts
      (signed): for an INA3221, mV x mA and 1e-6; for an INA238, uW and 1e-6. The last factor is the
      one that moves with the load.
    - ``total``: the rails, by position, that must be readable (all, if empty), and that ``hasten``
      reads each time.
    """

    def __init__(
        self, channels: Sequence[tuple[Sequence[str], float]], total: Sequence[int] = ()
    ) -> None:
        self._channels = [
            ([IntegerFile(path) for path in paths], scale) for paths, scale in channels
        ]
        self._files = [file for files, _ in self._channels for file in files]
        self._round = cycle(self._files)
        self._factors: dict[IntegerFile, float] = dict.fromkeys(self._files, 0)
        self._each_time = tuple(self._files)
        self._total = total
        needed = total or range(len(channels))
        self._needed = {file for rail in needed for file in self._channels[rail][0]}
        self._in_turn = cycle([tuple[IntegerFile, ...]()])

    def hasten(self) -> None:
        """Read less at a time from now on, and so more often.

        Each time only what moves with the load of the total's rails, and one of the other files in
        turn, whose last value stands meanwhile: a voltage, a rail outside the total. To be called
        after a ``read`` of everything.
        """
        each_time = tuple(self._channels[rail][0][-1] for rail in self._total)
        others = [(file,) for file in self._files if file not in each_time]
        if each_time and others:
            self._each_time, self._in_turn = each_time, cycle(others)

    def read(self) -> tuple[float, ...] | None:
        """Read every rail once, in order; None when one of the total's is busy.

        NaN stands for another one that cannot be read.
        """
        next(self._round).refresh()  # one file a reading: the check costs as much as a read
        for file in self._each_time + next(self._in_turn):
            needed = file in self._needed
            try:
                factor = self.factor(file)
            except MeterError:
                if needed:
                    raise
                factor = None
            if factor is None and needed:
                return None
            self._factors[file] = math.nan if factor is None else factor
        return tuple(
            prod((self._factors[file] for file in files), start=scale)
            for files, scale in self._channels
        )

    def factor(self, file: IntegerFile) -> int | None:
        """Read one file, None when it is busy."""
        return file.read()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class RaplReader:
    """Every domain's energy in joules, unwrapped.

    - ``domains``: per rail the directory of its domain and the counter's range in microjoules.
    - ``total``: the rails, by position, that must be readable.
    """

    def __init__(self, domains: Sequence[tuple[str, int]], total: Sequence[int]) -> None:
        self._domains = [
            (IntegerFile(f"{directory}/energy_uj"), span, directory) for directory, span in domains
        ]
        self._total = total
        self._last: list[int | None] = [None] * len(domains)
        self._sums = [0] * len(domains)
        self._read_at_s = -math.inf

    def read(self) -> tuple[float, ...] | None:
        """Read every domain once, None when one of the total's is busy.

        NaN stands for another one that cannot be read. Raises MeterError when a counter of the
        total's fell back without having reached its end.
        """
        counts: list[int | None] = []
        now_s = time.monotonic()
        for number, (file, span, directory) in enumerate(self._domains):
            try:
                count = file.read()
                self._check_reset(number, count, span, directory, now_s)
            except MeterError:
                if number in self._total:
                    raise
                count = None
            if count is None and number in self._total:
                return None
            counts.append(count)
        for number, (_, span, _) in enumerate(self._domains):
            count, last = counts[number], self._last[number]
            if count is not None and last is not None:
                self._sums[number] += (count - last) % (span + 1)
        self._last, self._read_at_s = counts, now_s
        return tuple(
            math.nan if count is None else total * 1e-6
            for count, total in zip(counts, self._sums, strict=True)
        )

    def _check_reset(
        self, number: int, count: int | None, span: int, directory: str, now_s: float
    ) -> None:
        last = self._last[number]
        if count is None or last is None or now_s - self._read_at_s >= _RESET_WITHIN_S:
            return
        # Half the range takes minutes at any power a package can draw.
        if (count - last) % (span + 1) > span // 2:
            raise MeterError(
                f"the energy counter {directory}/energy_uj fell from {last} to {count} without "
                f"having reached its end at {span}: it was reset; measure this cell again"
            )
