"""The server of a run: found at a URL, or started and stopped by us."""

from __future__ import annotations

import atexit
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, final

from pytest_gaitperf.errors import ConfigurationError, ServerError
from pytest_gaitperf.triton.api import Api, address, parse_url
from pytest_gaitperf.triton.models import config_paths, read_config
from pytest_gaitperf.triton.process import PrivateDirectory, ServerProcess, format_lines

if TYPE_CHECKING:
    from types import TracebackType

    from pytest_gaitperf.triton.models import ModelInfo
    from pytest_gaitperf.triton.options import ServerOptions
    from pytest_gaitperf.triton.statistics import ModelStatistics

_LOG_LINES_PER_MODEL = 6


def answers(url: str, timeout_s: float) -> bool:
    """Whether a KServe v2 server is at a URL (``host:port``, with or without ``http://``)."""
    host, port = parse_url(url)
    return Api(host, port).probe(timeout_s).found == "server"


@final
class TritonServer:
    """A Triton that answers.

    ``mode`` says how it was come by; ``url`` is ``host:port`` of its HTTP endpoint, without a
    scheme, as tritonclient takes it; ``grpc_port`` is the one told, or supposed, when attached;
    ``process`` is None unless we started it. ``failed_models`` holds the models that could not be
    loaded, with the reason, ``notes`` what a user should know of this server. Use it as a context
    manager, or close it.
    """

    def __init__(
        self,
        mode: Literal["attach", "local", "docker"],
        api: Api,
        options: ServerOptions,
        *,
        grpc_port: int,
        process: ServerProcess | None = None,
        private: PrivateDirectory | None = None,
    ) -> None:
        self.mode = mode
        self.host = api.host
        self.http_port = api.port
        self.grpc_port = grpc_port
        self.url = api.url
        self.process = process
        self.api = api
        self._options = options
        self._private = private
        self._owner_pid = os.getpid()
        self._closed = False
        self._last_log = "no log: the server was not started by this run"
        # What measures CPU time: the server's pid on this host, or why there is none.
        self.server_pid: int | None = None
        self._pid_reason = ""
        self.version = ""
        self.failed_models: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        atexit.register(self.close)

    def identify(self, server_pid: int | None, pid_reason: str) -> None:
        """Ask the server who it is and what it could not load; raise when no model asked for did.

        ``server_pid`` is its process on this host, None for ``pid_reason``.
        """
        self.server_pid, self._pid_reason = server_pid, pid_reason
        self.version = self.api.metadata()[1]
        self.failed_models = self._failures()
        asked = self._options.models
        # Where others can be used, who asks for a failed one is told why by model().
        if asked and all(name in self.failed_models for name in asked):
            raise ServerError(
                f"Triton {self.version} ({self.mode}, {self.url}) could not load "
                + "\n".join(f"{name}: {self.failed_models[name]}" for name in asked)
            )

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that are ready, sorted."""
        return tuple(
            sorted(
                {
                    entry["name"]
                    for entry in self.api.index()
                    if entry.get("state", "READY" if "version" in entry else "") == "READY"
                }
            )
        )

    def model(self, name: str, version: str = "") -> ModelInfo:
        """Return a model's metadata; ``versions`` are the ones served.

        Raises ConfigurationError, with what there is, for a model or version that is not ready.
        """
        self._require(name, version)
        return self.api.model(name, version)

    def statistics(self, name: str, version: str = "") -> ModelStatistics:
        """Return a model's cumulative counters; with version "", of its highest version.

        Raises ConfigurationError, with what there is, for a model or version that is not ready.
        """
        try:
            return self.api.statistics(name, version)
        except ServerError:
            self._require(name, version)
            raise

    def cpu_seconds(self) -> float | None:
        """Return user plus system CPU seconds of the server and its stubs, since they started.

        Stubs that ended count too. None where unknown: ``cpu_absent_reason`` says why.
        """
        if self.server_pid is None:
            return None
        # Not at the top: attaching for metadata alone needs no psutil.
        from pytest_gaitperf.triton.cpu import tree_cpu_seconds  # noqa: PLC0415

        seconds = tree_cpu_seconds(self.server_pid)
        if seconds is None:
            self.server_pid = None
            self._pid_reason = "the server's process is gone"
        return seconds

    @property
    def cpu_absent_reason(self) -> str | None:
        """Why ``cpu_seconds`` gives None; None when it gives a number."""
        return None if self.server_pid is not None else self._pid_reason

    def check_alive(self) -> None:
        """Raise ServerError when the server died (with the log's end) or stopped answering."""
        if self._closed:
            raise ServerError(f"Triton at {self.url} was closed by this run")
        if self.process is not None and self.process.poll() is not None:
            raise self._died(self.process)
        probe = self.api.probe(self.api.timeout_s)
        if probe.found == "server":
            return
        if self.process is not None:
            # A process that was just killed is still being cleaned up after.
            if self.process.wait(2.0) is not None:
                raise self._died(self.process)
            raise ServerError(
                f"Triton at {self.url} runs but no longer answers: {probe.detail}\n"
                + self.log_tail()
            )
        raise ServerError(
            f"Triton at {self.url} no longer answers: {probe.detail}; look at its own log and "
            "start it again"
        )

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines of the server's log; after close, those it had then."""
        if self._closed or self.process is None:
            return self._last_log
        return self.process.log_tail(lines)

    def close(self) -> None:
        """Stop the server if we started it, and remove what is private; idempotent."""
        # A forked child inherits this object and its atexit handler, but not the server.
        if self._closed or os.getpid() != self._owner_pid:
            return
        try:
            if self.process is not None:
                self.process.stop()
                self._last_log = self.process.log_tail()
        finally:
            self._closed = True
            self.server_pid, self._pid_reason = None, "the server was closed"
            if self._private is not None:
                self._private.close()
            atexit.unregister(self.close)

    def restart(self) -> None:
        """End the server and start it again, as it was started, on other ports.

        Whoever holds this object goes on with the new process. Only for a server that we started;
        raises ServerError when it does not come back, and stays closed then.
        """
        from pytest_gaitperf.triton import start  # noqa: PLC0415 - as in open_server

        self.close()
        fresh = start.start(replace(self._options, mode=self.mode), [])
        atexit.unregister(fresh.close)
        vars(self).update(vars(fresh))
        atexit.register(self.close)

    def __enter__(self) -> TritonServer:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _died(self, process: ServerProcess) -> ServerError:
        return ServerError(
            f"Triton at {self.url} (pid {process.pid}) {process.how_it_ended()}\n" + self.log_tail()
        )

    def _require(self, name: str, version: str) -> None:
        """Raise ConfigurationError unless the model, in that version, is ready."""
        ready = self.models()
        if name not in ready:
            why = (
                f"could not be loaded: {self.failed_models[name]}"
                if name in self.failed_models
                else "is not on this server"
            )
            raise ConfigurationError(
                f"model {name!r} {why}; Triton at {self.url} serves "
                f"{', '.join(ready) or 'no model'}"
            )
        versions = [
            entry.get("version", "")
            for entry in self.api.index()
            if entry["name"] == name and entry.get("state", "READY") == "READY"
        ]
        if version and version not in versions:
            raise ConfigurationError(
                f"model {name!r} has no version {version!r} on this server; Triton at {self.url} "
                f"serves {', '.join(versions)}"
            )

    def _failures(self) -> dict[str, str]:
        """Find the models that should be ready and are not, with the reason."""
        asked = self._options.models
        entries: dict[str, list[dict[str, str]]] = {name: [] for name in asked}
        for entry in self.api.index():
            if not asked or entry["name"] in asked:
                entries.setdefault(entry["name"], []).append(entry)
        failures: dict[str, str] = {}
        for name, versions in entries.items():
            states = {entry.get("state") for entry in versions if "version" in entry}
            if states & {"READY", None}:  # a server that reports no states lists what is ready
                continue
            reasons = [
                " ".join(entry["reason"].split())
                for entry in versions
                if entry.get("reason", "unloaded") != "unloaded"
            ]
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
            reasons = [self._folder_problem(name)]
        return format_lines("; ".join(reasons), lines[-_LOG_LINES_PER_MODEL:])

    def _folder_problem(self, name: str) -> str:
        """Say what is wrong with a folder that the server did not take for a model."""
        config = self._options.repository / name / "config.pbtxt"
        if not config.is_file():
            return f"{config} is missing: write it, or move the folder out of the repository"
        try:
            read_config(config)
        except ConfigurationError as error:
            return str(error)
        return "the server did not take it for a model"


def open_server(options: ServerOptions) -> TritonServer:
    """Attach to the server at the URL, or start one, as the options say.

    Raises ServerError when there is none or it does not get ready, and ConfigurationError for a
    wrong URL, repository or model name. Nothing is left running then.
    """
    host, port = parse_url(options.url)
    tried = []
    if options.mode in ("auto", "attach"):
        probe = Api(host, port).probe(5.0)
        if probe.found == "server":
            return _attach(options, host, port)
        what = {"other": "something that is no KServe server", "nothing": "nothing"}[probe.found]
        tried.append(f"{address(host, port)}: {what} there ({probe.detail})")
        if options.mode == "attach":
            raise ServerError(
                f"no Triton to attach to at {tried[0]}: start one there, give the HTTP port of a "
                "running one with --triton-url, or let one be started with --triton=auto"
            )
    _check_repository(options)
    # Not at the top: attaching needs no starter.
    from pytest_gaitperf.triton import start  # noqa: PLC0415

    return start.start(options, tried)


def _attach(options: ServerOptions, host: str, port: int) -> TritonServer:
    from pytest_gaitperf.triton.cpu import find_server  # noqa: PLC0415  psutil: see cpu_seconds

    grpc_port = options.grpc_port or port + 1
    server = TritonServer("attach", Api(host, port), options, grpc_port=grpc_port)
    try:
        server.identify(*find_server(host, port))
    except BaseException:
        server.close()
        raise
    return server


def _check_repository(options: ServerOptions) -> None:
    """Raise ConfigurationError when there is nothing to serve, or not what was asked for."""
    config_paths(options.repository)  # raises when it is no directory
    present = sorted(
        entry.name
        for entry in options.repository.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not present:
        raise ConfigurationError(
            f"model repository {options.repository} is empty: build the models with "
            "'gaitperf models build', or name another with --triton-repository"
        )
    missing = [name for name in options.models if name not in present]
    if missing:
        raise ConfigurationError(
            f"model repository {options.repository} has no {', '.join(missing)}: it has "
            f"{', '.join(present)}"
        )
