"""What a reference meter showed of the board's own, kept beside a profile's baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import read_bytes, replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.power.sensor import Sensor

FILE = "power.calibration"
"""The calibration of a profile, beside its baselines: JSON."""
MARK = "calibrated by "


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reference meter showed of the board's own: reference = gain x board + offset.

    ``unseen`` is the share of the reference's mean power that the board did not show. The errors
    are standard errors, ``correlation`` is that of the fit over ``seconds`` of common readings,
    ``lag_s`` how much later the reference's clock is. ``meter`` and ``rails`` (the total's) are the
    board's, ``sensor`` is what besides they rest on, such as shunts.
    """

    gain: float
    gain_error: float
    offset_w: float
    offset_error_w: float
    unseen: float
    board_w: float
    reference_w: float
    correlation: float
    seconds: float
    lag_s: float
    meter: str
    rails: tuple[str, ...]
    sensor: str = ""
    reference: str

    @property
    def text(self) -> str:
        """What is done to the board's figures, in words."""
        return f"{MARK}{self.reference}: x {self.gain:.4g} {self.offset_w:+.3g} W"

    @property
    def label(self) -> str:
        """What is added to the description of the meter that it is applied to."""
        return f", CALIBRATED ({self.text}; {self.unseen:.0%} unseen)"

    def misfit(self, meter: str, rails: tuple[str, ...], sensor: str = "") -> str:
        """Say that it is of another meter than this one, "" where it is not."""
        if (self.meter, self.rails, self.sensor) == (meter, rails, sensor):
            return ""
        other = f"{self.meter} with total {' + '.join(self.rails)}"
        other += f" ({self.sensor})" if self.sensor else ""
        return f"the profile's power calibration is of {other} and is not applied"


def read_calibration(profile: Path) -> Calibration | None:
    """Read the calibration in a profile's directory, None where there is none.

    Raises ConfigurationError: it is damaged.
    """
    path = profile / FILE
    try:
        return msgspec.json.decode(read_bytes(path), type=Calibration)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is no power calibration ({error}): write it anew (gaitperf power calibrate), "
            "or remove it"
        ) from error


def write_calibration(profile: Path, calibration: Calibration) -> Path:
    """Write the calibration into a profile's directory; replace an older one."""
    path = profile / FILE
    content = msgspec.json.format(msgspec.json.encode(calibration), indent=2)
    try:
        replace_file(path, content + b"\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    return path


def corrected(sensor: Sensor, calibration: Calibration) -> Sensor:
    """Return the sensor with the calibration on its total; without it where it is of another."""
    if note := calibration.misfit(sensor.name, sensor.total_rails, sensor.calibration):
        return replace(sensor, notes=(*sensor.notes, note))
    how = calibration.text
    return replace(
        sensor,
        description=sensor.description + calibration.label,
        calibration=f"{sensor.calibration}, {how}" if sensor.calibration else how,
        gain=calibration.gain,
        offset_w=calibration.offset_w,
    )
