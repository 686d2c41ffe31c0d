"""How far the device is from the temperatures at which it slows down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.host.files import number, text
from pytest_gaitperf.host.gpu import slowdown_temperatures_c

if TYPE_CHECKING:
    from pytest_gaitperf.host.state import DeviceState

_SLOWING = frozenset({"passive", "hot", "critical"})
_LOWEST_TRIP_MC = 1000
"""Trip points at or below 1 degree (in thousandths) are the firmware's way to say: none."""


class Headroom(NamedTuple):
    """A zone or GPU, its temperature, and the one at which the kernel or the hardware slows it."""

    zone: str
    temperature_c: float
    limit_c: float

    @property
    def left_c(self) -> float:
        """Degrees that are left."""
        return self.limit_c - self.temperature_c


def headrooms(state: DeviceState, *, root: Path = Path("/")) -> list[Headroom]:
    """Give the headroom of every zone below ``root`` with a trip point, and of every GPU.

    The lowest passive, hot or critical trip point counts; an active one only turns a fan on
    (Linux, Documentation/driver-api/thermal/sysfs-api.rst).
    """
    found = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        now_mc = number(zone / "temp")
        trips_mc = [
            trip
            for kind in zone.glob("trip_point_*_type")
            if text(kind) in _SLOWING
            and (trip := number(kind.with_name(kind.name.replace("_type", "_temp")))) is not None
            and trip > _LOWEST_TRIP_MC
        ]
        if now_mc is not None and trips_mc:
            name = text(zone / "type") or zone.name
            found.append(Headroom(name, now_mc / 1e3, min(trips_mc) / 1e3))
    limits_c = slowdown_temperatures_c() if root == Path("/") else {}
    for name, gpu in state.gpus.items():
        if gpu.temperature_c is not None and name in limits_c:
            found.append(Headroom(name, gpu.temperature_c, limits_c[name]))
    return found
