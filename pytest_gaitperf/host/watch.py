"""What others did on this machine while a load was measured: CPU, waits, steal, stops.

The kernel's counters are read at the edges of the windows, by a thread of the client's process. A
window in which others took too much is *disturbed*; what is too much, ``cause_of`` says.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, final

import numpy as np
import psutil

from pytest_gaitperf.host.counters import NOTEWORTHY, Counters, between
from pytest_gaitperf.measurement import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_gaitperf.host.counters import Seen

SHARE = 0.05
"""Share of the CPUs, or of the time, that others may take from a window before it is disturbed.

On two CPUs of a quiet machine they took 0.5 % in the worst of 330 windows of 0.25 s. A process that
worked for 10 ms of every 100 disturbed 5 of 11 windows, one that span 46 of 46.
"""

SHARE_VARIABLE = "GAITPERF_DISTURBED"
"""The environment's word for another share: for a test suite that runs beside others."""

HELD_UP_S = 0.1
"""The client was held up when its loop came so much too late to a tick, and did not work meanwhile;
of a long window, when it lost ``SHARE`` of it so."""

_UNSEEN_S = 2.0
_SWITCH_S = 1e-4
_NAMED = 3
_MANY = 0.25

Cause = Literal["others", "unseen", "steal", "held up"]


def cause_of(seen: Seen, cpus: int, share: float, window_s: float = 0.0) -> Cause | None:
    """Say what disturbed a window, None where nothing did.

    Others used more than ``share`` of the ``cpus`` that ours may use, or, with those who cannot be
    seen, twice as much: the figure is coarse. Or threads of ours waited for more than ``share`` of
    the time because of others; or the hypervisor took more than ``share``; or the client's loop
    stood still. A ``share`` of 1 or more tolerates everything. ``SHARE`` has what the default comes
    from.
    """
    if share >= 1:
        return None
    if seen.held_up_s > max(HELD_UP_S, SHARE * window_s):
        return "held up"
    if (seen.stolen or 0.0) > share * cpus:
        return "steal"
    if seen.others is None:  # the server's use is among them
        return None
    if seen.others > share * cpus or seen.lost > share:
        return "others"
    return "unseen" if seen.others + (seen.unseen or 0.0) > 2 * share * cpus else None


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen in a window, and what disturbed it."""

    seen: Seen
    cause: Cause | None


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen in the windows of a load, at least one.

    ``cpus`` is how many client and server may use, ``names`` has those who used a CPU much, by pid.
    ``unread`` says what could not be read, ``stopped`` names processes of ours that a signal held.
    """

    windows: tuple[Window, ...]
    cpus: int
    names: Mapping[int, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """Say that many windows, a quarter or more, had to be measured again; else None."""
        disturbed = [window.seen for window in self.windows if window.cause]
        if len(disturbed) < _MANY * len(self.windows):
            return None
        by = ", ".join(culprits(disturbed, self.names))
        return (
            f"{len(disturbed)} of {len(self.windows)} windows were disturbed and measured again"
            + (f" ({by} of {self.cpus} CPUs)" if by else "")
        )

    @property
    def fault(self) -> str | None:
        """Say what disturbed the windows, and who is to blame; None where nothing did."""
        disturbed = [window for window in self.windows if window.cause]
        if not disturbed:
            return None
        cause = Counter(window.cause for window in disturbed).most_common(1)[0][0]
        blamed = [window.seen for window in disturbed if window.cause == cause]
        where = f"in {len(disturbed)} of {len(self.windows)} windows"
        if cause == "held up":
            seconds = sum(seen.held_up_s for seen in blamed)
            return (
                f"the client was held up for {seconds:.1f} s {where}: it was stopped, or the "
                "machine slept; measure again"
            )
        if cause == "steal":
            stolen = _mean(seen.stolen for seen in blamed)
            return (
                f"the hypervisor took {stolen:.2f} of {self.cpus} CPUs for other guests {where}; "
                "use a machine of your own, or measure at another time"
            )
        if cause == "unseen":
            unseen = _mean(seen.unseen for seen in blamed)
            return (
                "processes that cannot be seen from here (they live for moments, or outside this "
                f"container) used {unseen:.2f} of {self.cpus} CPUs {where}; stop them, or measure "
                "when they rest"
            )
        used = _mean(seen.others for seen in blamed) or 0.0
        named = ", ".join(culprits(blamed, self.names)) or f"other processes used {used:.2f}"
        unseen = _mean(seen.unseen for seen in blamed) or 0.0
        beside = f", and others that cannot be seen {unseen:.2f}," if unseen > used else ""
        return (
            f"{named}{beside} of {self.cpus} CPUs {where}; stop it, measure when it rests, or keep "
            "it off the CPUs of client and server (taskset)"
        )


def surroundings(watched: Sequence[Watched]) -> Surroundings:
    """Sum up what was seen in one load or more."""
    windows = [window for one in watched for window in one.windows]
    seen = [window.seen for window in windows]
    disturbed = [window.seen for window in windows if window.cause]
    others = [one.others for one in seen if one.others is not None]
    waited, ours = _mean(one.waited for one in seen), _mean(one.ours for one in seen) or 0.0
    names = {pid: name for one in watched for pid, name in one.names.items()}
    return Surroundings(
        cpus=watched[0].cpus,
        windows=len(windows),
        disturbed=len(disturbed),
        others=float(np.median(others)) if others else None,
        others_most=max(others, default=None),
        waited=None if waited is None else waited / max(waited + ours, 1e-9),
        stolen=_mean(one.stolen for one in seen),
        pressure=_mean(one.pressure for one in seen),
        culprits=tuple(culprits(disturbed or seen, names)),
        unread=tuple(dict.fromkeys(what for one in watched for what in one.unread)),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def culprits(seen: Sequence[Seen], names: Mapping[int, str]) -> Iterator[str]:
    """Name those who used most of the CPUs, with how many; at most three."""
    used: dict[str, float] = {}
    pids: dict[str, set[int]] = {}
    for one in seen:
        for pid, cpus in one.by.items():
            if name := names.get(pid):
                used[name] = used.get(name, 0.0) + cpus / len(seen)
                pids.setdefault(name, set()).add(pid)
    for name, cpus in sorted(used.items(), key=lambda item: -item[1])[:_NAMED]:
        if cpus > NOTEWORTHY:
            alone = len(pids[name]) == 1
            who = f"pid {next(iter(pids[name]))}" if alone else f"{len(pids[name])} processes"
            yield f"`{name}` ({who}) used {cpus:.2f}"


def tolerated_share() -> float:
    """Return the share of this process's environment, else the default."""
    with suppress(ValueError):
        return float(os.environ.get(SHARE_VARIABLE, SHARE))
    return SHARE


@final
class MachineWatch:
    """Looks at the counters at the edges of the windows, in a thread; a context manager.

    ``blind`` says why the server's processes cannot be told from others', "" where they can. A look
    takes 1.3 ms of CPU beside a Triton of 170 threads, once a window of 0.25 s or more.
    """

    def __init__(self, counters: Counters, *, share: float, blind: str = "") -> None:
        """Take the first look, which takes longest: every process is new to it."""
        self.counters = counters
        self._windows: list[Window] = []
        self._stopped: set[int] = set()
        self._blind = blind
        self._share = share
        self._next_ns = self._window_ns = self._tick_ns = 0
        self._switch_s = 0.0
        self._looks = [counters.look()]
        self._held: list[tuple[int, int, float]] = []
        self._ticked = (0, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gaitperf-watch", daemon=True)

    def over(self, start_ns: int, window_ns: int, tick_ns: int = 0) -> MachineWatch:
        """Say which windows the looks are for, before it is entered.

        ``tick_ns`` is the time between two ticks of the load, where it is not a window's.
        """
        self._next_ns, self._window_ns, self._tick_ns = start_ns, window_ns, tick_ns or window_ns
        return self

    def __enter__(self) -> MachineWatch:
        self._ticked = (time.monotonic_ns(), time.thread_time_ns())
        # By default a look would keep the load waiting for the interpreter for up to 5 ms.
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        sys.setswitchinterval(self._switch_s)

    def tick(self, now_ns: int) -> None:
        """Note that the load's loop came to a tick, in its own thread."""
        (last_ns, cpu_ns), cpu_now_ns = self._ticked, time.thread_time_ns()
        self._ticked = now_ns, cpu_now_ns
        late_s = (now_ns - last_ns - self._tick_ns - (cpu_now_ns - cpu_ns)) / 1e9
        if late_s > HELD_UP_S:
            self._held.append((last_ns, now_ns, late_s))

    def undisturbed(self, start_ns: int, end_ns: int) -> bool | None:
        """Say whether a window was left alone, None while that is not known yet; once for each."""
        seen = self._seen(start_ns, end_ns)
        if seen is None:
            return None
        window_s = (end_ns - start_ns) / 1e9
        cause = cause_of(seen, self.counters.cpus, self._share, window_s)
        self._windows.append(Window(seen, cause))
        self._stopped |= set(seen.stopped)
        return cause is None

    @property
    def watched(self) -> Watched:
        """What was seen so far."""
        unread = []
        if self._blind:
            unread.append(f"others' CPU cannot be told from the server's: {self._blind}")
        if self._looks[-1].waited_ns is None:
            unread.append("how long threads wait for a CPU: the kernel has no schedstat")
        return Watched(
            windows=tuple(self._windows),
            cpus=self.counters.cpus,
            names=dict(self.counters.names),
            unread=tuple(unread),
            stopped=tuple(f"{self.counters.name(pid)} (pid {pid})" for pid in self._stopped),
        )

    def _seen(self, start_ns: int, end_ns: int) -> Seen | None:
        looks = self._looks[:]
        times = [look.at_ns for look in looks]
        last = bisect_left(times, end_ns)
        if last == len(looks):
            return None
        first = min(bisect_left(times, start_ns), last - 1)
        seen = between(looks[first], looks[last])
        before = max(bisect_right(times, end_ns - int(_UNSEEN_S * 1e9)) - 1, 0)
        longer = between(looks[min(before, first)], looks[last])
        del self._looks[: min(before, first)]
        held_up_s = sum(
            late_s for low, high, late_s in self._held if low < end_ns > start_ns < high
        )
        here = 1.0
        if self.counters.pinned and seen.others and longer.unseen is not None:
            # They may have run elsewhere: no more counts than was busy with them on our CPUs.
            here = min(max((longer.others or 0.0) + longer.unseen, 0.0) / seen.others, 1.0)
        return replace(
            seen,
            others=None if self._blind or seen.others is None else here * seen.others,
            by={pid: here * cpus for pid, cpus in seen.by.items()},
            unseen=longer.unseen,
            waited=seen.pressure if seen.waited is None else seen.waited,
            held_up_s=held_up_s,
        )

    def _watch(self) -> None:
        while not self._ended.wait(max(self._next_ns - time.monotonic_ns(), 0) / 1e9):
            self._looks.append(self.counters.look())
            late = (time.monotonic_ns() - self._next_ns) // self._window_ns
            self._next_ns += (max(late, 0) + 1) * self._window_ns


class Busy(NamedTuple):
    """A process and how many CPUs it kept busy."""

    name: str
    pid: int
    cpus: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What others did for a moment: everything except this process.

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
    counters = Counters()
    paged, before = _paged(), counters.look()
    time.sleep(seconds)
    seen = between(before, counters.look())
    most = sorted(seen.by.items(), key=lambda item: -item[1])[:_NAMED]
    unseen = seen.unseen or 0.0
    return Usage(
        cpus=counters.cpus,
        # The kernel counts the unseen in ticks: a little of it may be none.
        others=(seen.others or 0.0) + (unseen if unseen > SHARE * counters.cpus else 0.0),
        top=tuple(
            Busy(counters.names.get(pid) or counters.name(pid), pid, cpus)
            for pid, cpus in most
            if cpus > NOTEWORTHY
        ),
        stolen=seen.stolen or 0.0,
        paged=_paged() - paged,
    )


def _paged() -> int:
    swap = psutil.swap_memory()
    return int((swap.sin + swap.sout) // os.sysconf("SC_PAGE_SIZE"))
