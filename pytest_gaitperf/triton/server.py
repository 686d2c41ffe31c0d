"""The server of a run: found at a URL, or started and stopped by us."""

from __future__ import annotations

import atexit
import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, final

from pytest_gaitperf.errors import ConfigurationError, RefusedError, ServerError, first_line
from pytest_gaitperf.lease import sweep, sweep_containers
from pytest_gaitperf.triton.api import Api, Listener
from pytest_gaitperf.triton.control import Lent, load_each, matching, reload
from pytest_gaitperf.triton.launch import Docker, Local
from pytest_gaitperf.triton.memory import hold_twice
from pytest_gaitperf.triton.models import (
    check_repository,
    no_statistics,
    why_not_ready,
    why_not_taken,
)
from pytest_gaitperf.triton.placement import all_processes, keep_on
from pytest_gaitperf.triton.process import (
    find_server,
    format_lines,
    start,
    tree_cpu_clocks,
    tree_cpu_seconds,
)
from pytest_gaitperf.way import PLAIN, Way, grpc_port, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_gaitperf.model import ModelInfo, ModelState
    from pytest_gaitperf.triton.launch import LoadModel, Mode, ServerOptions
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.triton.process import ServerProcess

_LOG_LINES_PER_MODEL = 6
_PROBE_S, _POLL_S = 5.0, 0.2

Found = tuple[Api | Local | Docker | None, list[str]]
"""How a run comes by its server, None for no way, and why not by the ways before it."""


def find(mode: Mode, url: str | None, way: Way = PLAIN, wait_s: float = 0.0) -> Found:
    """Find out how a run comes by its server.

    The server at a URL that was given may take ``wait_s`` to get there, and ready. Starts nothing.
    Raises ConfigurationError for a wrong URL.
    """
    api = Api(*parse_url(url, way))
    tried: list[str] = []
    if mode in ("auto", "attach"):
        answer = _awaited(api, wait_s if url is not None or mode == "attach" else 0.0)
        if answer.server_id is not None:
            return api, tried
        tried.append(f"{api.url}: {answer.text}")
        if url is not None:
            return None, tried
    if mode in ("auto", "local"):
        if (local := Local.find()) is not None:
            return local, tried
        tried.append("local: no tritonserver on PATH, and no nvidia-pytriton in this Python")
    if mode in ("auto", "docker"):
        if (docker := Docker.find()) is not None:
            return docker, tried
        tried.append("docker: no executable 'docker' on PATH")
    return None, tried


def _awaited(api: Api, wait_s: float) -> Listener:
    """Find out what listens there, once it is ready, or the time is over."""
    deadline = time.monotonic() + wait_s
    while True:
        answer = api.probe(_PROBE_S)
        settled = api.ready() if answer.server_id is not None else not answer.may_come
        if settled or time.monotonic() >= deadline:
            return answer
        time.sleep(_POLL_S)


def open_server(options: ServerOptions, found: Found | None = None) -> TritonServer:
    """Attach to the server at the URL, or start one, as the options say and ``find`` has found.

    Raises ServerError without one, ConfigurationError for a wrong URL, repository or model name.
    """
    sweep()
    how, tried = found or find(options.mode, options.url, options.way, options.wait_s)
    if isinstance(how, Docker):
        sweep_containers(how.executable)
    by_url = options.mode == "auto" and options.url is not None
    if how is None and (options.mode == "attach" or by_url):
        raise ServerError(
            f"no Triton to attach to at {tried[0]}; start one there, give the HTTP port of a "
            "running one with --triton-url, or have one started by leaving that out"
        )
    if how is None:
        raise ServerError(
            f"no Triton server; tried {'; '.join(tried)}. Install one with 'pip install "
            "pytest-gaitperf[local]', install Docker with the NVIDIA container toolkit, or start a "
            "server and give its address with --triton-url"
        )
    if not isinstance(how, Api):
        check_repository(options.repository, options.models)
    return TritonServer(options, how)


@final
class TritonServer:
    """A Triton that answers.

    ``mode`` says how it was come by; ``url`` is ``host:port`` of its HTTP endpoint, as tritonclient
    takes it, or with its scheme and path where those are not the usual ones; ``grpc_port`` is the
    one told, or supposed, when attached; ``process`` is None unless we started it, ``server_pid``
    its process on this host, None where that is unknown. ``failed_models`` holds the models that
    could not be loaded, with the reason, ``notes`` what to know of it, ``shares`` the bytes of its
    memory, and of a GPU's, put down to a model. Close it.
    """

    def __init__(self, options: ServerOptions, how: Api | Local | Docker) -> None:
        """Attach, or start one; ServerError where it, or none of the models, gets ready."""
        self._options = options
        self._how = how
        self._owner_pid = os.getpid()
        self._open()

    def _open(self) -> None:
        options, how = self._options, self._how
        self.failed_models, self.shares = dict[str, str](), dict[str, tuple[int, int]]()
        self.notes: tuple[str, ...] = ()
        self.process: ServerProcess | None = None
        self._steps: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
        self._closed = False
        self._lent: Lent | None = None
        self._late = dict[str, str]()
        atexit.register(self.close)
        try:
            if isinstance(how, Api):
                self.mode, self.api = "attach", how
                self.grpc_port = grpc_port(options.grpc_port, how.port, how.way)
                self.server_pid, self._pid_reason = find_server(how.host, how.port)
                if options.load:
                    self._lent = Lent(how, matching(how, options.load), options.timeout_s)
            else:
                self.mode, self.notes = how.mode, how.notes()
                self.process, ports = start(options, how)
                self.api, self.grpc_port = Api("127.0.0.1", ports.http), ports.grpc
                self.server_pid = how.server_pid(self.process.pid, self.process.directory.name)
                self._pid_reason = "the container's process cannot be seen on this host"
            self.host, self.http_port, self.url = self.api.host, self.api.port, self.api.url
            if self.process is not None and (load := options.load_model) is not None:
                load_each(self.api, options.models, options.timeout_s, partial(self._load, load))
            self._identify()
        except BaseException:
            self.close()
            raise

    def _load(self, load: LoadModel, name: str, timeout_s: float) -> None:
        """Load a model by itself, and note why it was not in time: any other reason the index has.

        What is late is unloaded before the next one is loaded, or it would load in that one's time.
        """
        try:
            load(self, name, timeout_s)
        except RefusedError:
            return
        except ServerError as error:
            self._late[name] = str(error)
            with suppress(ServerError):
                self.api.unload(name, timeout_s=timeout_s)

    def _identify(self) -> None:
        """Ask who it is and what it could not load; raise when no model asked for did."""
        self.version = self.api.metadata()[1]
        self.failed_models = self._failures()
        asked = self._options.models
        # Where others can be used, who asks for a failed one is told why by model().
        if asked and all(name in self.failed_models for name in asked):
            raise ServerError(
                f"Triton {self.version} ({self.mode}, {self.url}) could not load "
                + "\n".join(f"{name}: {self.failed_models[name]}" for name in asked)
            )

    def index(self) -> list[ModelState]:
        """Return what the server has, ready or not, with its state and the reason for it."""
        return self.api.index()

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that are ready, sorted."""
        return tuple(sorted({entry.name for entry in self.index() if entry.state == "READY"}))

    def unavailable(self) -> dict[str, str]:
        """Return the models of the index whose newest version is not ready, with the reason.

        A version that was unloaded, as an older one is, is not the newest.
        """
        versions: dict[str, list[ModelState]] = {}
        for entry in self.index():
            versions.setdefault(entry.name, []).append(entry)
        found = {name: why_not_ready(entries) for name, entries in versions.items()}
        return {name: why for name, why in found.items() if why}

    def model(self, name: str, version: str = "") -> ModelInfo:
        """Return a model's metadata; ``versions`` are the ones served.

        Raises ConfigurationError, with what there is, for a model or version that is not ready.
        """
        self._require(name, version)
        return self.api.model(name, version)

    def statistics(self, name: str, version: str = "") -> ModelStatistics:
        """Return a model's counters, of its highest version unless told; see ``model``.

        The parts of an ensemble's time are those of its steps. A server that has none to give, of a
        model that is ready, says why in ``absent``.
        """
        try:
            found = self.api.statistics(name, version)
            if (name, version) not in self._steps:
                self._steps[name, version] = self.api.model(name, version).steps
            steps = self._steps[name, version]
            return found.with_steps(self.statistics(*each) for each in steps) if steps else found
        except RefusedError as error:
            self._require(name, version)
            return no_statistics(first_line(error))
        except ServerError:
            self._require(name, version)
            raise

    def cpu_seconds(self) -> float | None:
        """Return CPU seconds of the server and all its stubs; see ``cpu_absent_reason``."""
        if self.server_pid is None:
            return None
        seconds = tree_cpu_seconds(self.server_pid)
        if seconds is None:
            self.server_pid = None
            self._pid_reason = "the server's process is gone"
        return seconds

    def cpu_clocks(self) -> tuple[int, ...]:
        """Return the ids of the CPU clocks of the server and its stubs; none where not known."""
        return () if self.server_pid is None else tree_cpu_clocks(self.server_pid)

    @property
    def cpu_absent_reason(self) -> str | None:
        """Why ``cpu_seconds`` gives None; None when it gives a number."""
        return None if self.server_pid is not None else self._pid_reason

    def keep_on(self, pids: Iterable[int], cpus: Iterable[int]) -> bool:
        """Let these processes of the server run on these CPUs only; return whether that works.

        Those of a container that belong to another user take the whole container with them.
        """
        cpus = frozenset(cpus)
        if keep_on(pids, cpus):
            return True
        how, process = self._how, self.process
        return (
            isinstance(how, Docker)
            and process is not None
            and how.keep_on(process.directory.name, cpus)
        )

    def check_alive(self) -> None:
        """Raise ServerError when the server died (with the log's end) or stopped answering."""
        if self._closed:
            raise ServerError(f"Triton at {self.url} was closed by this run")
        process = self.process
        if process is not None and process.poll() is not None:
            raise self._died(process)
        answer = self.api.probe(self.api.timeout_s)
        if answer.server_id is not None:
            return
        if process is None:
            raise ServerError(
                f"Triton at {self.url} no longer answers: {answer.text}; look at its own log and "
                "start it again"
            )
        if process.ends():
            raise self._died(process)
        raise ServerError(
            f"Triton at {self.url} runs but no longer answers: {answer.text}\n" + self.log_tail()
        )

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines of the server's log; after close, those it had then."""
        if self.process is None:
            return "no log: the server was not started by this run"
        return self.process.log_tail(lines)

    def close(self) -> None:
        """Stop the server if we started it, and remove what is private; idempotent."""
        # A forked child inherits this object and its atexit handler, but not the server.
        if self._closed or os.getpid() != self._owner_pid:
            return
        try:
            if self._lent is not None:
                self._lent.close()
            if self.process is not None:
                self.process.close()
        finally:
            self._closed = True
            self.server_pid, self._pid_reason = None, "the server was closed"
            atexit.unregister(self.close)

    def restart(self) -> None:
        """End the server that we started and start it again, on other ports.

        The new one starts while the old one ends, but where loading is timed, or memory is short.
        Raises ServerError when it does not come back, and stays closed then.
        """
        with ExitStack() as stack:
            old, timed = self.process, self._options.load_model is not None
            if old is not None and not timed and hold_twice(all_processes(self._own_pid)):
                stack.callback(old.close)
                old.ask_to_end()
                self.process = None
            self.close()
            self._open()

    def reload(self, names: Iterable[str], load: LoadModel | None = None) -> None:
        """Give these models new processes; ServerError, with what to do, where that fails."""
        self.shares.clear()
        timeout_s = self._options.timeout_s
        reload(self.api, names, timeout_s, self._own_pid, load and partial(load, self))

    @property
    def _own_pid(self) -> int | None:
        """The server's process, where its memory is what is free here: not in a container."""
        return self.server_pid if self.mode == "local" else None

    def __enter__(self) -> TritonServer:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def _died(self, process: ServerProcess) -> ServerError:
        return ServerError(
            f"Triton at {self.url} (pid {process.pid}) {process.how_it_ended()}\n" + self.log_tail()
        )

    def _require(self, name: str, version: str) -> None:
        """Raise ConfigurationError unless the model, in that version, is ready."""
        index = self.index()
        ready = [entry.version for entry in index if (entry.name, entry.state) == (name, "READY")]
        unavailable = self.unavailable() if not version or not ready else {}
        if not ready or name in unavailable:
            why = "is not on this server"
            if name in self.failed_models:
                why = f"could not be loaded: {self.failed_models[name]}"
            elif name in unavailable:
                why = f"is not ready: {unavailable[name]}"
            raise ConfigurationError(
                f"model {name!r} {why}; Triton at {self.url} serves "
                f"{', '.join(self.models()) or 'no model'}"
            )
        if version and version not in ready:
            raise ConfigurationError(
                f"model {name!r} has no version {version!r} on this server; Triton at {self.url} "
                f"serves {', '.join(ready)}"
            )

    def _failures(self) -> dict[str, str]:
        """Find the models that should be ready and are not, with the reason."""
        asked = self._options.models
        entries: dict[str, list[ModelState]] = {name: [] for name in asked}
        for entry in self.index():
            if not asked or entry.name in asked:
                entries.setdefault(entry.name, []).append(entry)
        failures: dict[str, str] = {}
        for name, versions in entries.items():
            if any(entry.state == "READY" for entry in versions):
                continue
            reasons = [self._late[name]] if name in self._late else []
            reasons += [one.reason for one in versions if one.reason not in ("", "unloaded")]
            # Without a reason, the model was never tried: wrong only if it should have been.
            if reasons or name in asked or self.process is not None:
                failures[name] = self._explain(name, reasons)
        return failures

    def _explain(self, name: str, reasons: list[str]) -> str:
        """Give the reason of one failed model, with the log lines that name it."""
        if self.process is None:
            return "; ".join(reasons) or f"it is not loaded on the server at {self.url}"
        marks = (f"'{name}'", f"/{name}/")
        lines = [
            line
            for line in self.process.log_lines()
            if line.startswith("E") and any(mark in line for mark in marks)
        ]
        if not reasons:
            reasons = [why_not_taken(self._options.repository / name / "config.pbtxt")]
        return format_lines("; ".join(reasons), lines[-_LOG_LINES_PER_MODEL:])
