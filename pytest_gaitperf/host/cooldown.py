"""Wait until the device is cool, so that each cell starts alike."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.host.state import read_state

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_S = 1.0
_LONGEST_S = 300.0


@dataclass(frozen=True, slots=True)
class Cooldown:
    """How the wait ended: the hottest zone or GPU then, and the seconds it took."""

    reached: bool
    hottest_c: float
    waited_s: float


def cool_down(limit_c: float, progress: Callable[[str], None]) -> None:
    """Wait until the device has at most ``limit_c`` degrees Celsius, and tell how far it is.

    Raises MeasurementError when it stays above, ConfigurationError where nothing tells.
    """
    ended = wait_for_temperature(
        limit_c,
        _LONGEST_S,
        progress=lambda hottest_c: progress(f"cooling down: {hottest_c:.1f} C"),
    )
    if not ended.reached:
        raise MeasurementError(
            f"the device still had {ended.hottest_c:.1f} C after {ended.waited_s:.0f} s of "
            f"cooling down to {limit_c:g} C: improve its cooling or raise --gaitperf-cooldown"
        )


def wait_for_temperature(
    limit_c: float,
    timeout_s: float,
    *,
    root: Path = Path("/"),
    look_s: float = _LOOK_S,
    progress: Callable[[float], None] = lambda _hottest_c: None,
) -> Cooldown:
    """Wait until the hottest thermal zone and GPU is at most ``limit_c`` degrees Celsius.

    ``progress`` is called at each look with the hottest. After ``timeout_s`` seconds the wait ends
    unreached: the caller decides whether to measure all the same.

    Raises
    ------
    ConfigurationError
        No temperature can be read on this machine.

    """
    began = time.monotonic()
    while True:
        hottest_c = read_state(root=root).hottest_c
        waited_s = time.monotonic() - began
        if hottest_c is None:
            raise ConfigurationError(
                f"no temperature can be read at {root / 'sys/class/thermal'}/thermal_zone*/temp, "
                "nor from NVML: leave --gaitperf-cooldown out on this machine"
            )
        progress(hottest_c)
        if hottest_c <= limit_c or waited_s >= timeout_s:
            return Cooldown(hottest_c <= limit_c, hottest_c, waited_s)
        time.sleep(min(look_s, max(0.0, timeout_s - waited_s)))
