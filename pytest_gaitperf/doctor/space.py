"""Room: memory, swap, shared memory, disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.doctor.finding import Finding
from pytest_gaitperf.host.files import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor.finding import Machine, State

_GIB = 2.0**30
_LITTLE_MEMORY_GIB, _NO_MEMORY_GIB = 1.0, 0.25
_LITTLE_DISK_GIB, _NO_DISK_GIB = 1.0, 0.1
_LITTLE_SHARED_GIB, _NO_SHARED_GIB = 0.25, 0.02
_SWAPPED_SHARE = 0.1


def memory(machine: Machine) -> Iterator[Finding]:
    """Tell what is free, and whether the machine swaps."""
    lines = (text(machine.root / "proc/meminfo") or "").splitlines()
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    if "MemAvailable" not in kib or "MemTotal" not in kib:
        return
    free, whole = kib["MemAvailable"] * 1024 / _GIB, kib["MemTotal"] * 1024 / _GIB
    what = f"{free:.1f} of {whole:.1f} GiB are free"
    if free < _LITTLE_MEMORY_GIB:
        state: State = "fix" if free < _NO_MEMORY_GIB else "warn"
        advice = "end what holds it; a server with several models needs some GiB"
        yield Finding("memory", state, what, advice, "ps aux --sort=-rss | head")
    else:
        yield Finding("memory", "ok", what)
    swapped = (kib.get("SwapTotal", 0) - kib.get("SwapFree", 0)) * 1024 / _GIB
    kind = "zram" if "zram" in (text(machine.root / "proc/swaps") or "") else "swap"
    if machine.usage.paged:
        what = f"{machine.usage.paged} pages went to or from {kind} while we looked: pauses"
        yield Finding("swap", "warn", what, "end what holds the memory")
    elif swapped > _SWAPPED_SHARE * whole:
        what = f"{swapped:.1f} GiB lie in {kind}, and come back in the middle of a measurement"
        command = "sudo swapoff -a && sudo swapon -a"
        yield Finding("swap", "warn", what, "where so much memory is free:", command)
    else:
        yield Finding("swap", "ok", f"{swapped:.1f} GiB in {kind}")


def shared_memory(machine: Machine) -> Iterator[Finding]:
    """See whether tensors and the Python backend find room in /dev/shm."""
    folder = machine.root / "dev/shm"
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        what = f"{folder} is missing or not writable: the server's Python backend cannot start"
        yield Finding("shared memory", "fix", what, "", "sudo mount -t tmpfs shm /dev/shm")
        return
    free = shutil.disk_usage(folder).free / _GIB
    what = f"{free:.2f} GiB are free in {folder}"
    if free < _LITTLE_SHARED_GIB:
        state: State = "fix" if free < _NO_SHARED_GIB else "warn"
        advice = "in a container, start it with --ipc=host or --shm-size=1g; else:"
        command = "sudo mount -o remount,size=1G /dev/shm"
        yield Finding("shared memory", state, what, advice, command)
    else:
        yield Finding("shared memory", "ok", what)


def disk(machine: Machine) -> Iterator[Finding]:
    """See whether baselines, results and the server's private files find room."""
    baselines = machine.settings.baselines
    nearest = next(path for path in (baselines, *baselines.absolute().parents) if path.is_dir())
    if not os.access(nearest, os.W_OK):
        what = f"{nearest} is not writable: baselines can be compared with, but not recorded"
        yield Finding("disk", "warn", what, "", f"sudo chown -R $USER {nearest}")
    for folder, use in ((nearest, "baselines"), (Path(tempfile.gettempdir()), "the server")):
        free = shutil.disk_usage(folder).free / _GIB
        what = f"{free:.1f} GiB are free for {use} at {folder}"
        if free < _LITTLE_DISK_GIB:
            state: State = "fix" if free < _NO_DISK_GIB else "warn"
            yield Finding(
                "disk", state, what, "free some space there", f"du -xh {folder} | sort -h"
            )
        else:
            yield Finding("disk", "ok", what)


CHECKS = (memory, shared_memory, disk)
