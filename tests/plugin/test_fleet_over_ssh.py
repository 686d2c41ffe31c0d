"""A fleet over a real SSH server, on this machine's loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.host.lock import DIRECTORY
from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugin.conftest import Project

_SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")


@pytest.fixture(scope="session")
def ssh_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a server with keys of its own; return a client's configuration with three hosts."""
    if _SSHD is None or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("there is no OpenSSH here")
    directory = tmp_path_factory.mktemp("ssh")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's server locks itself up
    for name in ("host", "user"):
        keygen = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name))
        subprocess.run(keygen, check=True)
    with socket.socket() as free, socket.socket() as closed:
        for one in (free, closed):
            one.bind(("127.0.0.1", 0))
        port, nobody = free.getsockname()[1], closed.getsockname()[1]
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    server = directory / "sshd_config"
    server.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory / 'host'}\n"
        f"AuthorizedKeysFile {directory / 'user.pub'}\nPidFile none\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
    )
    client = directory / "ssh_config"
    client.write_text(
        f"Host nano orin\n  Port {port}\nHost gone\n  Port {nobody}\nHost *\n"
        f"  HostName 127.0.0.1\n  User {getpass.getuser()}\n  IdentityFile {directory / 'user'}\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  ServerAliveInterval 15\n"
    )
    with ExitStack() as stack, (directory / "log").open("w") as log:
        sshd = subprocess.Popen([_SSHD, "-D", "-e", "-f", str(server)], stderr=log)
        stack.callback(sshd.wait)
        stack.callback(sshd.terminate)
        deadline = time.monotonic() + 30
        while subprocess.run(
            ["ssh", "-F", str(client), "-o", "BatchMode=yes", "nano", "true"],  # noqa: S607
            check=False,
            capture_output=True,
        ).returncode:
            if sshd.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"no SSH server here: {(directory / 'log').read_text().strip()}")
            time.sleep(0.1)
        yield client


@pytest.mark.slow
def test_boards_are_reached_over_ssh_and_what_is_wrong_with_others_is_said(
    project: Project, ssh_config: Path
) -> None:
    options = [option for option in project.options if not option.startswith("--gaitperf-profile")]
    fleet = replace(project, options=(*options, project.grid("steady")))
    checkout = project.path / "checkout"
    checkout.mkdir()
    for name in ("test_grid.py", "grid.toml"):
        shutil.copy(project.path / name, checkout / name)
    common = f"ssh_config={ssh_config}//chdir={checkout}"
    lock = f"env:{DIRECTORY}={os.environ[DIRECTORY]}//env:GAITPERF_DISTURBED=1"
    profile = "env:PYTEST_ADDOPTS=--gaitperf-profile=nano"
    shown = fleet.run_apart(
        "test_grid.py",
        f"--gaitperf-board=ssh=nano//python={sys.executable}//{common}//{lock}//{profile}",
        f"--gaitperf-board=ssh=orin//python=python9.9//{common}",
        f"--gaitperf-board=ssh=gone//python={sys.executable}//{common}",
        "--gaitperf-update=missing",
        "--gaitperf-json=r.json",
    )
    text = " ".join(shown.stdout.str().split())
    assert shown.ret == UNMEASURED, text + shown.stderr.str()
    assert "[nano] 1/1 steady-b1-c1: " in text
    assert "[gone] lost: SSH failed: ssh: connect to host 127.0.0.1 port " in text
    assert "[orin] lost: 'python9.9' is no Python there: " in text
    assert "2 of 3 boards not green" in text
    assert list(fleet.cells("r-nano.json")) == ["steady-b1-c1"]
    assert (project.path / "baselines" / "nano" / "steady.json").exists()
    assert sorted(path.name for path in checkout.iterdir() if not path.name.startswith(".")) == [
        "__pycache__",
        "grid.toml",
        "test_grid.py",
    ]
