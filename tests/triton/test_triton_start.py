"""Starting and stopping a real server, and every way in which that goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_gaitperf import way
from pytest_gaitperf.errors import ConfigurationError, ServerError
from pytest_gaitperf.triton import process
from pytest_gaitperf.triton.launch import Docker, Local, ServerOptions, check_libraries
from pytest_gaitperf.triton.server import TritonServer, open_server
from tests.triton.infer import answers, infer, regions, tree, wait_gone
from tests.triton.models import write_broken_config, write_model

if TYPE_CHECKING:
    from pytest_gaitperf.triton.launch import Ports


ROOT = Path(__file__).parents[2]


def _pids(server: TritonServer) -> list[int]:
    assert server.process is not None
    pids = tree(server.process.pid)
    assert len(pids) >= 2, "a server and a stub"
    return pids


def test_a_killed_server_is_reported_with_its_log_and_leaves_nothing(
    repository: Path, temporary: Path, tmp_path: Path
) -> None:
    write_model(repository, "other")
    options = ServerOptions(
        mode="local", repository=repository, models=("identity",), log_directory=tmp_path / "logs"
    )
    opened: list[TritonServer] = []
    # Opened in a thread that ends: the server must not end with it.
    thread = threading.Thread(target=lambda: opened.append(open_server(options)))
    thread.start()
    thread.join()
    (server,) = opened
    server.check_alive()
    assert server.models() == ("identity",)
    assert server.failed_models == {}
    pids = _pids(server)
    memory = regions(pids)
    assert [region.exists() for region in memory] == [True]

    os.kill(pids[0], signal.SIGKILL)
    with pytest.raises(ServerError, match="was killed by SIGKILL") as info:
        server.check_alive()
    assert f"last lines of {tmp_path / 'logs' / 'tritonserver.log'}" in str(info.value)
    assert "Started HTTPService" in str(info.value)
    with pytest.raises(ServerError, match="does not answer"):
        server.models()
    assert server.cpu_seconds() is None
    assert server.cpu_absent_reason == "the server's process is gone"
    server.close()
    server.close()
    assert wait_gone(pids) == []
    assert [region for region in memory if region.exists()] == []
    assert list(temporary.iterdir()) == []
    assert "HTTPService" in (tmp_path / "logs" / "tritonserver.log").read_text()
    with pytest.raises(ServerError, match="was closed by this run"):
        server.check_alive()


def test_a_killed_stub_still_counts_and_a_killed_supervisor_takes_the_server_along(
    repository: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "DEFAULT_URL", "127.0.0.1:1")
    server = open_server(ServerOptions(mode="auto", repository=repository))
    assert server.mode == "local", "nothing to attach to, and a server is installed"
    pids = _pids(server)
    memory = regions(pids)
    with_stub = server.cpu_seconds()
    os.kill(pids[1], signal.SIGKILL)
    assert wait_gone(pids[1:]) == []
    without_stub = server.cpu_seconds()
    assert with_stub is not None
    assert without_stub is not None
    # 10 ms is the kernel's tick: what a process that ended has used is known no better.
    assert without_stub >= with_stub - 0.02, "what the stub has used still counts"
    assert server.process is not None
    server.process._supervisor.kill()
    assert wait_gone(pids) == []
    with pytest.raises(ServerError, match="was killed by SIGKILL"):
        server.check_alive()
    server.close()
    assert [region for region in memory if region.exists()] == []
    assert list(temporary.iterdir()) == []


_PARENT = """
import sys, time
from pathlib import Path
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
server = open_server(ServerOptions(mode="local", repository=Path(sys.argv[1])))
print(server.process.pid, flush=True)
if sys.argv[2] == "stay":
    time.sleep(600)
"""


def _parent(repository: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(repository), what],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_no_server_outlives_a_parent_that_is_killed(repository: Path, temporary: Path) -> None:
    with _parent(repository, "stay") as parent:
        assert parent.stdout is not None
        pids = tree(int(parent.stdout.readline()))
        memory = regions(pids)
        assert len(memory) == 1
        pids.append(psutil.Process(pids[0]).ppid())  # the supervisor
        parent.kill()
    assert wait_gone(pids) == []
    assert [region for region in memory if region.exists()] == []
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_server_that_nobody_closes_ends_with_its_parent(
    repository: Path, temporary: Path
) -> None:
    with _parent(repository, "leave") as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert parent.wait(60) == 0
    assert wait_gone([pid]) == []
    assert list(temporary.iterdir()) == []


def test_a_model_that_was_asked_for_and_fails_is_named_with_its_log(
    repository: Path, temporary: Path
) -> None:
    write_model(repository, "raises", initialize_error="no weights here")
    write_broken_config(repository, "broken")
    options = ServerOptions(mode="local", repository=repository, models=("raises", "broken"))
    with pytest.raises(ServerError) as info:
        open_server(options)
    message = str(info.value)
    assert "raises: Internal: RuntimeError: no weights here" in message
    assert f"broken: {repository / 'broken' / 'config.pbtxt'}:3:" in message
    assert "failed to load 'raises' version 1" in message, "the log's line"
    assert "identity:" not in message
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_server_that_is_never_ready_is_stopped(
    repository: Path, temporary: Path, tmp_path: Path
) -> None:
    write_model(repository, "slow", initialize_sleep_s=600)
    options = ServerOptions(
        mode="local", repository=repository, timeout_s=2.5, log_directory=tmp_path / "logs"
    )
    with pytest.raises(ServerError, match=r"not ready within 2.5 s .*--triton-timeout(.|\n)*slow"):
        open_server(options)
    assert list(temporary.iterdir()) == []
    log = (tmp_path / "logs" / "tritonserver.log").read_text()
    pid = next(line.split()[2] for line in log.splitlines() if line.startswith("I"))
    assert wait_gone([int(pid)]) == []


@pytest.mark.slow
def test_a_model_that_is_late_is_named_with_what_to_do_and_does_not_load_beside_the_next_one(
    repository: Path,
) -> None:
    write_model(repository, "late", initialize_sleep_s=3.0)
    states: list[str] = []

    def load(server: TritonServer, name: str, timeout_s: float) -> None:
        states.extend(entry.state for entry in server.index() if entry.name == "late")
        server.api.load(name, 0.3 if name == "late" else timeout_s)

    options = ServerOptions(
        mode="local", repository=repository, models=("late", "identity"), load_model=load
    )
    with open_server(options) as server:
        assert server.models() == ("identity",)
        assert states[0] == ""
        assert states[-1] in ("UNLOADING", "UNAVAILABLE")
        why = f"Triton at {server.url} did not load 'late' within 0.3 s: give more time with "
        assert server.failed_models["late"].startswith(f"{why}--triton-timeout")


@pytest.mark.slow
def test_a_port_that_is_taken_in_between_is_chosen_anew(
    repository: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Ports] = []
    choose = process.free_ports

    def choose_a_taken_one_first() -> Ports:
        ports = choose()
        if not chosen:
            taken.bind(("127.0.0.1", ports.grpc))
            taken.listen()
        chosen.append(ports)
        return ports

    monkeypatch.setattr(process, "free_ports", choose_a_taken_one_first)
    with (
        socket.socket() as taken,
        open_server(ServerOptions(mode="local", repository=repository)) as server,
    ):
        assert len(chosen) == 2
        assert server.http_port == chosen[1].http
        assert server.models() == ("identity",)
    assert list(temporary.iterdir()) == []


def test_a_binary_that_is_no_server_shows_its_words(
    repository: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho not today >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    with pytest.raises(
        ServerError, match=r"exited with status 3 before it was ready\n.*\n.*not today"
    ):
        open_server(ServerOptions(mode="local", repository=repository))
    program.write_text("")
    with pytest.raises(ServerError, match=r"tritonserver cannot be started: .*Exec format error"):
        open_server(ServerOptions(mode="local", repository=repository))
    assert list(temporary.iterdir()) == []


def test_a_path_that_the_backends_shell_would_take_apart_is_refused_at_once(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "with blank").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "with blank"))
    with pytest.raises(ServerError, match=r"cannot start with ' ' in the path .* with TMPDIR"):
        open_server(ServerOptions(mode="local", repository=repository))
    assert list((tmp_path / "with blank").iterdir()) == []


def test_without_any_server_the_error_lists_what_was_tried(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "DEFAULT_URL", "127.0.0.1:1")
    monkeypatch.setattr(Local, "find", lambda: None)
    monkeypatch.setattr(Docker, "find", lambda: None)
    with pytest.raises(
        ServerError, match=r"nothing listens there .*local: no .*docker: no .*pip install"
    ):
        open_server(ServerOptions(repository=repository))


def test_a_missing_libpython_is_found_before_the_start(tmp_path: Path) -> None:
    installation = Local.find()
    assert installation is not None
    assert installation.wheel is not None
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = (
        installation.wheel
        / f"tritonserver/python_backend_stubs/{python}/triton_python_backend_stub"
    )
    # The same program, but for a library that exists nowhere.
    other = tmp_path / "stub"
    wanted = f"libpython{python}.so".encode()
    content = stub.read_bytes()
    if b"libpython3-" in content:
        pytest.skip("this stub brings its libpython along")
    other.write_bytes(content.replace(wanted, wanted[:-1] + b"0"))
    other.chmod(0o755)
    libraries = {"LD_LIBRARY_PATH": str(installation.wheel.parent / "nvidia_pytriton.libs")}
    with pytest.raises(ServerError, match=rf"needs libpython.*apt-get install libpython{python}'"):
        check_libraries(other, os.environ | libraries)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("nothing", "is not a directory: build the models"),
        ("empty", "is empty: build the models"),
        ("filled", "has no 3D_fp32_0_batchd: it has identity"),
    ],
)
def test_a_wrong_repository_is_found_before_the_start(
    tmp_path: Path, make: str, message: str
) -> None:
    folder = tmp_path / "models"
    if make == "empty":
        folder.mkdir()
    elif make == "filled":
        write_model(folder, "identity")
    with pytest.raises(ConfigurationError, match=message):
        open_server(ServerOptions(mode="local", repository=folder, models=("3D_fp32_0_batchd",)))


def test_a_log_directory_that_cannot_be_written(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = ServerOptions(mode="local", repository=repository, log_directory=tmp_path / "file")
    with pytest.raises(ServerError, match=r"tritonserver.log cannot be written"):
        open_server(options)


def test_answers_is_false_where_nothing_listens() -> None:
    assert not answers("127.0.0.1:1", 1.0)


def test_the_wheels_server_is_found_without_importing_it() -> None:
    if shutil.which("tritonserver"):
        pytest.skip("a tritonserver on PATH comes first")
    program = (
        "import sys; from pytest_gaitperf.triton.launch import Local\n"
        "print(Local.find().binary.name, 'pytriton' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert found.stdout.split() == ["tritonserver", "False"]


@pytest.mark.slow
@pytest.mark.usefixtures("_polite")
def test_a_restarted_server_is_a_new_process_behind_the_same_object(repository: Path) -> None:
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        before = _pids(server)
        server.restart()
        assert wait_gone(before) == []
        after = _pids(server)
        assert not set(before) & set(after)
        infer(server.url, "identity")
        assert server.cpu_seconds() is not None
    assert wait_gone(after) == []
    assert not answers(server.url, 0.5)
