"""What a board does for its fleet: execnet runs this file there.

It is given a job, plain data: pytest's ``arguments``, the baseline ``files`` (bytes by path) and
their directory as its user knows it (``baselines``), the board's ``name``, and whether to write
``junit``. It runs pytest on copies of these in a directory of its own, sends a line for each cell
on the way, and at the end what pytest left behind. Nothing stays on the board.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_gaitperf.lease import prefix

_PROGRESS = re.compile(
    r"(again |session \d+/\d+, cell )?\d+/\d+ |waiting for this device|"
    r"\S+ not measured: |measured in "
)
_MOST_LINES = 40


def serve(channel: Any) -> None:
    """Do the one job that comes on the channel, and send what came of it."""
    job = channel.receive()
    with tempfile.TemporaryDirectory(prefix=prefix("board")) as private:
        baselines = Path(private, "baselines")
        baselines.mkdir()
        for path, content in job["files"].items():
            (baselines / path).parent.mkdir(parents=True, exist_ok=True)
            (baselines / path).write_bytes(content)
        results, junit = Path(private, "results.json"), Path(private, "junit.xml")
        command = [sys.executable, "-m", "pytest", *job["arguments"]]
        command += [f"--gaitperf-baselines={baselines}", f"--gaitperf-json={results}"]
        if job["junit"]:
            command.append(f"--junitxml={junit}")
        environment = {**os.environ, "GAITPERF_BOARD": job["name"]}
        environment.pop("GITHUB_STEP_SUMMARY", None)  # who gathers writes one for all
        code, tail = _run(channel, command, environment)
        channel.send(
            (
                "end",
                {
                    "code": code,
                    "tail": tail,
                    # What is shown names the directory of the one who gathers.
                    "results": _text(results).replace(str(baselines), job["baselines"]),
                    "junit": _text(junit),
                    "baselines": _changed(baselines, job["files"]),
                },
            )
        )


def _run(channel: Any, command: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run pytest, send its progress, and return its exit code and its last lines."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    )
    threading.Thread(target=_end_with, args=(channel, process), daemon=True).start()
    tail: list[str] = []
    for line in process.stdout or ():
        tail = [*tail[1 - _MOST_LINES :], line.rstrip("\n")]
        if _PROGRESS.match(line):
            channel.send(("line", line.rstrip("\n")))
    return process.wait(), tail


def _end_with(channel: Any, process: subprocess.Popen[str]) -> None:
    """End pytest in good order when the one who gathers is gone."""
    with suppress(Exception):  # whatever closed it
        channel.waitclose()
    if process.poll() is None:
        process.terminate()


def _changed(baselines: Path, given: dict[str, bytes]) -> dict[str, bytes]:
    found = {}
    for path in baselines.rglob("*.json"):
        name, content = path.relative_to(baselines).as_posix(), path.read_bytes()
        if content != given.get(name):
            found[name] = content
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


if __name__ == "__channelexec__":
    serve(channel)  # type: ignore[name-defined]  # noqa: F821 - execnet's
