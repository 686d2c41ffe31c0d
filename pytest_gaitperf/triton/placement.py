"""The processes that serve a model: their CPU time, their busy threads, the CPUs they run on."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_gaitperf.files import text_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SERVED = re.compile(r".*/([^/]+)/([0-9]+)/")
"""A model and its version in the path of a file: the folders above it may have any name, too."""

_BUSY_SHARE = 0.25
_LEAST_BUSY = 0.02
_LOOKS = 5


def own_processes(server_pid: int | None, model: str, version: str = "") -> tuple[int, ...]:
    """Return the processes that serve this model alone; of all versions where none is given.

    They are the Python backend's stubs, by their command line, and what these started. There are
    none where the backend lives in the server, or where the server's processes cannot be seen.
    """
    found: dict[int, None] = {}
    for process in _descendants(server_pid):
        with suppress(psutil.Error):
            served = _SERVED.match("".join(process.cmdline()[1:2]))
            ours = served is not None and served[1] == model and version in ("", served[2])
            if ours and process.pid not in found:
                children = process.children(recursive=True)
                found |= dict.fromkeys([process.pid, *(child.pid for child in children)])
    return tuple(found)


def all_processes(server_pid: int | None) -> tuple[int, ...]:
    """Return the server and all its descendants; none where they cannot be seen."""
    found = tuple(process.pid for process in _descendants(server_pid))
    return (server_pid, *found) if server_pid is not None else ()


def runs(pid: int) -> bool:
    """Return whether a process has not ended yet, also where nobody waits for it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _descendants(server_pid: int | None) -> list[psutil.Process]:
    if server_pid is None:
        return []
    try:
        return list(psutil.Process(server_pid).children(recursive=True))
    except psutil.Error:
        return []


def cpu_seconds(pids: Iterable[int]) -> float | None:
    """Return the CPU seconds of these processes, by the scheduler's clock; None if one is gone.

    With those of their children that ended: a model may start one for each request.
    """
    try:
        # clock_getcpuclockid(3): the id of another process's CPU clock.
        return sum(time.clock_gettime((~pid << 3) | 2) + _of_children_s(pid) for pid in pids)
    except (OSError, psutil.Error):
        return None


def _of_children_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.children_user + times.children_system)


def thread_seconds(pids: Iterable[int]) -> dict[int, float]:
    """Return the CPU seconds of each thread of these processes, by its id."""
    found = {}
    for pid in pids:
        for thread in _threads(pid):
            words = text_at(Path(f"/proc/{pid}/task/{thread}/schedstat")).split()
            if words:
                found[thread] = int(words[0]) / 1e9
    return found


def busy_threads(before: Mapping[int, float], after: Mapping[int, float], seconds: float) -> int:
    """Return how many threads worked between two looks that were ``seconds`` apart; at least 1.

    Those that took at least a quarter of the busiest one's CPU time, and 2 % of a CPU.
    """
    spent = [now - before.get(thread, 0.0) for thread, now in after.items()]
    least_s = max(_BUSY_SHARE * max(spent, default=0.0), _LEAST_BUSY * seconds)
    return max(1, sum(one >= least_s for one in spent))


def keep_on(pids: Iterable[int], cpus: Iterable[int]) -> bool:
    """Let these processes run on these CPUs only; return whether it is permitted."""
    cpus = frozenset(cpus)
    for pid in pids:
        seen: set[int] = set()
        for _ in range(_LOOKS):  # a thread may start another one meanwhile
            new = set(_threads(pid)) - seen
            if not new:
                break
            seen |= new
            for thread in new:
                try:
                    os.sched_setaffinity(thread, cpus)
                except ProcessLookupError:
                    continue
                except OSError:
                    return False
    return True


def allowed_cpus(pids: Sequence[int]) -> frozenset[int]:
    """Return the CPUs that the first of these processes may run on; none where nobody knows."""
    try:
        return frozenset(os.sched_getaffinity(pids[0])) if pids else frozenset()
    except OSError:
        return frozenset()


def _threads(pid: int) -> list[int]:
    try:
        return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
