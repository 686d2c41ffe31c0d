"""How a run would come by its Triton, and whether that works."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from pytest_gaitperf.doctor import Finding, Way
from pytest_gaitperf.errors import GaitperfError, ServerError, first_line
from pytest_gaitperf.text import count
from pytest_gaitperf.triton.api import Api, parse_url
from pytest_gaitperf.triton.launch import Docker, Local, remedy
from pytest_gaitperf.triton.models import model_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.doctor import Machine, Severity

_PROBE_S = 2.0
_DOCKER_S = 10.0
_NAMED = 4
_INSTALL = "pip install 'pytest-gaitperf[local]'"


def way_of(settings: Settings) -> Way:
    """Look in the order in which a run does; start nothing. ConfigurationError: a bad URL."""
    against = []
    if settings.triton in ("auto", "attach"):
        api = Api(*parse_url(settings.triton_url))
        answer = api.probe(_PROBE_S)
        if answer.server_id is not None:
            return Way("attach", api=api)
        against.append(f"{api.url}: {answer.text}")
        if settings.triton_url is not None:
            return Way("none", tuple(against))
    if settings.triton in ("auto", "local"):
        installation = Local.find()
        if installation is not None:
            return Way("local", tuple(against), installation=installation)
        against.append("no tritonserver on PATH, no nvidia-pytriton in this Python")
    if settings.triton in ("auto", "docker"):
        docker = Docker.find()
        if docker is not None:
            return Way("docker", tuple(against), docker=docker.executable)
        against.append("no docker on PATH")
    return Way("none", tuple(against))


def triton(machine: Machine) -> Iterator[Finding]:
    """Find the server, its version and its backends."""
    way, settings = machine.way, machine.settings
    if way.api is not None:
        yield from _attached(way.api)
    elif way.installation is not None:
        yield from _local(way.installation)
    elif way.docker:
        yield from _docker(way.docker, settings.triton_image)
    else:
        advice = {
            "attach": "start a server there, or name another address with --triton-url",
            "docker": "install Docker and the NVIDIA container toolkit, or use --triton=local",
        }.get(settings.triton, "install one, or give the address of a running one (--triton-url)")
        command = _INSTALL if settings.triton in ("auto", "local") else ""
        yield Finding("triton", "fix", "no server: " + "; ".join(way.against), advice, command)


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
    if machine.way.kind in ("attach", "none"):
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
