#!/usr/bin/env python3
"""A fake `docker`: it parses the command lines that pytest-gaitperf uses and runs a local server.

There is no engine on a test machine. `run` starts the Triton of the nvidia-pytriton wheel with the
container's flags, stays in the foreground as `docker run` does and passes signals on; `inspect`
prints the server's pid; `stop` and `kill` end it. State is in the directory FAKE_DOCKER_STATE.
FAKE_DOCKER_ERROR makes `run` fail with that text, as the engine's client does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

STATE = Path(os.environ["FAKE_DOCKER_STATE"])


def run(arguments: list[str]) -> int:
    """`docker run`: only with the options of the field's command line."""
    if message := os.environ.get("FAKE_DOCKER_ERROR"):
        sys.stderr.write(f"docker: {message}\n")
        return 125
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--rm", action="store_true", required=True)
    parser.add_argument("--pull", choices=["never"], required=True)
    parser.add_argument("--runtime", choices=["nvidia"], required=True)
    parser.add_argument("--net", choices=["host"], required=True)
    parser.add_argument("--ipc", choices=["host"], required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("-v", dest="volume", required=True)
    parser.add_argument("image")
    parser.add_argument("program", choices=["tritonserver"])
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    parsed = parser.parse_args(arguments)
    repository, _, inside = parsed.volume.removesuffix(":ro").partition(":")

    # Only `run` needs these.
    from pytest_gaitperf.triton.launch import Local, Ports, ServerOptions  # noqa: PLC0415

    installation = Local.find()
    if installation is None:
        sys.exit("the fake docker needs nvidia-pytriton")
    directory = Path(tempfile.mkdtemp(prefix="gaitperf-triton-"))
    try:
        options = ServerOptions(repository=Path(repository))
        launch = installation.launch(options, Ports(0, 0, 0), directory)
        own = [flag for flag in launch.command if flag.startswith("--backend-directory")]
        given = [
            flag.replace(f"--model-repository={inside}", f"--model-repository={repository}")
            for flag in parsed.flags
        ]
        # The engine's containers are children of its daemon and not of the client.
        server = subprocess.Popen(
            [launch.command[0], *given, *own], env=dict(launch.environment), start_new_session=True
        )
        (STATE / parsed.name).write_text(str(server.pid), encoding="utf-8")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: server.send_signal(received))
        status = server.wait()
        (STATE / parsed.name).unlink()
    finally:
        shutil.rmtree(directory)
    return status if status >= 0 else 128 - status


def end(name: str, grace_s: float) -> int:
    """`docker stop` and `docker kill`: the latter has no grace."""
    try:
        pid = int((STATE / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        sys.stderr.write(f"Error response from daemon: No such container: {name}\n")
        return 1
    with suppress(ProcessLookupError):
        if grace_s > 0:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.1)
        os.killpg(pid, signal.SIGKILL)
    return 0


def inspect(template: str, name: str) -> int:
    """`docker inspect --format {{.State.Pid}}`."""
    if template != "{{.State.Pid}}":
        sys.exit(f"the fake docker cannot format {template}")
    print((STATE / name).read_text(encoding="utf-8"))
    return 0


def main() -> int:
    """Do what the command line says."""
    command, *arguments = sys.argv[1:]
    with (STATE / "calls").open("a", encoding="utf-8") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\n")
    if command == "run":
        return run(arguments)
    if command == "stop" and arguments[0] == "-t":
        return end(arguments[2], float(arguments[1]))
    if command == "kill":
        return end(arguments[0], 0.0)
    if command == "inspect" and arguments[0] == "--format":
        return inspect(arguments[1], arguments[2])
    sys.exit(f"the fake docker does not know {sys.argv[1:]}")


if __name__ == "__main__":
    sys.exit(main())
