"""The kernel's counters of CPU time: of others, of client and server, of the hypervisor."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.way import FORWARDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NOTEWORTHY = 0.02
"""Who uses less of a CPU has no name."""

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of include/linux/sched.h
_STAT_FIELDS = 13
_MOST_BYTES = 1 << 16
_ASLEEP_LOOKS = 8
_INTERPRETERS = ("python", "node", "java", "ruby", "perl", "bash", "sh")
_LONGEST_NAME = 40


class Process(NamedTuple):
    """What ``/proc/PID/stat`` says of a process; ``cpu_ns`` comes in ticks of 10 ms."""

    name: str
    state: str
    parent: int
    kernel: bool
    cpu_ns: int


def parse_stat(text: bytes) -> Process | None:
    """Read a ``/proc/PID/stat``; None where it is empty: the process is gone."""
    head, _, rest = text.rpartition(b")")  # a name may hold spaces and brackets
    fields = rest.split()
    if len(fields) < _STAT_FIELDS:
        return None
    return Process(
        name=head.partition(b"(")[2].decode(errors="replace"),
        state=fields[0].decode(),
        parent=int(fields[1]),
        kernel=bool(int(fields[6]) & _KERNEL_THREAD),
        cpu_ns=(int(fields[11]) + int(fields[12])) * _TICK_NS,
    )


def called(name: str, arguments: Sequence[str]) -> str:
    """Return a process's name, of an interpreter with what it runs: ``python3 train.py``.

    ``arguments`` are those behind the program. Of code on the command line ``-c`` is enough.
    """
    if not name.startswith(_INTERPRETERS):
        return name
    for option, value in zip_longest(arguments, arguments[1:], fillvalue=""):
        if option in ("-m", "-jar"):
            return f"{name} {option} {value}".strip()[:_LONGEST_NAME]
        if option == "-c":
            return f"{name} -c"
        if option and not option.startswith("-"):
            return f"{name} {PurePath(option).name}"[:_LONGEST_NAME]
    return name


class CpuTimes(NamedTuple):
    """The time that CPUs were busy, and that the hypervisor took from them, in ns since boot.

    Interrupts are left out, soft ones too: no process has them, and a network or a GPU makes them
    for our own requests.
    """

    busy_ns: int
    stolen_ns: int


def parse_cpu_times(text: bytes, cpus: Iterable[int]) -> CpuTimes | None:
    """Sum up the lines of some CPUs of a ``/proc/stat``; None where it has none of them."""
    wanted = {b"cpu%d" % cpu for cpu in cpus}
    busy = stolen = found = 0
    for line in text.splitlines():
        name, *values = line.split()
        if name in wanted:
            user, nice, system, _idle, _wait, _irq, _soft_irq, steal = map(int, values[:8])
            busy += user + nice + system
            stolen += steal
            found += 1
        elif found and not name.startswith(b"cpu"):
            break
    return CpuTimes(busy * _TICK_NS, stolen * _TICK_NS) if found else None


def parse_pressure(text: bytes) -> int | None:
    """Return the time (ns) some task waited for a CPU, from ``/proc/pressure/cpu``, else None."""
    for line in text.splitlines():
        if line.startswith(b"some ") and b"total=" in line:
            return int(line.rpartition(b"total=")[2]) * 1000
    return None


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the kernel's counters, in ns; they only say something against another look.

    ``others_ns`` and ``ours_ns`` are CPU times by process, ``kernel_ns`` by thread of the kernel,
    which works for anybody, ours too. Who is ``elsewhere`` may use none of our CPUs. ``waited_ns``
    is by thread of ours the time that it was ready to run and had no CPU (None where that cannot be
    read). ``cpu_times`` are those of the CPUs that ours may use, ``pressure_ns`` the machine's PSI.
    ``stopped`` has those of ours that a signal holds.
    """

    at_ns: int
    others_ns: Mapping[int, int]
    ours_ns: Mapping[int, int]
    waited_ns: Mapping[int, int] | None = None
    cpu_times: CpuTimes | None = None
    pressure_ns: int | None = None
    stopped: tuple[int, ...] = ()
    kernel_ns: Mapping[int, int] = field(default_factory=dict)
    elsewhere: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen between two times, in CPUs: seconds per second.

    ``others`` is what other processes used, ``by`` how much of it by pid; ``unseen`` what nobody
    who can be seen used, over at least two seconds. ``ours`` is the use of client, sampler and
    server, ``waited`` how long their threads waited for a CPU, together. ``stolen`` was taken by
    the hypervisor. What could not be read is None. ``pressure`` is the share of the time in which
    any task of the machine waited. ``held_up_s`` is how long the client's loop stood still.
    """

    others: float | None
    ours: float
    by: Mapping[int, float] = field(default_factory=dict)
    unseen: float | None = None
    waited: float | None = None
    stolen: float | None = None
    pressure: float | None = None
    held_up_s: float = 0.0
    stopped: tuple[int, ...] = ()

    @property
    def lost(self) -> float:
        """Return about how long threads of ours waited because of others, in s per s.

        Ours wait for each other too: the waits are parted as the CPU time is.
        """
        others = self.others or 0.0
        return min(others, (self.waited or 0.0) * others / max(others + self.ours, 1e-9))


def _rise(before: Mapping[int, int], after: Mapping[int, int]) -> dict[int, int]:
    """Return how much each counter rose; a new one, or one whose number is used again, from 0."""
    rises = {}
    for key, value in after.items():
        old = before.get(key, 0)
        rises[key] = value - old if value >= old else value
    return rises


def between(before: Look, after: Look) -> Seen:
    """Return what two looks say of the time between them, all but the unseen and the client."""
    span_ns = after.at_ns - before.at_ns
    by, kernel = (
        {
            pid: rise / span_ns
            for pid, rise in _rise(*times).items()
            if rise and pid not in after.elsewhere
        }
        for times in ((before.others_ns, after.others_ns), (before.kernel_ns, after.kernel_ns))
    )
    waited = stolen = unseen = pressure = None
    others, ours = sum(by.values()), sum(_rise(before.ours_ns, after.ours_ns).values()) / span_ns
    if before.waited_ns is not None and after.waited_ns is not None:
        waited = sum(_rise(before.waited_ns, after.waited_ns).values()) / span_ns
    if before.cpu_times is not None and after.cpu_times is not None:
        stolen = (after.cpu_times.stolen_ns - before.cpu_times.stolen_ns) / span_ns
        busy = (after.cpu_times.busy_ns - before.cpu_times.busy_ns) / span_ns
        unseen = busy - ours - others - sum(kernel.values())
    if before.pressure_ns is not None and after.pressure_ns is not None:
        pressure = (after.pressure_ns - before.pressure_ns) / span_ns
    return Seen(
        others,
        ours,
        by,
        unseen,
        waited,
        stolen,
        pressure,
        stopped=(*before.stopped, *after.stopped),
    )


class Counters:
    """Reads the kernel's counters below ``root``.

    ``server_pid`` is the root of the server's processes, None where it runs elsewhere; where it is
    ``attached``, what forwards requests to containers is ours. ``helpers`` are processes of this
    one that measure too. ``names`` has those others that used a CPU much,
    ``cpus`` how many ours may use, ``pinned`` whether there are more.
    """

    def __init__(
        self,
        server_pid: int | None = None,
        helpers: Iterable[int] = (),
        *,
        attached: bool = False,
        root: Path = Path("/"),
    ) -> None:
        self._proc = os.fspath(root / "proc")
        self._exact = root == Path("/")
        self._server_pid = server_pid
        self._forwarders = FORWARDERS if attached else ()
        self._roots = {os.getpid(), *helpers}
        self._ours = self._roots
        self._known: dict[int, Process] = {}
        self._last = Look(0, {}, {})
        self._looks = 0
        self._asleep: set[int] = set()
        self._waited: dict[int, tuple[int, int]] = {}
        self.names: dict[int, str] = {}
        allowed = os.sched_getaffinity(0)
        if server_pid is not None:
            with suppress(OSError):
                allowed |= os.sched_getaffinity(server_pid)
        self._cpus = allowed
        self._elsewhere: set[int] = set()
        self.cpus = len(allowed)
        self.pinned = self.cpus < os.sysconf("SC_NPROCESSORS_ONLN")

    def look(self) -> Look:
        """Read them all."""
        at_ns = time.monotonic_ns()
        self._looks += 1
        pids = self._pids()
        others: dict[int, int] = {}
        kernel: dict[int, int] = {}
        ours: dict[int, int] = {}
        waited: dict[int, int] = {}
        stopped = []
        for pid in pids:
            if pid in self._ours:
                ours[pid] = self._cpu_ns(pid)
                waited.update(self._waits(pid))
                status = parse_stat(self._read(f"{pid}/stat"))
                if status is not None and status.state in "Tt":
                    stopped.append(pid)
            elif pid in self._known:
                (kernel if self._known[pid].kernel else others)[pid] = self._cpu_ns(pid)
        self._note(at_ns, others, kernel)
        self._last = Look(
            at_ns,
            others,
            ours,
            waited or None,
            parse_cpu_times(self._read("stat"), self._cpus),
            parse_pressure(self._read("pressure/cpu")),
            tuple(stopped),
            kernel,
            frozenset(self._elsewhere),
        )
        return self._last

    def name(self, pid: int) -> str:
        """Return the name of a process that was seen."""
        known = self._known.get(pid)
        return "a process" if known is None else known.name

    def _pids(self) -> list[int]:
        """List the processes; note what is new, and who of them is ours."""
        try:
            # Not pathlib: it takes ten times as long.
            pids = [int(name) for name in os.listdir(self._proc) if name.isdigit()]  # noqa: PTH208
        except OSError:
            return []
        for pid in self._known.keys() - set(pids):  # its number may come again
            del self._known[pid]
        new = [pid for pid in pids if pid not in self._known]
        for pid in new:
            status = parse_stat(self._read(f"{pid}/stat"))
            if status is not None:
                self._known[pid] = status
        if new and self._server_pid is not None:
            tree, more = set[int](), {self._server_pid}
            while more:
                tree |= more
                more = {pid for pid, one in self._known.items() if one.parent in tree} - tree
            forward = {pid for pid, one in self._known.items() if one.name in self._forwarders}
            self._ours = self._roots | tree | forward
        return pids

    def _note(self, at_ns: int, others_ns: Mapping[int, int], kernel_ns: Mapping[int, int]) -> None:
        """Note of those who work on which CPUs they may, and the names of the others."""
        last, least_ns = self._last, NOTEWORTHY * (at_ns - self._last.at_ns)
        for before, after in ((last.others_ns, others_ns), (last.kernel_ns, kernel_ns)):
            for pid, cpu_ns in after.items():
                if cpu_ns - before.get(pid, 0) <= least_ns:
                    continue
                self._elsewhere.discard(pid)
                with suppress(OSError):
                    if self._exact and not os.sched_getaffinity(pid) & self._cpus:
                        self._elsewhere.add(pid)
                        continue
                if after is others_ns and pid not in self.names:
                    # When it works: a process that was just forked has still its parent's name.
                    name = self._read(f"{pid}/comm").decode(errors="replace").strip()
                    command = self._read(f"{pid}/cmdline").decode(errors="replace").split("\0")
                    self.names[pid] = called(name or self.name(pid), command[1:])

    def _cpu_ns(self, pid: int) -> int:
        if self._exact:
            # clock_getcpuclockid(3): the id of another process's CPU clock, all its threads.
            with suppress(OSError):
                return time.clock_gettime_ns((~pid << 3) | 2)
        status = parse_stat(self._read(f"{pid}/stat"))
        return 0 if status is None else status.cpu_ns

    def _waits(self, pid: int) -> dict[int, int]:
        """Read how long each thread waited; of one that sleeps, only at every eighth look.

        A Triton has a hundred threads or more, of which few work.
        """
        threads: list[str] = []
        with suppress(OSError):
            threads = os.listdir(f"{self._proc}/{pid}/task")  # noqa: PTH208
        found = {}
        for thread in map(int, threads):
            if thread in self._asleep and self._looks % _ASLEEP_LOOKS:
                found[thread] = self._waited[thread][1]
                continue
            values = self._read(f"{pid}/task/{thread}/schedstat").split()
            if len(values) > 1:
                ran_ns, waited_ns = int(values[0]), int(values[1])
                same = self._waited.get(thread) == (ran_ns, waited_ns)
                (self._asleep.add if same else self._asleep.discard)(thread)
                self._waited[thread] = ran_ns, waited_ns
                found[thread] = waited_ns
        return found

    def _read(self, name: str) -> bytes:
        """Return a small file's content, empty where it cannot be read."""
        try:
            file = os.open(f"{self._proc}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(file, _MOST_BYTES)
        except OSError:
            return b""
        finally:
            os.close(file)
