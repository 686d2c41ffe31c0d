"""A Triton in a container, with the command line that the field uses on a Jetson."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from pytest_gaitperf.triton.local import server_flags
from pytest_gaitperf.triton.process import GRACE_S, Launch, Ports, PrivateDirectory

if TYPE_CHECKING:
    from pytest_gaitperf.triton.options import ServerOptions

_START = "start it with 'sudo systemctl start docker'"
_FETCH = "fetch the image with 'docker pull {image}', or name another with --triton-image"
_TOOLKIT = "install the NVIDIA container toolkit and restart docker"
_REMEDIES = (
    ("permission denied", "add yourself to the group 'docker' and log in again, or use sudo"),
    ("cannot connect to the docker daemon", _START),
    ("is the docker daemon running", _START),
    ("no such image", _FETCH),
    ("unable to find image", _FETCH),
    ("unknown or invalid runtime", _TOOLKIT),
)


def find() -> str | None:
    """Return the path of the executable ``docker``."""
    return shutil.which("docker")


def container_name(private: PrivateDirectory) -> str:
    """Return the name of the container of one session."""
    return f"gaitperf-{private.token}"


def launch(
    executable: str, options: ServerOptions, ports: Ports, private: PrivateDirectory
) -> Launch:
    """Prepare a start: ``docker run`` in the foreground, and the commands that end it."""
    name = container_name(private)
    command = (
        executable,
        "run",
        "--rm",
        # An image of several GB is fetched by the user, not within a time limit.
        "--pull=never",
        "--runtime",
        "nvidia",
        "--net=host",
        "--name",
        name,
        "-v",
        f"{options.repository.resolve()}:/models:ro",
        *(word for path in options.mounts for word in ("-v", f"{path}:{path}:ro")),
        options.image,
        "tritonserver",
        "--model-repository=/models",
        *server_flags(options, ports, f"gaitperf-{private.token}"),
    )
    return Launch(
        command,
        dict(os.environ),
        stop=(executable, "stop", "-t", str(round(GRACE_S) - 2), name),
        kill=(executable, "kill", name),
    )


def host_pid(executable: str, name: str) -> int | None:
    """Return the pid, on this host, of the container's first process; None when unknown."""
    try:
        answer = subprocess.run(  # noqa: S603  a fixed command
            [executable, "inspect", "--format", "{{.State.Pid}}", name],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return int(answer.stdout) or None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def remedy(log: str, image: str) -> str:
    """Return what to do about the engine's message in the log, "" when it is none we know."""
    text = log.lower()
    for symptom, advice in _REMEDIES:
        if symptom in text:
            return advice.format(image=image)
    return ""
