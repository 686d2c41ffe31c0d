"""The boundary to code that is not ours: drivers, services, libraries and packages of others.

A backend looks for its sensor in a process of its own (``python -m pytest_gaitperf.power.boundary``
with the question as JSON on stdin), which may hang, crash, exit or print what it likes: it costs a
deadline, and is a MeterError that says what happened. The sampler's process is the same for reading
one. A ``Meter`` of another package lives in ours, behind ``foreign``.

Standard library only: the process must start at once.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.deadline import kill
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeterError
from pytest_gaitperf.power.sensor import Request, Sensor, SensorAbsentError, foreign

if TYPE_CHECKING:
    from collections.abc import Sequence

DEADLINE_S = 20.0
"""jtop's service reads everything of the board before its first answer."""

HANGS = (
    "did not answer in {:g} s and hangs: see what its driver or service says (dmesg, systemctl "
    "status), and restart that"
)

_PACKAGE_ROOT = Path(__file__).parents[2]
_ERRORS = (MeterError, SensorAbsentError, ConfigurationError)
_STDOUT, _STDERR = 1, 2


def look(backends: Sequence[str], request: Request) -> list[Sensor | GaitperfError | None]:
    """Let backends (``module:attribute``) look for a sensor, in order, until one is not absent.

    Return for each that looked its sensor, None where it gives a Meter, or why it has none: what it
    raised, or MeterError for whatever else it did.
    """
    question = {
        "backends": list(backends),
        "request": {**asdict(request), "sysfs_root": str(request.sysfs_root)},
        "path": search_path(),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_gaitperf.power.boundary"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=_PACKAGE_ROOT,
        start_new_session=True,  # Ctrl-C is for this process to handle
    )
    how = ""
    try:
        said, printed = process.communicate(json.dumps(question).encode(), DEADLINE_S)
    except subprocess.TimeoutExpired as late:
        said, printed, how = late.stdout or b"", b"", HANGS.format(DEADLINE_S)
    finally:
        kill(process)
    found = [_found(json.loads(line)) for line in said.splitlines()]
    if all(isinstance(one, SensorAbsentError) for one in found) and len(found) < len(backends):
        how = how or ended(process.returncode, printed)
        found.append(MeterError(f"the backend {backends[len(found)]} {how}"))
    return found


def _found(answer: dict[str, Any]) -> Sensor | GaitperfError | None:
    for kind in _ERRORS:
        if kind.__name__ in answer:
            return kind(answer[kind.__name__])
    sensor = answer["sensor"]
    if sensor is None:
        return None
    listed = ("rails", "total_rails", "gpu_rails", "notes", "parts")
    rails = {name: tuple(sensor[name]) for name in listed}
    chips = {chip: tuple(on_it) for chip, on_it in sensor["chips"].items()}
    return Sensor(**{**sensor, **rails, "chips": chips})


def search_path() -> list[str]:
    """Return where this process finds modules, for another one to find them there."""
    return [str(Path(entry).absolute()) for entry in sys.path]


def ended(code: int, printed: bytes) -> str:
    """Say how a process ended, and the last line that it printed."""
    lines = printed.decode(errors="replace").strip().splitlines()
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return how + (f" ({lines[-1]})" if lines else "")


def main() -> int:
    """Answer the question on stdin, a line for each backend."""
    answers = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)  # what a library prints must not stand between
    question: dict[str, Any] = json.load(sys.stdin)
    sys.path[:] = question["path"]
    asked: dict[str, Any] = question["request"]
    asked |= {"rails": tuple(asked["rails"]), "sysfs_root": Path(asked["sysfs_root"])}
    for backend in question["backends"]:
        answer = _answer(backend, Request(**asked))
        os.write(answers, json.dumps(answer).encode() + b"\n")
        if SensorAbsentError.__name__ not in answer:
            break
    os._exit(0)  # threads of a client may wait for a service that never answers again


def _answer(backend: str, request: Request) -> dict[str, Any]:
    module, _, attribute = backend.partition(":")
    try:
        try:
            find = attrgetter(attribute)(importlib.import_module(module))
        except Exception as error:
            raise MeterError(f"its package cannot be imported ({error}); reinstall it") from error
        with foreign(f"the backend {backend}"):
            found = find(request)
            return {"sensor": asdict(found) if isinstance(found, Sensor) else None}
    except GaitperfError as error:
        kind = next((one for one in _ERRORS[:0:-1] if isinstance(error, one)), MeterError)
        return {kind.__name__: str(error)}


if __name__ == "__main__":
    sys.exit(main())
