"""What else this machine does at this moment: CPU time of others, steal, paging."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import psutil

_NAMED = 3
_NOTEWORTHY = 0.02


class Busy(NamedTuple):
    """A process and how many CPUs it kept busy."""

    name: str
    pid: int
    cpus: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What others did for a moment: everything except this process and its children.

    ``others`` is how many of the ``cpus`` were busy, ``top`` the processes that took most of them,
    as far as they can be seen (not from inside a container). ``stolen`` is how many the hypervisor
    gave to other machines. ``paged`` counts the pages that were swapped in or out.
    """

    cpus: int
    others: float
    top: tuple[Busy, ...]
    stolen: float
    paged: int


def watch_usage(seconds: float) -> Usage:
    """Look for so many seconds, asleep meanwhile."""
    before = _processes()
    system_before, paged_before = psutil.cpu_times(), _paged()
    own_before, began_s = time.process_time(), time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - began_s
    system_after, own_s = psutil.cpu_times(), time.process_time() - own_before
    paged, after = _paged() - paged_before, _processes()
    busy = [
        Busy(name, process.pid, (cpu_s - before.get(process, ("", 0.0))[1]) / elapsed_s)
        for process, (name, cpu_s) in after.items()
    ]
    busy.sort(key=lambda one: -one.cpus)
    worked_s = sum(
        getattr(system_after, field) - getattr(system_before, field)
        for field in ("user", "nice", "system", "irq", "softirq")
    )
    stolen_s = system_after.steal - system_before.steal
    return Usage(
        cpus=psutil.cpu_count() or 1,
        others=max(worked_s - own_s, 0.0) / elapsed_s,
        top=tuple(one for one in busy[:_NAMED] if one.cpus > _NOTEWORTHY),
        stolen=max(stolen_s, 0.0) / elapsed_s,
        paged=paged,
    )


def _processes() -> dict[psutil.Process, tuple[str, float]]:
    """Give name and CPU seconds of each; a process is told by pid and start, not by its name.

    The kernel's workers change theirs as they go.
    """
    own = os.getpid()
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != own and process.ppid() != own:
                times = process.cpu_times()
                found[process] = (process.name(), times.user + times.system)
    return found


def _paged() -> int:
    swap = psutil.swap_memory()
    return int((swap.sin + swap.sout) // os.sysconf("SC_PAGE_SIZE"))
