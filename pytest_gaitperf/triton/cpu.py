"""CPU time of a server's process tree."""

from __future__ import annotations

import time
from contextlib import suppress
from ipaddress import ip_address

import psutil


def tree_cpu_seconds(pid: int) -> float | None:
    """Return user plus system CPU seconds of a process and its descendants, None if it is gone.

    Children that ended and were waited for count too (their parent keeps their sum). Living
    processes are read with the kernel's nanosecond clock of each process, ended ones in ticks
    of 10 ms.
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


def find_server(host: str, port: int) -> tuple[int | None, str]:
    """Find the process of an attached server: its pid, or None with the reason."""
    if not _loopback(host):
        return None, f"the server runs on another host ({host})"
    candidates = [
        process.pid
        for process in psutil.process_iter(["name"])
        if process.info["name"] == "tritonserver"
    ]
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr.port == port
                and connection.pid in candidates
            ):
                return connection.pid, ""
    # The listener of another user or another container cannot be seen: one server is the server.
    if len(candidates) == 1:
        return candidates[0], ""
    if candidates:
        return None, f"{len(candidates)} tritonserver processes, and none can be tied to {port}"
    return None, "no tritonserver process can be seen on this host"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
