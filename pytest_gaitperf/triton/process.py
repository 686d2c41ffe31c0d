"""A server that we started: its supervisor, its log and its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton import supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping

GRACE_S = 8.0
"""How long a server may take to end after it was asked to; then it is killed."""

_TAIL_BYTES = 64 * 1024
_LINE_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one server, on 127.0.0.1."""

    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run.

    ``region_prefix`` begins the names of the stubs' shared memory regions ("" when they are not
    on this host). ``stop`` and ``kill`` are commands that end the server where a signal to the
    child is not enough (a container); empty otherwise.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    region_prefix: str = ""
    stop: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()


class PrivateDirectory:
    """A folder of our own, and the names derived from it; removed on close."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="gaitperf-triton-"))
        self.token = uuid.uuid4().hex[:12]

    def close(self) -> None:
        """Remove it; a file that cannot be removed stays."""
        shutil.rmtree(self.path, ignore_errors=True)


class ServerProcess:
    """A started server; its end is certain even when this process is killed.

    ``pid`` is tritonserver's (in docker mode the docker client's), ``log`` its log file.
    """

    def __init__(self, launch: Launch, log: Path, directory: Path) -> None:
        self.log = log
        self._launch = launch
        # A path that is gone by the time it is read helps nobody.
        self._log_title = (
            "the server's last words:" if directory in log.parents else f"last lines of {log}:"
        )
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
        except OSError as error:
            raise ServerError(
                f"the server's log {log} cannot be written ({error.strerror}): give a writable "
                "directory"
            ) from error
        job = {
            "command": launch.command,
            "stop": launch.stop,
            "kill": launch.kill,
            "grace_s": GRACE_S,
            "log": str(log.absolute()),
            "directory": str(directory),
            "region_prefix": launch.region_prefix,
            "parent": os.getpid(),
        }
        with log.open("ab") as errors:
            self._supervisor = subprocess.Popen(  # noqa: S603  our own interpreter and file
                # -I -S: neither the user's environment nor site hooks reach the supervisor.
                [sys.executable, "-I", "-S", supervisor.__file__, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(launch.environment),
                start_new_session=True,
            )
        try:
            pipe = self._supervisor.stdout
            answer = "" if pipe is None else pipe.readline().decode(errors="replace").strip()
            if pipe is not None:
                pipe.close()
        except BaseException:
            self._supervisor.kill()
            self._supervisor.wait()
            raise
        kind, _, value = answer.partition(" ")
        if kind != "pid":
            self._supervisor.wait()
            raise ServerError(
                f"{launch.command[0]} cannot be started: {value or 'its supervisor failed'}\n"
                + self.log_tail()
            )
        self.pid = int(value)

    def poll(self) -> int | None:
        """Return None while the server runs, else its exit status (128 + n after signal n)."""
        return self._supervisor.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the server's end, at most ``timeout_s`` seconds; return what poll returns."""
        with suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(timeout_s)
        return self.poll()

    def how_it_ended(self) -> str:
        """Say the exit status in words."""
        code = self.poll()
        if code is None:
            return "still runs"
        number = -code if code < 0 else code - 128
        if number > 0:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(number).name}"
        return f"exited with status {code}"

    def stop(self) -> None:
        """Ask the server to end, kill it when it does not, and clean up after it; idempotent."""
        if self.poll() is None:
            self._supervisor.terminate()
            # Twice, because a container has its stop command and its kill command.
            self.wait(2 * GRACE_S + 7)
        if self.poll() is None:
            self._supervisor.kill()
            self._supervisor.wait()
        # The supervisor has done this already, unless it was killed.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        supervisor.remove_regions(self._launch.region_prefix)

    def log_lines(self) -> list[str]:
        """Return the last lines of the log, without its tables and cut where they are long."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        return [
            line[:_LINE_CHARACTERS]
            for line in text.splitlines()
            if line.strip() and not line.startswith(("|", "+-"))
        ]

    def log_tail(self, lines: int = 12) -> str:
        """Return the log's last lines, indented, under its path where that is kept."""
        return format_lines(self._log_title, self.log_lines()[-lines:])


def format_lines(title: str, lines: list[str]) -> str:
    """Return a titled block of log lines."""
    return "\n".join([title, *(f"  {line}" for line in lines or ["(empty)"])])
