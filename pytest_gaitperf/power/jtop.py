"""Jetson boards through jtop (the package jetson-stats), for containers that see no sysfs.

jtop's service, a process of root's, reads the monitors and hands milliwatts to its clients at the
interval that its first client asked for. It takes POM_5V_IN or VDD_IN out of the rails and calls it
the total, or adds up everything where there is neither: here the rule of ``rails.py`` holds
instead. ``avg`` is not used: it is a smoother, not a mean. Imported when tried: AGPL, and optional.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.rails import LAYOUTS, gpu_rails, layout_of, total_rails
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INTERVAL_S = 0.1  # the shortest that the service keeps up with
_NOMINAL_PERIOD_S = 0.5  # what another client may have asked for before us
_REMEDY = (
    "start its service (sudo systemctl start jtop), be in the group jtop (sudo usermod -aG jtop "
    "$USER, then log in again), and give containers its socket (-v /run/jtop.sock:/run/jtop.sock)"
)
_UNKNOWN_FORM = (
    "jtop's service sent its power in an unknown form ({}): install the version of jetson-stats "
    "that the board's service has"
)
_LABELS = frozenset(rail for layout in LAYOUTS for rail in (*layout.total, *layout.apart))


class JtopReader:
    """The rails' power in watts, as the service last sent it."""

    def __init__(self, rails: Sequence[str]) -> None:
        self._rails = rails
        self._client = _connect()

    def read(self) -> tuple[float, ...]:
        """Give the newest values; between two of the service's they repeat."""
        if not self._client.ok(spin=True):
            raise MeterError(
                "jtop's service stopped sending; check it (systemctl status jtop), and that no "
                "other client with another interval started meanwhile"
            )
        watts = _watts(self._client.power)
        try:
            return tuple(watts[rail] for rail in self._rails)
        except KeyError as error:
            raise MeterError(
                f"jtop's service does not send the rail {error.args[0]} any more; restart it (sudo "
                "systemctl restart jtop)"
            ) from error


def find(request: Request) -> Sensor:
    """Find the rails that jtop's service sends.

    Raises
    ------
    SensorAbsentError
        jetson-stats is not installed, or its service sends no power.
    MeterError
        The service does not answer, or no rule is known for its rails and none were chosen.
    ConfigurationError
        The chosen rails do not exist, or count something twice.

    """
    client = _connect()
    try:
        watts = _watts(client.power)
    finally:
        client.close()
    if not watts:
        raise SensorAbsentError("jtop's service sends no power rail on this board")
    # Power supplies of USB ports come along under names of their own: they are no rails of ours.
    rails = tuple(rail for rail in watts if rail in _LABELS) or tuple(watts)
    layout = layout_of(rails)
    total = total_rails(rails, layout, request.rails)
    return Sensor(
        name="jtop",
        description=(
            f"jtop of a {layout.modules if layout else 'Jetson of an unknown kind'}, "
            f"total {' + '.join(total)} of rails {', '.join(rails)}"
        ),
        rails=rails,
        total_rails=total,
        gpu_rails=gpu_rails(rails, layout),
        kind="power",
        reader="pytest_gaitperf.power.jtop:JtopReader",
        arguments={"rails": list(rails)},
        chips={"jtop's service (sudo systemctl restart jtop)": rails},
        nominal_period_s=_NOMINAL_PERIOD_S,
    )


def _connect() -> Any:
    try:
        from jtop import JtopException, jtop  # noqa: PLC0415 - optional
    except ImportError:
        raise SensorAbsentError(
            "the package jetson-stats is not installed; pip install pytest-gaitperf[jetson], the "
            "version of the board's service"
        ) from None
    client = jtop(interval=_INTERVAL_S)
    try:
        client.start()
        answers = client.ok()  # waits for the first values
    except JtopException as error:
        raise MeterError(f"jtop does not answer ({error}): {_REMEDY}") from error
    if not answers:
        client.close()
        raise MeterError(f"jtop's service ended the connection: {_REMEDY}")
    return client


def _watts(power: Mapping[str, Any]) -> dict[str, float]:
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
