"""Jetson boards through jtop (the package jetson-stats), for containers that see no sysfs.

jtop's service, a process of root's, reads the monitors and hands milliwatts to its clients at the
interval that its first client asked for. It takes POM_5V_IN or VDD_IN out of the rails and calls it
the total, or adds up everything where there is neither: here our own rule for the total holds
instead. ``avg`` is not used: it is a smoother, not a mean.

The client of jetson-stats (AGPL, optional) runs in processes of its own only, the sampler's and
``python -m pytest_gaitperf.power.jtop``: a service that resets the connection or never answers
costs a deadline there, and nothing here.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.sensor import (
    LAYOUTS,
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
_DEADLINE_S = 15.0  # it reads everything of the board before its first answer
_PACKAGE_ROOT = Path(__file__).parents[2]
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
_LABELS = frozenset(rail for layout in LAYOUTS for rail in (*layout.total, *layout.apart))


class JtopReader:
    """The rails' power in watts, as the service last sent it."""

    def __init__(self, rails: Sequence[str]) -> None:
        self._rails = rails
        self._client = _connect()

    def read(self) -> tuple[float, ...]:
        """Return the newest values; between two of the service's they repeat."""
        with foreign("jtop's client"):
            going, power = self._client.ok(spin=True), self._client.power
        if not going:
            raise MeterError(
                "jtop's service stopped sending; check it (systemctl status jtop), and that no "
                "other client with another interval started meanwhile"
            )
        watts = watts_in(power)
        try:
            return tuple(watts[rail] for rail in self._rails)
        except KeyError as error:
            raise MeterError(
                f"jtop's service does not send the rail {error.args[0]} any more; restart it (sudo "
                "systemctl restart jtop)"
            ) from error


def find(request: Request) -> Sensor:
    """Find the rails that jtop's service sends.

    Raises SensorAbsentError: jetson-stats is not installed, or its service sends no power;
    MeterError: the service does not answer, or no rule is known for its rails and none were chosen;
    ConfigurationError: the chosen rails do not exist, or count something twice.
    """
    if find_spec("jtop") is None:
        raise SensorAbsentError(_ABSENT)
    return sensor_of(_asked(), request)


def sensor_of(watts: Mapping[str, float], request: Request) -> Sensor:
    """Describe the sensor that these rails make up. Raises as ``find`` does."""
    if not watts:
        raise SensorAbsentError("jtop's service sends no power rail on this board")
    # Power supplies of USB ports come along under names of their own: they are no rails of ours.
    rails = tuple(rail for rail in watts if rail in _LABELS) or tuple(watts)
    module, total, gpu = module_rails(rails, request.rails)
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
        arguments={"rails": list(rails)},
        chips={"jtop's service (sudo systemctl restart jtop)": rails},
        nominal_period_s=_NOMINAL_PERIOD_S,
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


def _asked() -> dict[str, float]:
    """Ask the service once, in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest_gaitperf.power.jtop"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_S,
            cwd=_PACKAGE_ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeterError(
            f"jtop's service sent nothing in {_DEADLINE_S:g} s: restart it (sudo systemctl restart "
            "jtop)"
        ) from None
    answer = done.stdout.rpartition(b"\n")[2]
    if not answer:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise MeterError(f"jtop's client ended with {done.returncode} ({(said or [''])[-1]})")
    found: dict[str, Any] = json.loads(answer)
    if "error" in found:
        raise MeterError(found["error"])
    watts: dict[str, float] = found["watts"]
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
            raise MeterError(f"jtop does not answer ({error}): {_remedy(str(error))}") from error
    if not answers:
        raise MeterError(f"jtop's service ended the connection: {_REMEDY}")
    return client


def _remedy(said: str) -> str:
    service = re.search(r"service: \[([\w.]+)\] and client", said)
    if service:
        return f"install the version of the service: pip install jetson-stats=={service[1]}"
    return _REMEDY


def main() -> None:
    """Write the service's rails, or why there are none, as one JSON object at the end of stdout."""
    try:
        answer: dict[str, object] = {"watts": watts_in(_connect().power)}
    except MeterError as error:
        answer = {"error": str(error)}
    sys.stdout.write("\n" + json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # the client's threads may wait for a service that never answers again


if __name__ == "__main__":
    main()
