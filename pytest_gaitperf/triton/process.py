"""A server that we started: its start, its supervisor, its log, its CPU time and its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.triton import supervisor
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.triton.launch import GRACE_S, Ports, remedy
from pytest_gaitperf.triton.placement import all_processes
from pytest_gaitperf.way import FORWARDERS

if TYPE_CHECKING:
    from pytest_gaitperf.triton.launch import Docker, Launch, Local, ServerOptions

_ATTEMPTS = 4
_POLL_S = 0.05
_ENDS_S = 2.0
_IN_ORDER_S = 8.0
_TAIL_BYTES = 64 * 1024
_LINE_CHARACTERS = 400


class ServerProcess:
    """A started server; its end is certain even when this process is killed.

    ``pid`` is tritonserver's (in docker mode the docker client's), ``log`` its log file. The
    ``directory`` is its own, and is removed with it.
    """

    def __init__(self, launch: Launch, log: Path, directory: Path) -> None:
        self.log = log
        self.directory = directory
        self._launch = launch
        self._last_lines: list[str] | None = None
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
            self._supervisor = subprocess.Popen(
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

    def ends(self) -> bool:
        """Whether it has ended, or is about to.

        After one that was just killed things are put in order first, after a container for longer.
        """
        if self.wait(_ENDS_S) is None and not psutil.pid_exists(self.pid):
            self.wait(_IN_ORDER_S)
        return self.poll() is not None

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

    def ask_to_end(self) -> None:
        """Ask the server to end, and do not wait; ``close`` it. The log is another one's now."""
        self._supervisor.terminate()
        self.log.unlink(missing_ok=True)

    def close(self) -> None:
        """Ask the server to end, kill it when it does not, and clean up after it; idempotent."""
        if self._last_lines is not None:
            return
        if self.poll() is None:
            self._supervisor.terminate()
            # Twice, because a container has its stop command and its kill command.
            self.wait(2 * GRACE_S + 7)
        if self.poll() is None and not self._launch.kill:
            self._supervisor.kill()
            self._supervisor.wait()
        if self.poll() is None:
            # It still tries to remove the container, and goes on without us; its destructor would
            # warn of it.
            self._supervisor.returncode = 0
        # The supervisor has done this already, unless it was killed.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        supervisor.remove_regions(self._launch.region_prefix)
        self._last_lines = self.log_lines()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log_lines(self) -> list[str]:
        """Return the last lines of the log, without its tables and cut where they are long."""
        if self._last_lines is not None:
            return self._last_lines
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
        # A path that is gone by the time it is read helps nobody.
        private = self.directory in self.log.parents
        title = "the server's last words:" if private else f"last lines of {self.log}:"
        return format_lines(title, self.log_lines()[-lines:])


def format_lines(title: str, lines: list[str]) -> str:
    """Return a titled block of log lines."""
    return "\n".join([title, *(f"  {line}" for line in lines or ["(empty)"])])


def free_ports() -> Ports:
    """Choose three ports of 127.0.0.1 that are free now."""
    with ExitStack() as stack:
        numbers = []
        for _ in range(3):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            numbers.append(int(listener.getsockname()[1]))
        return Ports(*numbers)


def start(options: ServerOptions, starter: Local | Docker) -> tuple[ServerProcess, Ports]:
    """Start a server and wait until it is ready; ServerError, and nothing is left, otherwise."""
    taken = ""
    for _ in range(_ATTEMPTS):
        ports, directory = free_ports(), Path(tempfile.mkdtemp(prefix=prefix("triton")))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            log = (options.log_directory or directory) / "tritonserver.log"
            process = ServerProcess(starter.launch(options, ports, directory), log, directory)
            stack.callback(process.close)
            if _wait_ready(options, ports, process):
                stack.pop_all()
                return process, ports
            taken = process.log_lines()[-1]
    raise ServerError(
        f"Triton found its ports taken {_ATTEMPTS} times in a row: {taken}; start it yourself and "
        "give its address with --triton-url"
    )


def _wait_ready(options: ServerOptions, ports: Ports, process: ServerProcess) -> bool:
    """Wait until our server answers on every port; False where somebody took one of them.

    Raises ServerError where it died for another reason, or its time is over.
    """
    api = Api("127.0.0.1", ports.http)
    deadline = time.monotonic() + options.timeout_s
    while True:
        if process.poll() is not None:
            log = "\n".join(process.log_lines())
            if "already in use" in log and "failed to start" in log:
                return False
            advice = remedy(log, options.image)
            raise ServerError(
                f"Triton {process.how_it_ended()} before it was ready"
                f"{': ' if advice else ''}{advice}\n{process.log_tail()}"
            )
        # The id tells our server from another that got hold of the port.
        ours = api.ready() and api.probe(2.0).server_id == process.directory.name
        with suppress(OSError):
            if ours:
                socket.create_connection(("127.0.0.1", ports.metrics), timeout=1.0).close()
                return True
        if time.monotonic() > deadline:
            raise ServerError(
                f"Triton was not ready within {options.timeout_s:g} s and was stopped: a model may "
                "be slow to load; give more time with --triton-timeout\n" + process.log_tail()
            )
        time.sleep(_POLL_S)


def tree_cpu_seconds(pid: int) -> float | None:
    """Return user plus system CPU seconds of a process and its descendants, None if it is gone.

    Children that ended and were waited for count too, in ticks of 10 ms, the living in ns.
    """
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0.0
    for process in processes:
        # One that ends just now is counted by its parent in the next reading.
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.children_user + times.children_system
            try:
                # clock_getcpuclockid(3): the id of another process's CPU clock, scheduler time.
                total += time.clock_gettime((~process.pid << 3) | 2)
            except OSError:
                total += times.user + times.system
    return total


def tree_cpu_clocks(pid: int) -> tuple[int, ...]:
    """Return the CPU clocks of a process and its descendants as they are now, none if it is gone.

    Reading one takes a microsecond, finding them milliseconds.
    """
    found = all_processes(pid) if psutil.pid_exists(pid) else ()
    # clock_getcpuclockid(3): the id of another process's CPU clock, scheduler time.
    return tuple((~one << 3) | 2 for one in found)


def find_server(host: str, port: int) -> tuple[int | None, str]:
    """Find the process of an attached server: its pid, or None with the reason."""
    try:
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        return None, f"the server runs on another host ({host})"
    running = psutil.process_iter(["name"])
    candidates = [one.pid for one in running if one.info["name"] == "tritonserver"]
    with suppress(psutil.Error, OSError):
        listening = [
            one.pid
            for one in psutil.net_connections(kind="tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid is not None
        ]
        for pid in listening:
            if pid in candidates:
                return pid, ""
            if (name := psutil.Process(pid).name()) not in FORWARDERS:
                return None, f"what listens at port {port} is no tritonserver, but {name}"
    # The listener of another user or another container cannot be seen: one server is the server.
    if len(candidates) == 1:
        return candidates[0], ""
    if candidates:
        return None, f"{len(candidates)} tritonserver processes, and none can be tied to {port}"
    return None, "no tritonserver process can be seen on this host"
