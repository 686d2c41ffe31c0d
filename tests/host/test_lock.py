"""The lock of a device: one holder, named, and gone with its process."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.host import lock
from pytest_gaitperf.host.lock import DIRECTORY, THIS_DEVICE, device_at, held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_HOLDS = """
import subprocess, sys
from pytest_gaitperf.host.lock import held
with held(wait_s=0):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    sys.stdin.read()
child.kill()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o1777)
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, and has a child."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=place,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        yield process
        process.kill()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_who_holds_it_is_named(place: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(MeasurementError) as caught, held(wait_s=0):
        pass
    message = str(caught.value)
    assert message.startswith(f"this device is being measured by process {holder.pid} of ")
    assert f" in {place}: {sys.executable} -c " in message
    assert "--gaitperf-lock=off" in message


def test_a_killed_holder_leaves_it_free_though_its_child_lives(
    place: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()
    with held(wait_s=0):
        assert json.loads((place / f"gaitperf-{THIS_DEVICE}.lock").read_text())["pid"]


def test_who_waits_is_told_for_whom_and_then_has_it(
    place: Path, holder: subprocess.Popen[str]
) -> None:
    told: list[str] = []

    def waiting(who: str) -> None:
        told.append(who)
        assert holder.stdin is not None
        holder.stdin.close()

    with held(wait_s=60, waiting=waiting):
        assert told[0].startswith(f"process {holder.pid} of ")
    assert (place / f"gaitperf-{THIS_DEVICE}.lock").read_text() == ""


def test_devices_do_not_wait_for_each_other(place: Path, holder: subprocess.Popen[str]) -> None:
    with held("another", wait_s=0):
        assert (place / "gaitperf-another.lock").exists()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_its_place_is_not_followed(place: Path, dangling: bool) -> None:
    target = place / "precious"
    if not dangling:
        target.write_text("precious")
    (place / f"gaitperf-{THIS_DEVICE}.lock").symlink_to(target)
    with pytest.raises(ConfigurationError, match="cannot be taken"), held(wait_s=0):
        pass
    assert dangling != target.exists()
    assert dangling or target.read_text() == "precious"


def test_a_directory_in_its_place_is_named(place: Path) -> None:
    (place / f"gaitperf-{THIS_DEVICE}.lock").mkdir()
    with (
        pytest.raises(ConfigurationError, match=r"taken \(Is a directory"),
        held(wait_s=0),
    ):
        pass


def test_a_pipe_in_its_place_blocks_nobody(place: Path) -> None:
    os.mkfifo(place / f"gaitperf-{THIS_DEVICE}.lock")
    with (
        held(wait_s=0),
        pytest.raises(MeasurementError, match="a run that does not say whose it is"),
        held(wait_s=0),
    ):
        pass


def test_a_file_that_was_replaced_meanwhile_is_locked_anew(place: Path) -> None:
    path = place / f"gaitperf-{THIS_DEVICE}.lock"
    with held(wait_s=0):
        path.unlink()
        with held(wait_s=0):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_file_with_a_second_name_is_not_written_to(place: Path) -> None:
    target = place / "precious"
    target.write_text("precious")
    (place / f"gaitperf-{THIS_DEVICE}.lock").hardlink_to(target)
    with held(wait_s=0):
        pass
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "no JSON",
        "[]",
        '{"pid": 1}',
        '{"pid": "x", "user": 1}',
        "\udcff",
        "[" * 4096,
        '{"pid": 1e999, "user": "", "since": "", "directory": "", "command": ""}',
        '{"pid": 1, "user": "\\ud800", "since": "", "directory": "", "command": ""}',
    ],
)
def test_a_note_that_says_nothing_is_no_obstacle(
    place: Path, holder: subprocess.Popen[str], note: str
) -> None:
    path = place / f"gaitperf-{THIS_DEVICE}.lock"
    path.write_bytes(note.encode(errors="surrogateescape"))
    with pytest.raises(MeasurementError, match="a run that does not say whose it is"):
        held(wait_s=0).__enter__()


def test_what_a_terminal_would_obey_is_not_shown(
    place: Path, holder: subprocess.Popen[str]
) -> None:
    note = {"pid": 1, "user": "\x1b[2J", "since": "\n", "directory": "", "command": "x" * 10_000}
    (place / f"gaitperf-{THIS_DEVICE}.lock").write_text(json.dumps(note)[:4000])
    with pytest.raises(MeasurementError, match="does not say"):
        held(wait_s=0).__enter__()
    note["command"] = "x" * 1000
    (place / f"gaitperf-{THIS_DEVICE}.lock").write_text(json.dumps(note))
    with pytest.raises(MeasurementError) as caught:
        held(wait_s=0).__enter__()
    assert "process 1 of ?[2J, since ?, in : " + "x" * 200 + " for" not in str(caught.value)
    assert "process 1 of ?[2J, since ?, in : " + "x" * 200 + ": wait" in str(caught.value)


needs_two_users = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_place(place: Path) -> Path:
    """A place that another user reaches, too."""
    for directory in place.parents:
        if directory.name.startswith(("pytest-", "popen-")):
            directory.chmod(0o755)  # pytest's and pytest-xdist's own are private
    return place


@contextmanager
def as_nobody(work: Callable[[], str]) -> Iterator[int]:
    """Run some work in a process of the user with the least rights; it must return "nobody".

    The block gets its pid when it has begun to wait or to hold.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.chdir("/")
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.umask(0o077)
            os.dup2(writing, 1)
            code = int(work() != "nobody")
        finally:
            os._exit(code)
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"."
        yield pid
    finally:
        os.close(reading)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@needs_two_users
def test_users_take_it_in_turn_and_each_is_told_of_the_other(open_place: Path) -> None:
    path = open_place / f"gaitperf-{THIS_DEVICE}.lock"
    ended, ending = os.pipe()

    def holds() -> str:
        with held(command="theirs", wait_s=0):
            os.write(1, b".")
            os.read(ended, 1)
        return pwd.getpwuid(os.geteuid()).pw_name

    told: list[str] = []

    def waiting(holder: str) -> None:
        told.append(holder)
        os.write(ending, b".")

    with as_nobody(holds) as pid, held(command="ours", wait_s=60, waiting=waiting):
        assert told[0].startswith(f"process {pid} of nobody, since ")
        assert told[0].endswith(": theirs")
        assert json.loads(path.read_text())["command"] == "ours"
        assert path.stat().st_mode & 0o777 == 0o666

    def waits() -> str:
        told = ""

        def waiting(holder: str) -> None:
            nonlocal told
            told = holder
            os.write(1, b".")

        with held(wait_s=60, waiting=waiting):
            assert f"process {os.getppid()} of " in told
            assert ": ours" in told
        return pwd.getpwuid(os.geteuid()).pw_name

    ours = ExitStack()
    ours.enter_context(held(command="ours", wait_s=0))
    with as_nobody(waits):
        ours.close()


@needs_two_users
def test_a_file_that_may_only_be_read_is_locked_all_the_same(open_place: Path) -> None:
    path = open_place / f"gaitperf-{THIS_DEVICE}.lock"
    path.write_text("anything")
    path.chmod(0o644)

    def holds() -> str:
        with held(wait_s=0):
            os.write(1, b".")
            os.read(ended, 1)
        return pwd.getpwuid(os.geteuid()).pw_name

    ended, ending = os.pipe()
    with as_nobody(holds):
        with pytest.raises(MeasurementError, match="does not say whose"), held(wait_s=0):
            pass
        os.write(ending, b".")
    assert path.read_text() == "anything"


def test_the_directory_is_the_first_that_all_users_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    private, shared = tmp_path / "private", tmp_path / "shared"
    private.mkdir(0o755)
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr(lock, "_SHARED", (tmp_path / "gone", private, shared))
    with held(wait_s=0):
        assert len(list(shared.iterdir())) == 1
    assert list(private.iterdir()) == []
    shared.chmod(0o777)  # where anybody may remove the file, it guards nothing
    refused = pytest.raises(ConfigurationError, match=f"none of .*shared can hold .*{DIRECTORY}")
    with refused, held(wait_s=0):
        pass


def test_a_user_without_a_name_is_a_number(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with held(wait_s=0):
        (path,) = place.iterdir()
        assert json.loads(path.read_bytes())["user"] == str(os.geteuid())


def test_a_directory_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY, "/proc/nothing")
    with pytest.raises(ConfigurationError, match=f"/proc/nothing.*{DIRECTORY}"), held(wait_s=0):
        pass


@pytest.mark.parametrize(
    ("host", "device"),
    [
        ("127.0.0.1", THIS_DEVICE),
        ("localhost", THIS_DEVICE),
        ("::1", THIS_DEVICE),
        ("0.0.0.0", THIS_DEVICE),  # noqa: S104 - asked about, not bound for anybody
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001-db8-7"),
        ("no.such.host.invalid", THIS_DEVICE),
    ],
)
def test_the_device_is_the_one_that_serves(host: str, device: str) -> None:
    assert device_at(host) == device
