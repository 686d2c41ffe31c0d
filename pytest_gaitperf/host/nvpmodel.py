"""Jetson's ``nvpmodel``: what it says, and the process that restores the device after a sweep.

The only parser of the tool's output. Standard library only, because the keeper is this file run as
a script, ``python -I -S nvpmodel.py JOB`` (JOB is JSON). It records the mode and the clocks' files
in a file, waits until its standard input ends, which it does when the run closes it, is interrupted
or is killed, and then sets them again. It has a session of its own, so that no Ctrl-C reaches it.
If it is killed too, or the power fails, the file stays: the next run restores from it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ATTEMPTS = 3
_SETTLE_S = 0.3
_COMMAND_S = 30.0


class Mode(NamedTuple):
    """A power mode of ``nvpmodel``."""

    id: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


def modes_in(listing: str) -> dict[int, str]:
    """Return the modes' names by number, from ``nvpmodel.conf`` or ``nvpmodel -p --verbose``.

    Their lines are ``< POWER_MODEL ID=2 NAME=15W >`` and ``NVPM VERB: POWER_MODEL: ID=2 NAME=15W``.
    """
    lines = r"^[ \t]*(?:<|NVPM VERB:)\s*POWER_MODEL:?\s+ID=(\d{1,9})\s+NAME=(\S+)"
    return {int(mode): name for mode, name in re.findall(lines, listing, re.MULTILINE)}


def mode_in(answer: str) -> Mode | None:
    """Return the mode that ``nvpmodel -q`` names, None when it names none.

    The line ``NV Power Mode: 15W`` is followed by the mode's number on a line of its own; messages
    (``NVPM ...``, ``NV Fan Mode:...``) may stand before, between and after the two.
    """
    lines = r"^NV Power Mode:[ \t]*(\S*)[ \t]*\n(?:NV.*\n){0,20}\s*(\d{1,9})\b"
    found = re.search(lines, answer, re.MULTILINE)
    return None if found is None else Mode(int(found[2]), found[1] or f"mode{int(found[2])}")


def output(command: list[str], given: str = "") -> str:
    """Run a command; return what it printed, on stdout and stderr, or why it could not run."""
    try:
        done = subprocess.run(
            command,
            input=given.encode(),  # nvpmodel asks whether to reboot: an end of file is a no
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_S,
            check=False,
            start_new_session=True,  # a Ctrl-C must not end it halfway
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stdout.decode(errors="replace")


def restore(set_command: list[str], query_command: list[str], mode: int) -> str:
    """Set the mode until the device reports it; return "" or what went wrong.

    Several attempts: another ``nvpmodel``, of a run that was just killed, may still be at work.
    """
    said = ""
    for _ in range(_ATTEMPTS):
        said = output(set_command)
        time.sleep(_SETTLE_S)
        now = mode_in(output(query_command))
        if now is not None and now.id == mode:
            return ""
    return said.strip() or "the device stays in another mode"


def as_root(*command: str) -> list[str]:
    """Return the command that does this with root's rights."""
    return list(command) if os.geteuid() == 0 else ["sudo", "-n", *command]


def held(path: str) -> str:
    """Return what a file of ``/sys`` holds, with root's rights where it takes them, or why not."""
    with suppress(OSError, ValueError):
        return Path(path).read_text(encoding="ascii").strip()
    return output(as_root("cat", path)).strip()


def write_all(values: dict[str, str]) -> str:
    """Write files of ``/sys``, in this order, until they hold it; return "" or what went wrong.

    Several attempts: some kernels refuse a highest clock below the lowest, which comes after it.
    """
    said = now = path = ""
    for _ in range(_ATTEMPTS):
        for path, value in values.items():
            said = output(as_root("tee", path), value)
        for path, value in values.items():
            now = held(path)
            if now != value:
                break
        else:
            return ""
    lines = [line for line in said.splitlines() if line != values[path]]
    return f"{path} stays at {now}" + (f": {lines[-1]}" if lines else "")


def _tell(answer: str) -> None:
    sys.stdout.write(answer + "\n")
    sys.stdout.flush()


def _keep() -> int:
    """Keep the job of ``sys.argv[1]``; return 0 where the mode was restored."""
    job = json.loads(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    note = Path(job["note"])
    with note.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _tell("busy")
            return 1
        file.truncate(0)
        file.write(json.dumps({key: job[key] for key in ("mode", "name", "clocks")}).encode())
        file.flush()
        _tell("keeping")
        sys.stdin.buffer.read()
        problem = restore(job["set"], job["query"], job["mode"]) if job["set"] else ""
        # A mode brings limits of its own, so the clocks come after it.
        problem = problem or write_all(job["clocks"])
        if not problem:
            note.unlink(missing_ok=True)
        with suppress(OSError):
            _tell(problem or "restored")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(_keep())
