"""The memory of a server's processes, from ``/proc``: what is resident, and was at most."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from pytest_gaitperf.arrays import free_memory
from pytest_gaitperf.files import text_at
from pytest_gaitperf.triton.placement import all_processes, own_processes

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIELD = re.compile(r"^(\w+):\s+(\d+) kB", re.MULTILINE)
_ENDED = re.compile(r"^State:\s+[ZX]", re.MULTILINE)
_RESET_PEAK = "5"
_STUB = "triton_python_backend_stub"


class Memory(NamedTuple):
    """Bytes: resident now, and at most since the peak was last reset."""

    resident: int = 0
    peak: int = 0

    def __add__(self, other: tuple[object, ...]) -> Memory:
        """Return what both take together."""
        assert isinstance(other, Memory)
        return Memory(self.resident + other.resident, self.peak + other.peak)


NO_MEMORY = Memory()


def memory_of(pids: Iterable[int], proc: Path = Path("/proc")) -> Memory | None:
    """Return the memory of some processes together, None where one cannot be read.

    Of a process it is its proportional share (PSS) of anonymous and of shared memory, swapped out
    or not, so that what processes share counts once, and whatever it maps of files, in full: the
    PSS of code changes with who else runs, by a fifth for a small model that is served alone. One
    that has ended takes nothing, also where nobody has waited for it. A peak is what the kernel
    has counted (VmHWM), so that nothing has to be read while it lasts. Reading takes milliseconds,
    in which the process cannot map memory: do it between loads.
    """
    found = NO_MEMORY
    for pid in pids:
        shares = _fields(text_at(proc / str(pid) / "smaps_rollup"))
        status = text_at(proc / str(pid) / "status")
        whole = _fields(status)
        try:
            resident = shares["Pss_Anon"] + shares["Pss_Shmem"] + shares.get("SwapPss", 0)
            resident += whole["RssFile"]
            above = max(whole["VmHWM"] - whole["VmRSS"], 0)
        except KeyError:
            if _ENDED.search(status) or not psutil.pid_exists(pid):
                continue
            return None
        found += Memory(resident << 10, (resident + above) << 10)
    return found


def reset_peaks(pids: Iterable[int]) -> None:
    """Let the peaks of some processes begin anew: in microseconds."""
    for pid in pids:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def processes(
    server_pid: int | None, models: Iterable[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the server's processes that serve no model alone, and those that serve these."""
    own = dict.fromkeys(pid for name in models for pid in own_processes(server_pid, name))
    stubs: set[int] = set()
    everything = all_processes(server_pid)
    for pid in everything:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if pid not in stubs and any(_STUB in word for word in process.cmdline()[:1]):
                stubs |= {pid, *(child.pid for child in process.children(recursive=True))}
    return tuple(pid for pid in everything if pid not in stubs), tuple(own)


def hold_twice(pids: Iterable[int]) -> bool:
    """Whether free memory would hold these processes a second time; not if they use a GPU's."""
    pids = tuple(pids)
    if not pids or any("libcuda.so" in text_at(Path(f"/proc/{pid}/maps")) for pid in pids):
        return False
    memory = memory_of(pids)
    return memory is not None and memory.peak < free_memory()


def _fields(text: str) -> dict[str, int]:
    """Return the sizes that a file of ``/proc`` gives, in KiB."""
    return {name: int(size) for name, size in _FIELD.findall(text)}
