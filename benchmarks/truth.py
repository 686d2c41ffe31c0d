"""What the programs share that judge models of known difference: their file, and disturbers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import psutil

from pytest_gaitperf.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CONFIG = """\
backend: "python"
max_batch_size: 8
input { name: "INPUT0" data_type: TYPE_FP32 dims: [16] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [16] }
instance_group [ { kind: KIND_CPU } ]
"""
"""The ``config.pbtxt`` of a model in Python."""

_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(10**5))\n"


@contextmanager
def spinning() -> Iterator[None]:
    """Let a process spin that shares no scheduling group with us."""
    spinner = subprocess.Popen([sys.executable, "-c", _SPIN], start_new_session=True)
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


_STOPPED_AFTER_S = 25.0
"""A server is stopped when so much of a run is over: while it measures."""


@contextmanager
def stopping(seconds: float) -> Iterator[None]:
    """Stop the server that is there in a while, with its stubs, and let it go on."""

    def stop() -> None:
        if ended.wait(_STOPPED_AFTER_S):
            return
        names = ("tritonserver", "triton_python_b")
        ours = [one for one in psutil.Process().children(recursive=True) if one.name() in names]
        for process in ours:
            process.send_signal(signal.SIGSTOP)
        ended.wait(seconds)
        for process in ours:
            process.send_signal(signal.SIGCONT)

    ended = threading.Event()
    thread = threading.Thread(target=stop)
    if seconds:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if seconds:
            thread.join()


def read(path: Path | None) -> list[dict[str, Any]]:
    """Return the entries of a file of earlier runs; none where there is no file."""
    if path is None or not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return entries


def entry_of(entries: list[dict[str, Any]], case: Any, host: str) -> dict[str, Any]:
    """Return the entry of a case on a machine; a new one where there was none."""
    key = {"host": host, **asdict(case)}
    for entry in entries:
        if all(entry.get(name) == value for name, value in key.items()):
            return entry
    entries.append({**key, "runs": []})
    return entries[-1]


def write(path: Path | None, entries: Sequence[dict[str, Any]], benchmark: str) -> None:
    """Write the file of a benchmark whole."""
    if path is not None:
        lines = []
        for entry in entries:
            rest = {name: value for name, value in entry.items() if name != "runs"}
            runs = ",\n   ".join(json.dumps(run) for run in entry["runs"])
            lines.append(f' {json.dumps(rest)[:-1]}, "runs": [\n   {runs}]}}')
        text = f'{{"benchmark": "{benchmark}", "cases": [\n' + ",\n".join(lines) + "\n]}\n"
        replace_file(path, text.encode())
