"""Read power from the kernel's text files, one integer each.

Stdlib only: this runs in the sampler's process.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeterError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The chip is suspended, a conversion or another master holds the bus: worth another try.
_BUSY = frozenset({errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})


class DisabledError(MeterError):
    """The channel is switched off (the driver answers ENODATA)."""


def read_integer(path: str) -> int | None:
    """Read one integer, None when the sensor is busy.

    The file is opened anew each time: a driver that was unbound is noticed at once, and a cached
    page is never read.

    Raises
    ------
    MeterError
        The file vanished, is unreadable, or holds something else than an integer.

    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, 64)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _BUSY:
            return None
        if error.errno == errno.ENODATA:
            raise DisabledError(
                f"{path} answers ENODATA: the channel is disabled; write 1 to its in*_enable, or "
                "leave that rail out with --power-rails"
            ) from error
        if isinstance(error, PermissionError):
            remedy = "let this user read it (udev rule, group, or root)"
        elif error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            remedy = "the sensor vanished: check that its driver is still bound (dmesg)"
        else:
            remedy = "check the sensor's driver (dmesg)"
        raise MeterError(f"cannot read the power sensor {path}: {error.strerror}; {remedy}") from (
            error
        )
    try:
        return int(text)
    except ValueError:
        raise MeterError(
            f"the power sensor {path} holds {text!r} instead of an integer; "
            "check the sensor's driver (dmesg), or choose another meter with --power"
        ) from None


class FileReader:
    """Rails whose value is the product of a few files and a scale.

    Parameters
    ----------
    channels
        Per rail the paths of its factors, and what turns their product into watts (signed): for an
        INA3221, mV x mA and 1e-6; for an INA238, uW and 1e-6.

    """

    def __init__(self, channels: Sequence[tuple[Sequence[str], float]]) -> None:
        self._channels = channels

    def read(self) -> tuple[float, ...] | None:
        """Read every rail once, in order; None when one of them is busy."""
        values = []
        for paths, scale in self._channels:
            product = scale
            for path in paths:
                factor = read_integer(path)
                if factor is None:
                    return None
                product *= factor
            values.append(product)
        return tuple(values)
