"""A fake jtop: an Orin Nano's or an AGX Orin's rails as jetson-stats 4 gives them.

``FAKE_JTOP`` says what the service does: ``nano``, ``agx``, ``empty``, ``absent`` (no service),
``older`` (than the client), ``ended`` (it closes the connection), ``resets`` (for which the client
has no error but EOFError), ``silent`` (it accepts and never answers); ``stops``, ``breaks`` and
``sleeps`` are the last three after half a second, ``loses`` sends one rail less then; ``pauses``
(its process is stopped for half a second after each half, while the client returns what it has).
"""

from __future__ import annotations

import os
import time
from datetime import timedelta

UPDATE_S = 0.02


class JtopException(Exception):
    pass


def _now_s() -> float:
    """Return when the service read the board last."""
    now_s = time.monotonic()
    if os.environ["FAKE_JTOP"] == "pauses" and now_s % 1.0 > 0.5:
        now_s = now_s // 1.0 + 0.5
    return now_s // UPDATE_S * UPDATE_S


def _rail(milliwatts: int) -> dict[str, object]:
    wavering = milliwatts + round(_now_s() / UPDATE_S) % 3
    return {
        "volt": 5000,
        "curr": wavering // 5,
        "warn": 32760,
        "crit": 32760,
        "power": wavering,
        "online": True,
        "avg": 1,
    }


class jtop:
    def __init__(self, interval: float = 0.5) -> None:
        self.interval = interval
        self._mode = os.environ["FAKE_JTOP"]
        self._began = time.monotonic()

    def start(self) -> None:
        if self._mode == "absent":
            raise JtopException("The jtop.service is not active")
        if self._mode == "older":
            raise JtopException("Mismatch version jtop service: [4.2.1] and client: [7.2.2].")
        if self._mode == "resets":
            raise EOFError
        if self._mode == "silent":
            time.sleep(3600)

    def ok(self, spin: bool = False) -> bool:
        if spin and time.monotonic() > self._began + 0.5:
            if self._mode == "breaks":
                raise EOFError
            if self._mode == "sleeps":
                time.sleep(3600)
            return self._mode != "stops"
        return self._mode != "ended"

    @property
    def uptime(self) -> timedelta:
        return timedelta(seconds=_now_s())

    @property
    def power(self) -> dict[str, object]:
        if self._mode == "empty":
            return {}
        if self._mode == "agx":
            rails = {
                "VDDQ_VDD2_1V8AO": _rail(500),
                "VDD_CPU_CV": _rail(2000),
                "VDD_GPU_SOC": _rail(6000),
                "VIN_SYS_5V0": _rail(3000),
            }
            return {"rail": rails, "tot": {"power": 11500, "avg": 4}}
        rails = {
            "VDD_CPU_GPU_CV": _rail(2000),
            "VDD_SOC": _rail(1000),
            "ucsi_ccg1": {**_rail(9000), "online": False},
            "usb": _rail(1),
        }
        if self._mode == "loses" and time.monotonic() > self._began + 0.5:
            del rails["VDD_SOC"]
        return {"rail": rails, "tot": {"name": "VDD_IN", **_rail(5000)}}

    def close(self) -> None:
        pass
