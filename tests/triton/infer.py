"""Inference by plain JSON, and what is left of processes: shared by the tests of the server."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

import psutil

from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.way import parse_url


def infer(
    url: str,
    model: str,
    *,
    batch: int = 1,
    version: str = "",
    inputs: list[dict[str, object]] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Send one request, without ``inputs`` that of an FP32 identity; return status and answer."""
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
    if inputs is None:
        data = [0.5] * (batch * 16)
        inputs = [{"name": "INPUT0", "datatype": "FP32", "shape": [batch, 16], "data": data}]
    connection = http.client.HTTPConnection(url, timeout=30)
    try:
        connection.request("POST", path, body=json.dumps({"inputs": inputs}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def answers(url: str, timeout_s: float) -> bool:
    """Whether a Triton answers at a URL."""
    return Api(*parse_url(url)).probe(timeout_s).server_id is not None


def tree(pid: int) -> list[int]:
    """Return the pids of a process and its descendants."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def wait_gone(pids: list[int], timeout_s: float = 20.0) -> list[int]:
    """Wait until processes are gone; return those that are not."""
    deadline = time.monotonic() + timeout_s
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def regions(pids: list[int]) -> list[Path]:
    """Return the shared memory regions of a server's stubs, which get their names as arguments."""
    return [
        Path("/dev/shm", argument)  # noqa: S108  the kernel's name
        for pid in pids
        for argument in psutil.Process(pid).cmdline()
        if argument.startswith("gaitperf_")
    ]
