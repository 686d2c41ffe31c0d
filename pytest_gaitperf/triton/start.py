"""Start a server, here or in a container, and wait until it is ready."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton import docker, local
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.triton.process import Launch, Ports, PrivateDirectory, ServerProcess
from pytest_gaitperf.triton.server import TritonServer

if TYPE_CHECKING:
    from pytest_gaitperf.triton.options import ServerOptions

_ATTEMPTS = 4
_POLL_S = 0.05


class _PortTakenError(Exception):
    """Somebody took a port between our choice and the server's bind."""


def start(options: ServerOptions, tried: list[str]) -> TritonServer:
    """Start a server in the way the options say; ``tried`` is what failed before, for the error.

    Raises ServerError when there is no server to start, or it does not get ready.
    """
    if options.mode in ("auto", "local"):
        installation = local.find()
        if installation is not None:
            return _start(options, installation)
        tried.append("local: no tritonserver on PATH, and no nvidia-pytriton in this Python")
    if options.mode in ("auto", "docker"):
        executable = docker.find()
        if executable is not None:
            return _start(options, executable)
        tried.append("docker: no executable 'docker' on PATH")
    raise ServerError(
        "no Triton server; tried "
        + "; ".join(tried)
        + ". Install one with 'pip install pytest-gaitperf[local]', install Docker with the NVIDIA "
        "container toolkit, or start a server and give its address with --triton-url"
    )


def free_ports() -> Ports:
    """Choose three ports of 127.0.0.1 that are free now."""
    with ExitStack() as stack:
        numbers = []
        for _ in range(3):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            numbers.append(int(listener.getsockname()[1]))
        return Ports(*numbers)


def _start(options: ServerOptions, how: local.Installation | str) -> TritonServer:
    """Start by a local installation, or by the docker executable at a path."""
    for attempt in range(1, _ATTEMPTS + 1):
        private = PrivateDirectory()
        try:
            return _attempt(options, how, private)
        except _PortTakenError as error:
            private.close()
            if attempt == _ATTEMPTS:
                raise ServerError(
                    f"Triton found its ports taken {attempt} times in a row: {error}; start it "
                    "yourself and give its address with --triton-url"
                ) from error
        except BaseException:
            private.close()
            raise
    raise AssertionError  # the loop returns or raises


def _attempt(
    options: ServerOptions, how: local.Installation | str, private: PrivateDirectory
) -> TritonServer:
    """Start once; whatever goes wrong, nothing is left running."""
    ports = free_ports()
    launch: Launch
    if isinstance(how, str):
        launch = docker.launch(how, options, ports, private)
    else:
        launch = local.launch(how, options, ports, private)
    log = (options.log_directory or private.path) / "tritonserver.log"
    process = ServerProcess(launch, log, private.path)
    server = TritonServer(
        "docker" if isinstance(how, str) else "local",
        Api("127.0.0.1", ports.http),
        options,
        grpc_port=ports.grpc,
        process=process,
        private=private,
    )
    try:
        _wait_ready(options, ports, process, f"gaitperf-{private.token}")
        if isinstance(how, str):
            pid = docker.host_pid(how, docker.container_name(private))
            server.identify(pid, "the container's process cannot be seen on this host")
        else:
            server.identify(process.pid, "")
            server.notes = local.notes(how)
    except BaseException:
        server.close()
        raise
    return server


def _wait_ready(options: ServerOptions, ports: Ports, process: ServerProcess, token: str) -> None:
    """Poll until our server answers on every port, has died, or its time is over."""
    api = Api("127.0.0.1", ports.http)
    deadline = time.monotonic() + options.timeout_s
    while True:
        if process.poll() is not None:
            raise _died_early(options, process)
        # The id tells our server from another that got hold of the port.
        if api.ready() and api.probe(2.0).detail == token and _listens(ports.metrics):
            return
        if time.monotonic() > deadline:
            raise ServerError(
                f"Triton was not ready within {options.timeout_s:g} s and was stopped: a model may "
                "be slow to load; give more time with --triton-timeout\n" + process.log_tail()
            )
        time.sleep(_POLL_S)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _died_early(options: ServerOptions, process: ServerProcess) -> Exception:
    log = "\n".join(process.log_lines())
    if "already in use" in log and "failed to start" in log:
        return _PortTakenError(process.log_lines()[-1])
    advice = docker.remedy(log, options.image)
    return ServerError(
        f"Triton {process.how_it_ended()} before it was ready"
        + (f": {advice}" if advice else "")
        + "\n"
        + process.log_tail()
    )
