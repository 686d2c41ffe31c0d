"""What happens on the device over time: throttling, others' use of it, cooling down."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

import psutil

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.host.gpu import gpu_reasons
from pytest_gaitperf.host.state import limiting_files, limits_raised, read_state

if TYPE_CHECKING:
    from collections.abc import Callable

_PERIOD_S = 1.0
_LONGEST_COOLING_S = 300.0
_NAMED = 3
_NOTEWORTHY = 0.02


@final
class StateWatch:
    """Looks once a second, in a thread, at the limits, alarms and GPUs; a context manager.

    A look reads one small file per limiter and alarm and asks each GPU one question: under a
    millisecond on a Jetson. Which files there are is found once, at the start. A limit that is
    lifted within the second may be missed; the counters of ``throttled`` catch those that have one.
    """

    def __init__(self, *, root: Path = Path("/"), period_s: float = _PERIOD_S) -> None:
        self._root, self._period_s = root, period_s
        self._files = limiting_files(root)
        self._seen = Counter[str]()
        self._looks = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gaitperf-state", daemon=True)

    def __enter__(self) -> StateWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def hindered(self) -> str | None:
        """Say what slowed the device, and in how many of the looks; None when nothing did."""
        if not self._seen:
            return None
        seen = (f"{what} ({count} of {self._looks} looks)" for what, count in self._seen.items())
        return f"during the measurement the device was slowed: {', '.join(seen)}"

    def _watch(self) -> None:
        while not self._ended.wait(self._period_s):
            self._seen.update(limits_raised(self._files))
            if self._root == Path("/"):
                for gpu, words in gpu_reasons().items():
                    self._seen.update(f"{gpu}: {word}" for word in words)
            self._looks += 1


def cool_down(
    limit_c: float,
    progress: Callable[[str], None],
    *,
    root: Path = Path("/"),
    longest_s: float = _LONGEST_COOLING_S,
    period_s: float = _PERIOD_S,
) -> None:
    """Wait until the hottest thermal zone and GPU has at most ``limit_c`` degrees Celsius.

    Raises MeasurementError: it is still hotter after ``longest_s`` seconds; ConfigurationError: no
    temperature can be read on this machine.
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
        progress(f"cooling down: {hottest_c:.1f} C")
        if hottest_c <= limit_c:
            return
        if waited_s >= longest_s:
            raise MeasurementError(
                f"the device still had {hottest_c:.1f} C after {waited_s:.0f} s of cooling down to "
                f"{limit_c:g} C: improve its cooling or raise --gaitperf-cooldown"
            )
        time.sleep(min(period_s, max(0.0, longest_s - waited_s)))


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
