"""The server of a run: found at a URL, or started and stopped by us."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, final

from pytest_gaitperf.errors import ConfigurationError, ServerError
from pytest_gaitperf.triton.api import Api, parse_url
from pytest_gaitperf.triton.launch import Docker, Local
from pytest_gaitperf.triton.models import model_folders, read_config
from pytest_gaitperf.triton.placement import keep_on
from pytest_gaitperf.triton.process import (
    find_server,
    format_lines,
    start,
    tree_cpu_clocks,
    tree_cpu_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.model import ModelInfo, ModelState
    from pytest_gaitperf.triton.launch import Mode, ServerOptions
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.triton.process import ServerProcess

_LOG_LINES_PER_MODEL = 6
_PROBE_S = 5.0


def attaches(mode: Mode, url: str | None) -> bool:
    """Whether a run takes a server that already runs: always at a URL that it was given."""
    api = Api(*parse_url(url))
    if mode != "auto":
        return mode == "attach"
    return url is not None or api.probe(_PROBE_S).server_id is not None


def find(mode: Mode, url: str | None) -> tuple[Api | Local | Docker | None, list[str]]:
    """Return how a run comes by its server, None for no way, and why not by the ways before it.

    Starts nothing. Raises ConfigurationError for a wrong URL.
    """
    api = Api(*parse_url(url))
    tried: list[str] = []
    if mode in ("auto", "attach"):
        answer = api.probe(_PROBE_S)
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


def open_server(options: ServerOptions) -> TritonServer:
    """Attach to the server at the URL, or start one, as the options say.

    Raises ServerError without one, ConfigurationError for a wrong URL, repository or model name.
    """
    how, tried = find(options.mode, options.url)
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
        _check_repository(options)
    return TritonServer(options, how)


def _check_repository(options: ServerOptions) -> None:
    """Raise ConfigurationError when there is nothing to serve, or not what was asked for."""
    present = [folder.name for folder in model_folders(options.repository)]
    if not present:
        raise ConfigurationError(
            f"model repository {options.repository} is empty: build the models with "
            "'gaitperf models build', or name another with --triton-repository"
        )
    if missing := [name for name in options.models if name not in present]:
        raise ConfigurationError(
            f"model repository {options.repository} has no {', '.join(missing)}: it has "
            f"{', '.join(present)}"
        )


@final
class TritonServer:
    """A Triton that answers.

    ``mode`` says how it was come by; ``url`` is ``host:port`` of its HTTP endpoint, as tritonclient
    takes it; ``grpc_port`` is the one told, or supposed, when attached; ``process`` is None unless
    we started it, ``server_pid`` its process on this host, None where that is unknown.
    ``failed_models`` holds the models that could not be loaded, with the reason, ``notes`` what a
    user should know of this server. Use it as a context manager, or close it.
    """

    def __init__(self, options: ServerOptions, how: Api | Local | Docker) -> None:
        """Attach, or start one; ServerError where it, or none of the models, gets ready."""
        self._options = options
        self._how = how
        self._owner_pid = os.getpid()
        self._open()

    def _open(self) -> None:
        options, how = self._options, self._how
        self.failed_models: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        self.process: ServerProcess | None = None
        self._closed = False
        atexit.register(self.close)
        try:
            if isinstance(how, Api):
                self.mode, self.api = "attach", how
                self.grpc_port = options.grpc_port or how.port + 1
                self.server_pid, self._pid_reason = find_server(how.host, how.port)
            else:
                self.mode, self.notes = how.mode, how.notes()
                self.process, ports = start(options, how)
                self.api, self.grpc_port = Api("127.0.0.1", ports.http), ports.grpc
                self.server_pid = how.server_pid(self.process.pid, self.process.directory.name)
                self._pid_reason = "the container's process cannot be seen on this host"
            self._identify()
        except BaseException:
            self.close()
            raise

    def _identify(self) -> None:
        """Ask who it is and what it could not load; raise when no model asked for did."""
        self.host, self.http_port, self.url = self.api.host, self.api.port, self.api.url
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
        found = {name: _unavailable(entries) for name, entries in versions.items()}
        return {name: why for name, why in found.items() if why}

    def model(self, name: str, version: str = "") -> ModelInfo:
        """Return a model's metadata; ``versions`` are the ones served.

        Raises ConfigurationError, with what there is, for a model or version that is not ready.
        """
        self._require(name, version)
        return self.api.model(name, version)

    def statistics(self, name: str, version: str = "") -> ModelStatistics:
        """Return a model's counters, of its highest version unless told; see ``model``."""
        try:
            return self.api.statistics(name, version)
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
        # A process that was just killed is still being cleaned up after.
        if process.wait(2.0) is not None:
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
            if self.process is not None:
                self.process.close()
        finally:
            self._closed = True
            self.server_pid, self._pid_reason = None, "the server was closed"
            atexit.unregister(self.close)

    def restart(self) -> None:
        """End the server that we started and start it again, on other ports.

        Raises ServerError when it does not come back, and stays closed then.
        """
        self.close()
        self._open()

    def reload(self, names: Iterable[str]) -> None:
        """Give these models new processes; ServerError, with what to do, where that fails."""
        self.api.reload(names, self._options.timeout_s)

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
            reasons = [entry.reason for entry in versions if entry.reason not in ("", "unloaded")]
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
            # The server did not take the folder for a model.
            config = self._options.repository / name / "config.pbtxt"
            try:
                read_config(config)
                reasons = ["the server did not take it for a model"]
            except ConfigurationError as error:
                missing = f"{config} is missing: write it, or move the folder elsewhere"
                reasons = [str(error) if config.is_file() else missing]
        return format_lines("; ".join(reasons), lines[-_LOG_LINES_PER_MODEL:])


def _unavailable(entries: Sequence[ModelState]) -> str:
    """Say why the newest of a model's versions is not served, "" where it is."""
    ready = [_number(entry) for entry in entries if entry.state == "READY"]
    newer = [entry for entry in entries if _number(entry) > max(ready, default=-1)]
    tried = [entry for entry in newer if entry.reason not in ("", "unloaded")]
    if ready:
        failed = [f"version {one.version} could not be loaded: {one.reason}" for one in tried]
        return f"{failed[-1]} (an older one still answers)" if failed else ""
    if not tried and all(entry.state in ("", "UNAVAILABLE") for entry in newer):
        return f"not loaded: load it there (POST /v2/repository/models/{entries[0].name}/load)"
    last = (tried or newer)[-1]
    return ": ".join(filter(None, (last.state, last.reason)))


def _number(entry: ModelState) -> int:
    return int(entry.version) if entry.version.isdecimal() else 0
