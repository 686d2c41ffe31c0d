"""What a server of ours lets others on the device, and on the network, see: nothing."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer


def test_it_listens_on_loopback_only(server: TritonServer) -> None:
    assert server.server_pid is not None
    process = psutil.Process(server.server_pid)
    connections = getattr(process, "net_connections", None) or process.connections  # psutil < 6
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")  # gRPC listens on IPv6, for IPv4 alone
        for connection in connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_its_files_are_its_users_own(server: TritonServer) -> None:
    assert server.process is not None
    directories = list(Path(tempfile.gettempdir()).glob("gaitperf-triton-*"))
    assert directories
    for path in directories:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
