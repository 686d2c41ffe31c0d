"""A fleet of eight boards, each in a network of its own, over real SSH; four of them are no help.

Root makes network namespaces, each with a server of OpenSSH: what is left out of a board is its
processor and its disk.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_gaitperf import lease
from pytest_gaitperf.fleet import conversation
from pytest_gaitperf.host.lock import DIRECTORY
from tests.plugin.baselines import UNMEASURED
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugin.conftest import Project

ROOT = Path(__file__).parents[2]
_PROGRAMS = {
    name: shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    for name in ("ip", "tc", "sshd", "ssh", "ssh-keygen")
}
HONEST = ("nano1", "nano2", "orin1", "orin2")
ALL = (*HONEST, "slow", "dying", "mute", "liar")

_MUTE = """#!/bin/sh
# A board that answers the first question, and says nothing when a worker should begin.
case "$2" in *version_info*) exec {python} "$@";; esac
exec sleep 600
"""
_LIAR = '''"""In pytest's place on a board that lies."""
import json, sys
from pathlib import Path
given = dict(word.partition("=")[::2] for word in sys.argv if "=" in word)
victim = Path(given["--gaitperf-baselines"], "nano1", "steady.json")
victim.parent.mkdir(parents=True, exist_ok=True)
victim.write_text("{}")
Path(given["--gaitperf-json"]).write_text(json.dumps({"schema": 2, "class": "os.system"}))
print("1/1 \\x1b[2J\\x9b31m ::error::pwned ##[group]x \\u202e")
'''
_DIES = """
def pytest_collection_finish():
    open("measuring", "w").close()
"""


@dataclass(frozen=True, slots=True)
class Lan:
    """The boards' networks; ``config`` is the client's configuration."""

    config: Path

    @staticmethod
    def ip(*words: str) -> str:
        done = subprocess.run(
            [str(_PROGRAMS["ip"]), *words], check=True, capture_output=True, text=True
        )
        return done.stdout

    def pids(self, board: str) -> list[int]:
        """Return what runs on a board."""
        return list(map(int, self.ip("netns", "pids", f"gp-{board}").split()))


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    if os.geteuid() != 0 or None in _PROGRAMS.values():
        pytest.skip("it takes root, iproute2 and OpenSSH")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        keygen = (str(_PROGRAMS["ssh-keygen"]), "-q", "-t", "ed25519", "-N", "", "-f")
        subprocess.run([*keygen, str(tmp_path / name)], check=True)
    lan = Lan(tmp_path / "ssh_config")
    known = tmp_path / "known_hosts"
    lines = [
        *("Host *", f"  IdentityFile {tmp_path / 'user'}", "  IdentitiesOnly yes", "  User root"),
        *(f"  UserKnownHostsFile {known}", "  ConnectTimeout 10", "  ServerAliveInterval 2"),
        "  ServerAliveCountMax 3",
    ]
    key = (tmp_path / "host.pub").read_text()
    with ExitStack() as stack:
        for number, board in enumerate(ALL):
            ours, theirs = f"10.213.{number}.1", f"10.213.{number}.2"
            try:
                lan.ip("netns", "add", f"gp-{board}")
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespaces here: {error.stderr}")
            stack.callback(lan.ip, "netns", "delete", f"gp-{board}")
            stack.callback(_kill_all, lan, board)
            lan.ip(
                "link", "add", f"gp-{board}", "type", "veth", "peer", "eth0", "netns", f"gp-{board}"
            )
            # A namespace lives on while it has connections, and its link with it.
            stack.callback(lan.ip, "link", "delete", f"gp-{board}")
            lan.ip("address", "add", f"{ours}/30", "dev", f"gp-{board}")
            lan.ip("link", "set", f"gp-{board}", "up")
            there = ("-n", f"gp-{board}")
            lan.ip(*there, "address", "add", f"{theirs}/30", "dev", "eth0")
            for device in ("eth0", "lo"):
                lan.ip(*there, "link", "set", device, "up")
            server = tmp_path / f"sshd_{board}"
            server.write_text(
                f"ListenAddress {theirs}\nHostKey {tmp_path / 'host'}\nPidFile none\nUsePAM no\n"
                f"AuthorizedKeysFile {tmp_path / 'user.pub'}\nStrictModes no\nPermitRootLogin yes\n"
            )
            sshd = (str(_PROGRAMS["sshd"]), "-D", "-e", "-f", str(server))
            process = subprocess.Popen(
                [str(_PROGRAMS["ip"]), "netns", "exec", f"gp-{board}", *sshd],
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            lines += [f"Host {board}", f"  HostName {theirs}"]
            with known.open("a") as file:
                file.write(f"{theirs} {key}")
        lan.config.write_text("\n".join(lines) + "\n")
        rate = ("root", "tbf", "rate", "2mbit", "burst", "8kb", "latency", "500ms")
        subprocess.run([str(_PROGRAMS["tc"]), "qdisc", "add", "dev", "gp-slow", *rate], check=True)
        yield lan


def _kill_all(lan: Lan, board: str) -> None:
    while pids := lan.pids(board):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def prepared(where: Path, project: Project, board: str) -> str:
    """Make a board's checkout; return what pytest is told of the board."""
    checkout = where / board
    (checkout / "tmp").mkdir(parents=True)
    write_model(checkout / "model_repository", "steady", sleep_s=0.02)
    shutil.copy(project.path / "test_grid.py", checkout)
    shutil.copy(project.path / "grid.toml", checkout)
    python, path = sys.executable, str(ROOT)
    if board == "mute":
        python = str(checkout / "python")
        Path(python).write_text(_MUTE.format(python=sys.executable))
        Path(python).chmod(0o755)
    elif board == "liar":
        (checkout / "lies").mkdir()
        (checkout / "lies" / "pytest.py").write_text(_LIAR)
        path = f"{checkout / 'lies'}:{ROOT}"
    elif board == "dying":
        (checkout / "conftest.py").write_text(_DIES)
    environment = {
        "PYTHONPATH": path,
        "PYTEST_ADDOPTS": f"--gaitperf-profile={board}",
        "TMPDIR": str(checkout / "tmp"),
        "GAITPERF_DISTURBED": "1",
        DIRECTORY: str(checkout),
    }
    words = [f"env:{name}={value}" for name, value in environment.items()]
    return "//".join((f"ssh={board}", f"python={python}", f"chdir={checkout}", *words))


def cut_off(lan: Lan, checkout: Path) -> None:
    """Take a board's network away when it has begun."""
    while not (checkout / "measuring").exists():
        time.sleep(0.05)
    lan.ip("link", "set", "gp-dying", "down")


@pytest.mark.slow
def test_honest_boards_are_gathered_whatever_the_others_do(
    offline: Project, lan: Lan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_STARTS_S", 30.0)
    monkeypatch.setattr(conversation, "_LEAVES_S", 1.0)
    options = [option for option in offline.options if not option.startswith("--gaitperf-profile")]
    fleet = replace(offline, options=(*options, offline.grid("steady")))
    boards = [prepared(tmp_path / "boards", fleet, board) for board in ALL]
    death = threading.Thread(target=cut_off, args=(lan, tmp_path / "boards" / "dying"))
    death.start()
    shown = fleet.run(
        "test_grid.py",
        *(f"--gaitperf-board={board}//ssh_config={lan.config}" for board in boards),
        *("--gaitperf-update=missing", "--gaitperf-json=r.json", "--gaitperf-budget=6"),
    )
    death.join()
    text = shown.stdout.str()
    assert shown.ret == UNMEASURED, text + shown.stderr.str()
    assert not {"\x1b[2J", "\x9b", "\u202e", "\n::error", "##[group"} & set(text.split(" "))
    plain = " ".join(text.split())
    assert "[mute] lost: it said nothing for too long" in plain
    assert "[dying] lost: its pytest was killed, or the connection broke" in plain
    assert "[liar] lost: what it sent cannot be read: " in plain
    assert "3 of 8 boards not green" in plain
    index = json.loads((fleet.path / "r.json").read_text())
    outcomes = {one["board"]: one["outcome"] for one in index["boards"]}
    useful = (*HONEST, "slow")
    assert outcomes == {board: "green" if board in useful else "unmeasured" for board in ALL}
    for board in useful:
        assert list(fleet.cells(f"r-{board}.json")) == ["steady-b1-c1"]
    recorded = sorted(path.parent.name for path in (fleet.path / "baselines").glob("*/*.json"))
    assert recorded == sorted(useful)
    assert "ssh" not in [process.name() for process in psutil.Process().children()]
    # Nothing runs for us on the boards that were heard to their end; what a liar does is its own.
    deadline = time.monotonic() + 30
    while any(len(lan.pids(board)) > 1 for board in useful):
        assert time.monotonic() < deadline, {board: lan.pids(board) for board in useful}
        time.sleep(0.2)
    _kill_all(lan, "dying")
    lease.sweep()
