"""Is everything there that a measurement needs: a Triton, packages, room, the CI runner."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from pytest_gaitperf.doctor import Finding
from pytest_gaitperf.errors import GaitperfError, ServerError, first_line
from pytest_gaitperf.files import text_at
from pytest_gaitperf.lease import sweep, sweep_containers
from pytest_gaitperf.text import count
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.triton.launch import Docker, Local, remedy
from pytest_gaitperf.triton.models import model_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor import Machine, Severity

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


def leftovers(_machine: Machine) -> Iterator[Finding]:
    """Remove what runs that were killed have left, and say what."""
    swept = sweep()
    if (docker := Docker.find()) is not None:
        swept += sweep_containers(docker.executable)
    what = f"removed what killed runs had left: {', '.join(swept)}"
    yield Finding("leftovers", "ok", what if swept else "no killed run has left anything")


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


_DOCKER_S = 10.0
_NAMED = 4
_INSTALL = "pip install 'pytest-gaitperf[local]'"


def triton(machine: Machine) -> Iterator[Finding]:
    """Find the server, its version and its backends."""
    how, settings = machine.server, machine.settings
    if isinstance(how, Api):
        yield from _attached(how)
    elif isinstance(how, Local):
        yield from _local(how)
    elif how is not None:
        yield from _docker(how.executable, settings.triton_image)
    else:
        advice = {
            "attach": "start a server there, or name another address with --triton-url",
            "docker": "install Docker and the NVIDIA container toolkit, or use --triton=local",
        }.get(settings.triton, "install one, or give the address of a running one (--triton-url)")
        command = _INSTALL if settings.triton in ("auto", "local") else ""
        yield Finding("triton", "fix", "no server: " + "; ".join(machine.against), advice, command)


def _attached(api: Api) -> Iterator[Finding]:
    try:
        name, number = api.metadata()
        names = sorted({entry.name for entry in api.index() if entry.state == "READY"})
        backends = sorted({api.model(model, "").backend for model in names} - {""})
    except ServerError as error:
        yield Finding("triton", "fix", first_line(error), "restart that server")
        return
    where = f"{name or 'a server'} {number} runs at {api.url}"
    models = f"{count(len(names), 'model')} ready" if names else "no model is ready"
    using = f", backends {', '.join(backends)}" if backends else ""
    state: Severity = "ok" if names else "fix"
    advice = "" if names else "load a model there: there is nothing to measure"
    yield Finding("triton", state, f"{where}, {models}{using}", advice)


def _local(installation: Local) -> Iterator[Finding]:
    if installation.wheel is None:
        what = f"{installation.binary}, on PATH"
    else:
        what = f"from the wheel nvidia-pytriton {version('nvidia-pytriton')}"
    names = ", ".join(installation.backends()) or "unknown"
    yield Finding("triton", "ok", f"{what}, backends: {names} (its version: when it runs)")
    try:
        installation.check()
    except ServerError as error:
        library = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
        missing = library in str(error)
        command = f"sudo apt-get install {library}" if missing else ""
        yield Finding("libraries", "fix", str(error), command=command)
    else:
        if installation.wheel is not None:
            yield Finding("libraries", "ok", "everything that the server links is there")
    for note in installation.notes():
        command = f"{sys.executable} -m pip install 'numpy<2'"
        yield Finding("numpy", "warn", note, "the reference models cope with it", command)


def _docker(executable: str, image: str) -> Iterator[Finding]:
    runtimes = _asked(executable, "info", "--format", "{{json .Runtimes}}")
    if runtimes.returncode or not runtimes.stdout.startswith("{"):
        said = (runtimes.stderr.strip() or "it said nothing").splitlines()[-1]
        advice = remedy(runtimes.stderr, image) or "see whether 'docker info' works"
        yield Finding("docker", "fix", f"its engine does not answer: {said}", advice, "docker info")
        return
    names = ", ".join(sorted(json.loads(runtimes.stdout)))
    if "nvidia" in json.loads(runtimes.stdout):
        yield Finding("docker", "ok", f"the engine answers, runtimes {names}")
    else:
        yield Finding(
            "docker",
            "fix",
            f"the engine has no runtime nvidia (it has {names})",
            "install the NVIDIA container toolkit, then:",
            "sudo nvidia-ctk runtime configure && sudo systemctl restart docker",
        )
    found = _asked(executable, "image", "inspect", "--format", "{{json .Config.Env}}", image)
    if found.returncode:
        advice = "a run does not fetch gigabytes; or name another with --triton-image"
        command = f"docker pull {image}"
        yield Finding("triton", "fix", f"the image {image} is not here", advice, command)
        return
    variables = dict(entry.partition("=")[::2] for entry in json.loads(found.stdout) or ())
    number = variables.get("TRITON_SERVER_VERSION", "of an unknown version")
    yield Finding("triton", "ok", f"{number} in the image {image}")


def _asked(executable: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [executable, *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_DOCKER_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def repository(machine: Machine) -> Iterator[Finding]:
    """Find the models that a started server would serve."""
    if not isinstance(machine.server, (Local, Docker)):
        return
    folder = machine.settings.triton_repository
    try:
        names = [path.name for path in model_folders(folder)]
    except GaitperfError as error:
        yield Finding("models", "warn", str(error), command="gaitperf models build")
        return
    if names:
        shown = ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
        yield Finding("models", "ok", f"{len(names)} in {folder}: {shown}")
    else:
        what = f"{folder} has no model"
        yield Finding("models", "warn", what, command="gaitperf models build")
