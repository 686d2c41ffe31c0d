"""The process that gives a device its power mode back, whatever becomes of the run.

Run as a script, ``python -I -S mode_keeper.py JOB`` (JOB is JSON), and kept to the standard
library. It notes the mode in a file, waits until its standard input ends, which it does when the
run closes it, is interrupted or is killed, and then sets the mode again. It is a process of its own
session, so that no Ctrl-C reaches it. If it is killed too, or the power fails, the file stays: the
next run restores from it.
"""

from __future__ import annotations

import fcntl
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_ATTEMPTS = 3
_SETTLE_S = 0.3
_COMMAND_S = 30.0


def restore(set_command: list[str], query_command: list[str], mode: int) -> str:
    """Set the mode until the device says it is in it; return "" or what went wrong.

    Again where another ``nvpmodel``, of a run that was just killed, was still at work.
    """
    said = ""
    for _ in range(_ATTEMPTS):
        said = _output(set_command)
        time.sleep(_SETTLE_S)
        now = re.search(r"NV Power Mode:.*\n\s*(\d+)", _output(query_command))
        if now is not None and int(now[1]) == mode:
            return ""
    return said.strip() or "the device stays in another mode"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,  # nvpmodel asks whether to reboot: never
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stdout.decode(errors="replace")


def main() -> int:
    """Keep the job of ``sys.argv[1]``; return 0 where the mode was restored."""
    job = json.loads(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    note = Path(job["note"])
    with note.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("busy", flush=True)  # noqa: T201 - the answer to our parent
            return 1
        file.truncate(0)
        file.write(json.dumps({"mode": job["mode"], "name": job["name"]}).encode())
        file.flush()
        print("keeping", flush=True)  # noqa: T201
        sys.stdin.buffer.read()
        problem = restore(job["set"], job["query"], job["mode"])
        if not problem:
            note.unlink(missing_ok=True)
        with suppress(OSError):
            print(problem or "restored", flush=True)  # noqa: T201
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
