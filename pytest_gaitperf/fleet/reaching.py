"""Asking every board at once whether its pytest can run there, before anything is started."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANSWER_S = 60.0
_CONNECT_S = 15
_SSH_FAILED = 255
_AT_ONCE = 16
_OLDEST = (3, 10)
_WANTED = "pytest-gaitperf"
# Neither the board's Python nor what it has of packages is known: the plainest code, quoted for a
# shell.
_QUESTION = (
    "import sys, json\n"
    "try:\n"
    " from importlib.metadata import version\n"
    "except ImportError:\n"
    " version = None\n"
    "found = {}\n"
    "for name in ('pytest', 'pytest-gaitperf'):\n"
    " try:\n"
    "  found[name] = version(name)\n"
    " except Exception:\n"
    "  found[name] = ''\n"
    "print(json.dumps([list(sys.version_info[:2]), found]))\n"
)


def problems(specs: Sequence[Any]) -> dict[str, str]:
    """Return why no pytest can run, for each of execnet's specs by id; "" where one can."""
    if not specs:
        return {}
    with ThreadPoolExecutor(min(len(specs), _AT_ONCE)) as pool:
        return dict(zip((spec.id for spec in specs), pool.map(_problem, specs), strict=True))


def _problem(spec: Any) -> str:
    command = _command(spec)
    if command is None:  # behind another gateway, or a socket: execnet will see
        return ""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not answer within {_ANSWER_S:.0f} s"
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    python = spec.python or "python"
    try:
        (major, minor), found = json.loads(done.stdout)
    except ValueError:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        failed = done.returncode == _SSH_FAILED and spec.ssh
        return f"SSH failed: {said}" if failed else f"{python!r} is no Python there: {said}"
    return _unfit(python, (major, minor), found)


def _unfit(python: str, version_there: tuple[int, int], found: dict[str, str]) -> str:
    """Say what a board's Python lacks, "" where it has all."""
    if version_there < _OLDEST:
        return f"{python!r} is Python {'.'.join(map(str, version_there))}: 3.10 or newer is needed"
    missing = [name for name, has in found.items() if not has]
    if missing:
        return f"{python!r} has no {' and no '.join(missing)} there: install it on the board"
    if found[_WANTED] != version(_WANTED):
        return (
            f"{python!r} has {_WANTED} {found[_WANTED]} there, and here is {version(_WANTED)}: "
            "install the same on all"
        )
    return ""


def _command(spec: Any) -> list[str] | None:
    """Return what asks a board; None where only execnet can."""
    if spec.via:
        return None
    if spec.popen:
        python = shlex.split(spec.python) if spec.python else [sys.executable]
        return [*python, "-c", _QUESTION]
    if spec.ssh:
        # Nobody is there to type a password for each of fifty boards.
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}"]
        configuration = ["-F", str(spec.ssh_config)] if spec.ssh_config else []
        remote = f"{spec.python or 'python'} -c {shlex.quote(_QUESTION)}"
        return ["ssh", *options, *configuration, *spec.ssh.split(), remote]
    return None
