"""Is everything there that a measurement needs: packages, memory and disk, the CI runner."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from pytest_gaitperf.doctor import Finding
from pytest_gaitperf.files import text_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor import Machine

_GIB = 2.0**30
# What is little, and what is too little.
_MEMORY_GIB, _DISK_GIB, _SHARED_GIB = (1.0, 0.25), (1.0, 0.1), (0.25, 0.02)
_SWAPPED_SHARE = 0.1
_OURS = "pytest-gaitperf"
_LEFT_OUT = frozenset({"dev"})
_SERVICES = "etc/systemd/system"


def _room(
    free_gib: float, limits_gib: tuple[float, float], name: str, what: str, *mend: str
) -> Finding:
    little, too_little = limits_gib
    if free_gib >= little:
        return Finding(name, "ok", what)
    return Finding(name, "fix" if free_gib < too_little else "warn", what, *mend)


def memory(machine: Machine) -> Iterator[Finding]:
    """Tell what is free, and whether the machine swaps."""
    lines = (text_at(machine.root / "proc/meminfo")).splitlines()
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    if "MemAvailable" not in kib or "MemTotal" not in kib:
        return
    free, whole = kib["MemAvailable"] * 1024 / _GIB, kib["MemTotal"] * 1024 / _GIB
    what = f"{free:.1f} of {whole:.1f} GiB are free"
    advice = "end what holds it; a server with several models needs some GiB"
    yield _room(free, _MEMORY_GIB, "memory", what, advice, "ps aux --sort=-rss | head")
    swapped = (kib.get("SwapTotal", 0) - kib.get("SwapFree", 0)) * 1024 / _GIB
    kind = "zram" if "zram" in (text_at(machine.root / "proc/swaps")) else "swap"
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
    advice = "in a container, start it with --ipc=host or --shm-size=1g; else:"
    command = "sudo mount -o remount,size=1G /dev/shm"
    yield _room(free, _SHARED_GIB, "shared memory", what, advice, command)


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
        command = f"du -xh {folder} | sort -h"
        yield _room(free, _DISK_GIB, "disk", what, "free some space there", command)


def packages(_machine: Machine) -> Iterator[Finding]:
    """Compare what is installed with what this package asks for."""
    about = metadata(_OURS)
    wanted = [Requirement(line) for line in about.get_all("Requires-Dist") or ()]
    yield Finding(
        "python",
        "ok",
        f"{platform.python_version()} at {sys.executable}, pytest {version('pytest')}, "
        f"{_OURS} {version(_OURS)}",
    )
    core = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    lacking = [text for one in core if (text := _lacking(one))]
    if lacking:
        command = f"{sys.executable} -m pip install --upgrade {_OURS}"
        yield Finding("packages", "fix", ", ".join(lacking), "", command)
    extras = [name for name in about.get_all("Provides-Extra") or () if name not in _LEFT_OUT]
    present: list[str] = []
    absent: list[str] = []
    for extra in extras:
        own = [one for one in wanted if one not in core and one.marker is not None]
        own = [one for one in own if one.marker and one.marker.evaluate({"extra": extra})]
        (absent if any(map(_lacking, own)) else present).append(extra)
    what = f"present: {', '.join(present) or 'none'}; not installed: {', '.join(absent) or 'none'}"
    yield Finding("extras", "ok", what)


def _lacking(wanted: Requirement) -> str:
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if wanted.specifier.contains(there, prereleases=True):
        return ""
    return f"{wanted.name} {there} is not {wanted.specifier}"


def runner(machine: Machine) -> Iterator[Finding]:
    """Find the runner's services, as its ``svc.sh install`` writes them; see docs/ci.md."""
    services = sorted((machine.root / _SERVICES).glob("actions.runner.*.service"))
    if not services:
        what = "no self-hosted runner is a service here (needed for CI only: docs/ci.md)"
        yield Finding("runner", "ok", what)
        return
    if len(services) > 1:
        what = f"{len(services)} runners on one device measure beside each other"
        command = f"sudo systemctl disable --now {services[-1].name}"
        yield Finding("runner", "fix", what, "leave one of them", command)
    for service in services:
        user = re.search(r"^User=(\S+)", text_at(service), re.MULTILINE)
        name = user[1] if user else "root"
        if name == "root":
            what = f"{service.name} runs as root: whoever may start a job owns the device"
            advice = "give it a user of its own, and install the service for that one (docs/ci.md)"
            command = "sudo ./svc.sh uninstall && sudo ./svc.sh install USER"
            yield Finding("runner", "warn", what, advice, command)
        else:
            yield Finding("runner", "ok", f"{service.name} runs as {name}")
