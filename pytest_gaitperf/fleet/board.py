"""One board of a fleet, as the pytest that gathers knows it: asked, heard and checked.

Before anything is started each board is asked whether pytest can run there. It is given the
baselines as they are, and what it adds to them is taken back.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePosixPath
from threading import Timer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pytest_gaitperf.baseline.directory import check_name, joined, rewrite
from pytest_gaitperf.baseline.schema import decode, encode
from pytest_gaitperf.errors import BaselineError, ConfigurationError, sanitize
from pytest_gaitperf.files import parse_json, read_bytes
from pytest_gaitperf.results import Outcome, Run
from pytest_gaitperf.results_file import results_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ANSWER_S = 60.0
_CONNECT_S = 15
_SSH_FAILED = 255
_AT_ONCE = 16
_MOST_BYTES = 1 << 16
_LONGEST_LINE = 400
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


_Answer = tuple[tuple[int, int], dict[str, str]]


class _End(msgspec.Struct, forbid_unknown_fields=True):
    """What a board sends at its end: pytest's exit code and last lines, and its files."""

    code: int
    tail: list[str] = []
    results: str = ""
    junit: str = ""
    baselines: dict[str, bytes] = {}


@dataclass(slots=True)
class Board:
    """A board and what became of it; ``why`` says in a line what went wrong.

    ``lines`` counts what it has said on the way.
    """

    name: str
    where: str
    code: int | None = None
    run: Run | None = None
    why: str = ""
    lines: int = 0
    junit: str = ""
    baselines: Mapping[str, bytes] | None = None

    @property
    def profile(self) -> str:
        """Its profile, as far as it is known, in a line: see ``ending``."""
        return " ".join(self.run.profile.id.split()) if self.run is not None else "unknown"

    @property
    def outcome(self) -> Outcome:
        """What the board comes to; one that is lost has shown nothing."""
        if self.run is not None and self.code == self.run.outcome.exit_code:
            return self.run.outcome
        return Outcome.RED if self.code == pytest.ExitCode.TESTS_FAILED else Outcome.UNMEASURED

    @property
    def ending(self) -> str:
        """What became of the board, in a line: its words must not pass for another board's."""
        said = f"{self.outcome.value}; exit code {self.code}" if self.code is not None else "lost"
        return sanitize(" ".join((f"{said}: {self.why}" if self.why else said).split()))

    def check_own(self) -> None:
        """Raise BaselineError where it sent baselines of another profile than its own."""
        if others := {name.partition("/")[0] for name in self.baselines or ()} - {self.profile}:
            raise BaselineError(
                f"they are of {', '.join(sorted(others))}, and it is {self.profile}"
            )

    def take(self, sent: object) -> None:
        """Keep what the board sent at its end, or why it cannot be read."""
        try:
            end = msgspec.convert(sent, _End)
            if end.results:
                # Its files are private to it, and gone.
                run = results_of(parse_json(end.results.encode()))
                self.run = msgspec.structs.replace(run, outputs={}, written=())
        except (
            msgspec.ValidationError,
            ValueError,
            ConfigurationError,
            RecursionError,
        ) as error:
            self.why = f"what it sent cannot be read: {error}"
            return
        if end.code < 0:
            self.why = f"its pytest was killed by {_signal(-end.code)}"
            return
        self.code, self.junit, self.baselines = end.code, end.junit, end.baselines
        if end.code and self.run is None:
            errors = [line for line in end.tail if line.startswith(("ERROR", "INTERNALERROR"))]
            self.why = (errors or [line for line in end.tail if line.strip()] or ["no output"])[-1]
        elif self.run is not None and self.run.reasons:
            self.why = self.run.reasons[0]


def _signal(number: int) -> str:
    """Name a signal; those for real time have no names but two."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# Whether it can


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
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            late = Timer(_ANSWER_S, process.kill)
            late.daemon = True
            late.start()
            said = process.stdout.read(_MOST_BYTES) if process.stdout is not None else b""
            if len(said) == _MOST_BYTES:  # no answer is as long
                process.kill()
            process.wait()
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    if late.finished.is_set():
        return f"it did not answer within {_ANSWER_S:.0f} s"
    late.cancel()
    return _answered(spec, said, process.returncode)


def _answered(spec: Any, said: bytes, code: int) -> str:
    python = spec.python or "python"
    lines = [line for line in said.splitlines() if line.strip()]
    for line in reversed(lines):  # a server may greet, or bid farewell
        with suppress(ValueError, msgspec.ValidationError):
            return _unfit(python, *msgspec.convert(parse_json(line), _Answer))
    last = lines[-1].decode(errors="replace")[:_LONGEST_LINE] if lines else f"exit code {code}"
    failed = code == _SSH_FAILED and spec.ssh
    return f"SSH failed: {last}" if failed else f"{python!r} is no Python there: {last}"


def _unfit(python: str, version_there: tuple[int, int], found: dict[str, str]) -> str:
    """Say what a board's Python lacks, "" where it has all."""
    if version_there < _OLDEST:
        return f"{python!r} is Python {'.'.join(map(str, version_there))}: 3.10 or newer is needed"
    missing = [name for name, has in found.items() if not has]
    if missing:
        return f"{python!r} has no {' and no '.join(missing)} there: install it on the board"
    if found.get(_WANTED) != version(_WANTED):
        return (
            f"{python!r} has {_WANTED} {found.get(_WANTED)} there, and here is {version(_WANTED)}: "
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


# Its baselines


def baselines_in(root: Path) -> dict[str, bytes]:
    """Return every profile's files, by path below ``root``.

    Raises BaselineError for one that cannot be read.
    """
    try:
        return {
            path.relative_to(root).as_posix(): read_bytes(path)
            for path in sorted(root.glob("*/*.json"))
            if not path.name.startswith(".")
        }
    except OSError as error:
        raise BaselineError(
            f"{error.filename or root}: cannot read the baseline ({error.strerror}): make it "
            "readable, or name another directory with --gaitperf-baselines"
        ) from None


def take_in(
    root: Path, given: Mapping[str, bytes], changed: Mapping[str, bytes], board: str
) -> list[Path]:
    """Write what a board recorded, and return the files that changed.

    The board recorded into what it was ``given``; that is joined with what is here now, so that two
    boards of one profile, and whoever else wrote meanwhile, all keep their sessions. Raises
    BaselineError, with nothing written, for a file that cannot be read, joined or written.
    """
    places = {_place(root, name): (name, content) for name, content in changed.items()}

    def contents() -> dict[Path, bytes]:
        return {
            path: _joined(path, content, given.get(name), board)
            for path, (name, content) in places.items()
        }

    return rewrite(sorted({path.parent for path in places}), contents) if places else []


def _place(root: Path, name: str) -> Path:
    """Return where a file belongs that a board calls ``profile/model.json``."""
    profile, _, model = name.partition("/")
    check_name(profile, "profile")
    check_name(PurePosixPath(model).stem, "model")
    return root / profile / f"{PurePosixPath(model).stem}.json"


def _joined(path: Path, content: bytes, given: bytes | None, board: str) -> bytes:
    model, profile = path.stem, path.parent.name
    theirs = decode(content, path.with_name(f"{path.name} of {board}"), model, profile)
    if path.exists():
        base = None if given is None else decode(given, path, model, profile)
        theirs = joined(base, decode(read_bytes(path), path, model, profile), theirs)
    return encode(theirs)
