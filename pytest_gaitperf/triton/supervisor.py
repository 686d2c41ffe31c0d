"""The process between us and the server: it sees to it that no server outlives its owner.

Run as a script, ``python -I -S supervisor.py JOB`` (JOB is JSON), with the standard library alone.
It starts the server in a session of its own, and stops it when told (SIGTERM) or when its own
parent is gone; if the supervisor itself is killed, the kernel kills the server. It is a process
because PDEATHSIG follows the *thread* that started the child, and because somebody has to remove
stubs, shared memory and folders afterwards.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PARENT_POLL_S = 0.5
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_REFUSED = 125
"""With this an engine's client ends that started no container (docker-run(1), exit status)."""
_CONTAINER_S = 300.0
_AGAIN_S = 0.5
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the kernel's name, not a temporary file


def remove_regions(prefix: str) -> None:
    """Remove the shared memory regions of the server's Python stubs."""
    if prefix:
        for region in _SHARED_MEMORY.glob(f"{prefix}*"):
            with suppress(OSError):
                region.unlink()


def main() -> int:
    """Run the job of ``sys.argv[1]``; return its status, 128 + the number of a fatal signal."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    # Stubs that lose their server become our children, so that they can be waited for.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    own_pid = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        if os.getppid() != own_pid:
            os._exit(1)

    try:
        with Path(job["log"]).open("ab") as log:
            server = subprocess.Popen(
                job["command"],
                # Whatever ends us closes it, and a container ends when it does.
                stdin=subprocess.PIPE if job["kill"] else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=in_child,  # noqa: PLW1509  this process has one thread
            )
    except OSError as error:
        print(f"error {error}", flush=True)  # noqa: T201  the answer to our parent
        return 127
    # From here the status is collected below, by wait(-1), and not by Popen.
    print(f"pid {server.pid}", flush=True)  # noqa: T201
    status = _watch(job, server.pid)
    _end(job, server.pid, status)
    remove_regions(job["region_prefix"])
    if os.getppid() != job["parent"]:
        shutil.rmtree(job["directory"], ignore_errors=True)
    server.returncode = 0  # so that its destructor does not look for it
    code = os.waitstatus_to_exitcode(status[0]) if status else -signal.SIGKILL
    return code if code >= 0 else 128 - code


def _reap(server_pid: int, status: list[int]) -> bool:
    """Wait for whatever has ended; True once the server has, with its status in ``status``."""
    with suppress(ChildProcessError):
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == server_pid:
                status.append(code)
    return bool(status)


def _watch(job: dict[str, Any], server_pid: int) -> list[int]:
    """Return when the server has ended, or was told to and did, or our parent is gone."""
    status: list[int] = []
    while not _reap(server_pid, status):
        received = signal.sigtimedwait(_HANDLED, _PARENT_POLL_S)
        if os.getppid() != job["parent"]:
            return status
        if received is not None and received.si_signo != signal.SIGCHLD:
            if job["stop"]:
                _run(job["stop"], job["grace_s"])
            else:
                with suppress(ProcessLookupError):
                    os.kill(server_pid, signal.SIGTERM)
            deadline = time.monotonic() + job["grace_s"]
            stubs = _has_stubs(server_pid)
            while not _reap(server_pid, status) and time.monotonic() < deadline:
                if stubs and not _has_stubs(server_pid):
                    return status  # its models are unloaded, and it sleeps for a second or two
                signal.sigtimedwait((signal.SIGCHLD,), 0.1)
            return status
    return status


def _has_stubs(server_pid: int) -> bool:
    """Return whether the server's process group has other processes than the server."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != server_pid:
            with suppress(OSError):
                # The name, in brackets, may hold anything: state, parent and group come after it.
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[2]) == server_pid and fields[0] != b"Z":
                    return True
    return False


def _end(job: dict[str, Any], server_pid: int, status: list[int]) -> None:
    """Kill what is left: the server's whole group, orphaned stubs with it, and the container."""
    # First the client of a container, so that it starts none after it was asked for.
    with suppress(ProcessLookupError):
        os.killpg(server_pid, signal.SIGKILL)
    if job["kill"]:
        refused = bool(status) and os.waitstatus_to_exitcode(status[0]) == _REFUSED
        # A client that ended by itself has seen the container's end.
        _remove_container(job, 1 if status else 2, 0.0 if refused else _CONTAINER_S)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == server_pid:
            status.append(code)
        elif pid == 0:
            time.sleep(0.02)


def _remove_container(job: dict[str, Any], times: int, at_most_s: float) -> None:
    """Remove the container, again until the engine says so many times that there is none.

    A container may outlive the client that ran it, and an engine that stands still may make one
    that was asked for before. What is left after ``at_most_s`` the next start sweeps.
    """
    deadline = time.monotonic() + at_most_s
    gone = 0
    while True:
        said = _run(job["kill"], job["grace_s"])
        gone = gone + 1 if "no such container" in said.lower() else 0
        if gone >= times or time.monotonic() >= deadline:
            return
        time.sleep(_AGAIN_S)


def _run(command: list[str], timeout_s: float) -> str:
    """Run a command of the engine; return what it says."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
