"""Who else uses this machine: CPUs, GPUs, a hypervisor's other guests."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_gaitperf.doctor.finding import Finding
from pytest_gaitperf.host.files import number, text
from pytest_gaitperf.host.gpu import gpu_use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor.finding import Machine, State

NOISY, TOO_MUCH = 0.05, 0.25
"""Shares of the CPUs, or of a GPU's time, in others' hands: a warning, and no measurement."""

_GUEST = re.compile(r"^flags\b.*\bhypervisor\b", re.MULTILINE)


def _state(share: float) -> State:
    if share < NOISY:
        return "ok"
    return "warn" if share < TOO_MUCH else "fix"


def cpu(machine: Machine) -> Iterator[Finding]:
    """Name those who keep the CPUs busy."""
    usage = machine.usage
    state = _state(usage.others / usage.cpus)
    top = ", ".join(f"{one.name} ({one.pid}) {one.cpus:.2f}" for one in usage.top)
    what = f"others keep {usage.others:.2f} of {usage.cpus} CPUs busy" + (f": {top}" if top else "")
    if state == "ok":
        yield Finding("other load", "ok", what)
    else:
        advice = "end them, or measure when they rest; what cannot be seen is outside a container"
        yield Finding("other load", state, what, advice, "top -o %CPU")
    if usage.stolen / usage.cpus >= NOISY / 5:
        what = f"the hypervisor took {usage.stolen:.2f} of {usage.cpus} CPUs for other guests"
        yield Finding("steal", _state(usage.stolen / usage.cpus), what, "use a machine of your own")
    elif _GUEST.search(text(machine.root / "proc/cpuinfo") or ""):
        what = "a virtual machine: its neighbours' load comes and goes unseen"
        advice = "see what it resolves:"
        yield Finding("hypervisor", "warn", what, advice, "gaitperf doctor --noise")


def gpu(machine: Machine) -> Iterator[Finding]:
    """Tell how busy the GPUs are, and name the processes on them."""
    for path in sorted((machine.root / "sys/class/devfreq").glob("*/device/load")):
        permille = number(path)
        if permille is not None:  # a Jetson's: 0 to 1000
            name = path.parents[1].name
            yield _busy(name, permille / 1000, "")
    for name, use in (gpu_use() if machine.root == Path("/") else {}).items():
        others = [text for pid in use.processes if (text := _other(pid))]
        who = f", used by {', '.join(others)}" if others else ""
        if use.busy is None:
            yield Finding("GPU load", "ok", f"{name} does not tell how busy it is{who}")
        else:
            yield _busy(name, use.busy, who)


def _busy(name: str, share: float, who: str) -> Finding:
    state = _state(share)
    advice = "" if state == "ok" else "end what uses it, or measure when it rests"
    return Finding("GPU load", state, f"{name} is {share:.0%} busy{who}", advice)


def _other(pid: int) -> str:
    """Name a process, "" for a Triton or this very process; a container's may have no name here."""
    with suppress(psutil.Error):
        family = [psutil.Process(pid), *psutil.Process(pid).parents()]
        if pid == os.getpid() or any(member.name() == "tritonserver" for member in family):
            return ""
        return f"{family[0].name()} ({pid})"
    return f"process {pid}"


CHECKS = (cpu, gpu)
