"""Jetson boards through jtop (the package jetson-stats), for containers that see no sysfs.

jtop's service, a process of root's, reads the monitors and hands milliwatts to its clients at the
interval that its first client asked for. It takes POM_5V_IN or VDD_IN out of the rails and calls it
the total, or adds up everything where there is neither: here our own rule for the total holds
instead. ``avg`` is not used: it is a smoother, not a mean. A reading is dated by its arrival: a
service that stops leaves a pause in the trace, no repeated values.

The client of jetson-stats (AGPL, optional) runs in processes of its own only, the sampler's and
that of ``boundary``: a service that resets the connection or never answers costs a deadline there,
and nothing here.
"""

from __future__ import annotations

import math
import re
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.sensor import (
    Request,
    Sensor,
    SensorAbsentError,
    foreign,
    module_rails,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INTERVAL_S = 0.1  # the shortest that the service keeps up with
_NOMINAL_PERIOD_S = 0.5  # what another client may have asked for before us
_SILENCE_S = 4.0
_ABSENT = (
    "the package jetson-stats is not installed; pip install pytest-gaitperf[jetson], the version "
    "of the board's service"
)
_REMEDY = (
    "start its service (sudo systemctl start jtop), be in the group jtop (sudo usermod -aG jtop "
    "$USER, then log in again), and give containers its socket (-v /run/jtop.sock:/run/jtop.sock)"
)
_UNKNOWN_FORM = (
    "jtop's service sent its power in an unknown form ({}): install the version of jetson-stats "
    "that the board's service has"
)


class JtopReader:
    """The rails' power in watts, each time that the service sent it anew.

    Those of ``total`` must come; NaN stands for another one that does not.
    """

    def __init__(self, rails: Sequence[str], total: Sequence[str]) -> None:
        self._rails, self._total = rails, total
        self._client = _connect()
        self._sent_at: object = None
        self._arrived_s = time.monotonic()

    def read(self) -> tuple[float, ...] | None:
        """Return what was sent since the last call, None where nothing was.

        Where the service is late its client returns old values as new ones: only the board's
        uptime, which the service reads each time, tells them apart.
        """
        with foreign("jtop's client"):
            going, sent_at = self._client.ok(spin=True), self._client.uptime
            power = self._client.power
        if not going:
            raise MeterError(
                "jtop's service stopped sending; check it (systemctl status jtop), and that no "
                "other client with another interval started meanwhile"
            )
        now_s = time.monotonic()
        if sent_at == self._sent_at:
            if now_s - self._arrived_s > _SILENCE_S:
                raise MeterError(
                    f"jtop's service sent nothing new for {_SILENCE_S:g} s: restart it (sudo "
                    "systemctl restart jtop)"
                )
            return None
        self._sent_at, self._arrived_s = sent_at, now_s
        watts = watts_in(power)
        if gone := [rail for rail in self._total if rail not in watts]:
            raise MeterError(
                f"jtop's service does not send the rail {gone[0]} any more; restart it (sudo "
                "systemctl restart jtop)"
            )
        return tuple(watts.get(rail, math.nan) for rail in self._rails)


def find(request: Request) -> Sensor:
    """Find the rails that jtop's service sends.

    Raises SensorAbsentError: jetson-stats is not installed, or its service sends no power;
    MeterError: the service does not answer, or no rule is known for its rails and none were chosen;
    ConfigurationError: the chosen rails do not exist, or count something twice.
    """
    if find_spec("jtop") is None:
        raise SensorAbsentError(_ABSENT)
    return sensor_of(watts_in(_connect().power), request)


def sensor_of(watts: Mapping[str, float], request: Request) -> Sensor:
    """Describe the sensor that these rails make up. Raises as ``find`` does."""
    if not watts:
        raise SensorAbsentError("jtop's service sends no power rail on this board")
    # Power supplies of USB ports come along, whose names are not those of a device tree's rails.
    rails = tuple(rail for rail in watts if rail == rail.upper()) or tuple(watts)
    of_board = module_rails(rails, request.rails)
    module, total, gpu, parts = of_board
    return Sensor(
        name="jtop",
        description=(
            f"jtop of a {module or 'Jetson of an unknown kind'}, "
            f"total {' + '.join(total)} of rails {', '.join(rails)}"
        ),
        rails=rails,
        total_rails=total,
        gpu_rails=gpu,
        kind="power",
        reader="pytest_gaitperf.power.jtop:JtopReader",
        arguments={"rails": list(rails), "total": list(total)},
        chips={"jtop's service (sudo systemctl restart jtop)": rails},
        nominal_period_s=_NOMINAL_PERIOD_S,
        notes=of_board.notes,
        parts=parts,
    )


def watts_in(power: Mapping[str, Any]) -> dict[str, float]:
    """Return the watts of each rail in what the service sent, its total a rail where it is one."""
    try:
        rails = dict(power.get("rail", {}))
        total = power.get("tot", {})
        if "name" in total:  # a rail of its own; without a name it is jtop's sum
            rails = {total["name"]: total, **rails}
        watts = {
            str(rail): float(values["power"]) * 1e-3
            for rail, values in rails.items()
            if values.get("online", True) and "power" in values
        }
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise MeterError(_UNKNOWN_FORM.format(error)) from error
    if not all(map(math.isfinite, watts.values())):
        raise MeterError(_UNKNOWN_FORM.format("a power that is no number"))
    return watts


def _connect() -> Any:
    try:
        from jtop import JtopException, jtop  # noqa: PLC0415 - optional
    except ImportError:
        raise SensorAbsentError(_ABSENT) from None
    with foreign("jtop's client"):
        client = jtop(interval=_INTERVAL_S)
        try:
            client.start()
            answers = client.ok()
        except JtopException as error:
            raise _refused(" ".join(str(error).split())) from error
    if not answers:
        raise MeterError(f"jtop's service ended the connection: {_REMEDY}")
    return client


def _refused(said: str) -> MeterError:
    """Return an error for what jtop's client says: no service for us, or one of another version."""
    service = re.search(r"service: \[([\w.]+)\] and client", said)
    if service:
        return MeterError(
            f"jtop does not answer ({said}): install the version of the service: pip install "
            f"jetson-stats=={service[1]}"
        )
    return SensorAbsentError(f"jtop does not answer ({said}): {_REMEDY}")
