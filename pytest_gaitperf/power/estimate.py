"""An estimate where no sensor is: CPU seconds of the server x stated watts.

``--power=estimate:WATTS``: the watts that one busy core is said to add. What the estimate cannot
see: the GPU, memory, idle power, clocks that change. It ranks variants of one model on one CPU at
best. It is never chosen by ``auto``, and marked *estimated* wherever it is shown.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.sensor import Request, Sensor, chosen_rails

_RAIL = "estimate"
_FAMILY_S = 0.5  # a worker that was just started is seen this much later at most
_MOST_WATTS = 1000.0


class CpuReader:
    """Mean watts since the last reading: CPU seconds of a process tree x watts per busy core."""

    def __init__(self, pid: int, watts: float) -> None:
        self._pid, self._watts = pid, watts
        self._tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
        self._family: list[int] = []
        self._family_at_s = 0.0
        self._last = (time.monotonic(), self._cpu_s())

    def read(self) -> tuple[float, ...]:
        """Give the estimate for the time since the last reading."""
        now_s, cpu_s = time.monotonic(), self._cpu_s()
        then_s, then_cpu_s = self._last
        # One that ended is missing until its parent has waited for it: never count backwards.
        cpu_s = max(cpu_s, then_cpu_s)
        self._last = (now_s, cpu_s)
        return (self._watts * (cpu_s - then_cpu_s) / max(now_s - then_s, 1e-6),)

    def _cpu_s(self) -> float:
        """Sum the CPU time of the tree: of the living to the nanosecond, of the ended in ticks."""
        now_s = time.monotonic()
        if not self._family or now_s - self._family_at_s > _FAMILY_S:
            self._family, self._family_at_s = _family(self._pid), now_s
        total = 0.0
        for pid in self._family:
            # One that ends just now is counted by its parent in the next reading.
            with contextlib.suppress(OSError):
                # clock_getcpuclockid(3): the id of another process's CPU clock.
                total += time.clock_gettime((~pid << 3) | 2)
                fields = _fields(pid)
                total += (int(fields[13]) + int(fields[14])) * self._tick_s
        return total


def find(request: Request) -> Sensor:
    """Find the server's process on this host.

    Raises ConfigurationError: the watts are missing or no number, or a rail was chosen; MeterError:
    the server's process is not on this host, or unknown.
    """
    try:
        watts = float(request.argument)
    except ValueError:
        watts = -1.0
    if not 0.0 < watts <= _MOST_WATTS:
        raise ConfigurationError(
            "--power=estimate needs the watts that one busy core adds, as in --power=estimate:5.5; "
            f"{request.argument or 'nothing'!r} is not between 0 and {_MOST_WATTS:g}"
        )
    chosen_rails(request.rails, (_RAIL,))
    if request.server_pid is None or not Path(f"/proc/{request.server_pid}").exists():
        raise MeterError(
            "an estimate needs the CPU time of the server, whose process cannot be seen on this "
            "host; let --triton=local start it, or choose a real meter"
        )
    return Sensor(
        name="estimate",
        description=f"ESTIMATED: CPU seconds of the server x {watts:g} W, no sensor",
        rails=(_RAIL,),
        total_rails=(_RAIL,),
        gpu_rails=(),
        kind="power",
        reader="pytest_gaitperf.power.estimate:CpuReader",
        arguments={"pid": request.server_pid, "watts": watts},
        chips={"the server's CPU time": (_RAIL,)},
        nominal_period_s=0.01,
        estimated=True,
    )


def _family(pid: int) -> list[int]:
    """List a process and its descendants; MeterError when it is gone."""
    if not Path(f"/proc/{pid}").exists():
        raise MeterError(f"the server's process {pid} is gone, and its CPU time with it")
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names, not paths, at twice the speed
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_fields(int(entry))[1]), []).append(int(entry))
    family, queue = [], [pid]
    while queue:
        member = queue.pop()
        family.append(member)
        queue += children.get(member, [])
    return family


def _fields(pid: int) -> list[bytes]:
    """Split /proc/PID/stat after the name: state, parent, ... (proc_pid_stat(5), from field 3)."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
