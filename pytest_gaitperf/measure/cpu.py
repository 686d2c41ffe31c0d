"""The CPU time of a cell: that of the server's processes, or of its model's own beside others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.triton.placement import cpu_seconds, own_processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.load.record import Times, Values
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

SHARED = (
    "processes that serve the neighbours too serve the model: their CPU time cannot be told apart"
)
OWN = "beside neighbours server CPU is that of the model's own processes, without the server's"

_UNSEEN, _UNSEEN_S = 0.1, 0.1


class ServerCpu:
    """The CPU time that counts in a cell: of all of the server's processes, as a rule.

    Beside neighbours it is that of the processes that serve the model alone, where it has any: the
    server's own are theirs too. An ensemble has them where each of its steps does.
    """

    def __init__(self, server: TritonServer, workload: Workload, model: ModelInfo) -> None:
        self._server = server
        self._own = _own(server, workload, model) if workload.beside else None
        self._before_s = self._seconds()

    @property
    def absent(self) -> str:
        """Why there is none, "" where there is."""
        return self._server.cpu_absent_reason or (SHARED if self._own == () else "")

    @property
    def note(self) -> str:
        """What a reader should know of it."""
        return OWN if self._own else ""

    def spent_s(self) -> float | None:
        """Return the CPU seconds since this was made, None where they are not known."""
        now_s = self._seconds()
        return None if now_s is None or self._before_s is None else now_s - self._before_s

    def _seconds(self) -> float | None:
        if self._own is None:
            return self._server.cpu_seconds()
        return cpu_seconds(self._own) if self._own else None

    def clocks(self) -> tuple[int, ...]:
        """Return the ids of the processes' CPU clocks."""
        if self._own is None:
            return self._server.cpu_clocks()
        return tuple((~pid << 3) | 2 for pid in self._own)


def _own(server: TritonServer, workload: Workload, model: ModelInfo) -> tuple[int, ...]:
    """Return the processes that serve a model and none of its neighbours; none unless all do."""
    theirs = {one.model for one in workload.beside}
    for one in workload.beside:
        theirs |= {name for name, _ in server.model(one.model, one.version).steps}
    names = [name for name, _ in model.steps] or [workload.model]
    found = [own_processes(server.server_pid, name) for name in names]
    if not all(found) or theirs.intersection(names):
        return ()
    return tuple(dict.fromkeys(pid for pids in found for pid in pids))


class CpuReadings:
    """The CPU time of a server's processes, read again and again under load."""

    def __init__(self, clocks: Sequence[int]) -> None:
        self._clocks = clocks
        self._at_ns: list[int] = []
        self._spent_ns: list[int] = []
        self.read()

    def read(self) -> None:
        """Read the clocks now; nothing more is known once one of the processes is gone."""
        try:
            spent_ns = sum(map(time.clock_gettime_ns, self._clocks))
        except OSError:
            self._clocks = ()
        if self._clocks:
            self._at_ns.append(time.monotonic_ns())
            self._spent_ns.append(spent_ns)

    def within(self, windows_ns: Times, spent_s: float) -> Values | None:
        """Return the CPU time (ns) in each of some windows, evenly spent between readings.

        None where it is not known: also where ``spent_s``, in which processes that began meanwhile
        count too, is clearly more than what these clocks have seen.
        """
        if not self._clocks or self._at_ns[-1] < windows_ns[-1, 1]:
            return None
        seen_s = (self._spent_ns[-1] - self._spent_ns[0]) / 1e9
        if spent_s > (1 + _UNSEEN) * seen_s + _UNSEEN_S:
            return None
        first = self._at_ns[0]
        at = np.array(self._at_ns) - first
        spent = np.interp(windows_ns - first, at, np.array(self._spent_ns, np.float64))
        return np.diff(spent)[:, 0]
