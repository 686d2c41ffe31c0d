"""Directories of baselines: which files they have, and changing those under a lock, each whole."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pytest_gaitperf.baseline.cells import cells_of
from pytest_gaitperf.baseline.schema import Cell, CellWorkload, decode
from pytest_gaitperf.errors import BaselineError, ConfigurationError
from pytest_gaitperf.files import PartlyReplacedError, read_bytes, replace_files
from pytest_gaitperf.metrics import ANCHOR_SESSIONS, MAX_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.baseline.schema import BaselineFile, Recording, Value

LOCK_WAIT_S = 10.0

_NO_LOCKS_HERE = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][\w.+@=\[\]-]*")


class Place(NamedTuple):
    """Where a baseline file belongs: ``<profile>/<model>.json``."""

    profile: str
    model: str

    def __str__(self) -> str:
        return f"{self.profile}/{self.model}"


class CellPlace(NamedTuple):
    """Which cell of which baseline file."""

    profile: str
    model: str
    key: str


# Reading


def check_name(name: str, what: str) -> None:
    """Refuse a name that is not one plain path component, with a BaselineError."""
    if not _SAFE_NAME.fullmatch(name):
        raise BaselineError(
            f"{what} name {name!r} cannot name a baseline file: use letters, digits and _.+@=[]- , "
            "and begin with a letter, a digit or _"
        )


def profiles_in(directory: Path) -> list[str]:
    """Return the profiles that have baselines. Raises ConfigurationError where none has."""
    there = sorted(path.name for path in directory.glob("*") if any(path.glob("*.json")))
    if not there:
        raise no_baselines(str(directory))
    return there


def no_baselines(where: str) -> ConfigurationError:
    """Return the error of a place without any baseline."""
    return ConfigurationError(
        f"{where}: there are no baselines; record one with 'pytest suites "
        "--gaitperf-update=missing', or name their directory with --baselines"
    )


def files_in(directory: Path, wanted: Callable[[Place], bool]) -> dict[Place, BaselineFile]:
    """Read the wanted files of a directory of baselines, or of one profile's; or BaselineError."""
    found = list(directory.glob("*/*.json")) or list(directory.glob("*.json"))
    places = {Place(path.absolute().parent.name, path.stem): path for path in sorted(found)}
    return {
        place: read(path)
        for place, path in places.items()
        if not any(name.startswith(".") for name in place) and wanted(place)
    }


def read(path: Path) -> BaselineFile:
    """Read and validate one file, or raise BaselineError, naming the path."""
    try:
        data = read_bytes(path)
    except OSError as error:
        raise BaselineError(
            f"{error.filename or path}: cannot read the baseline ({error.strerror}): make it a "
            "readable file, or name another directory with --gaitperf-baselines"
        ) from None
    return decode(data, path, path.stem, path.absolute().parent.name)


def cells_by_place(files: Mapping[Place, BaselineFile]) -> dict[CellPlace, CellBaseline]:
    """Return every recorded cell of the files."""
    return {
        CellPlace(place.profile, place.model, cell.key): cell
        for place, content in files.items()
        for cell in cells_of(content)
    }


# Changing


def without(content: BaselineFile, keys: Collection[str]) -> BaselineFile:
    """Return the file without some cells, and without what no cell that is left needs."""
    cells = {key: cell for key, cell in content.cells.items() if key not in keys}
    used = {session for cell in cells.values() for session in cell.sessions}
    sessions = {key: recording for key, recording in content.sessions.items() if key in used}
    known = {recording.environment for recording in sessions.values()}
    environments = {key: facts for key, facts in content.environments.items() if key in known}
    return msgspec.structs.replace(
        content, sessions=sessions, cells=cells, environments=environments
    )


def joined(given: BaselineFile | None, now: BaselineFile, theirs: BaselineFile) -> BaselineFile:
    """Return ``now`` with what somebody else changed, who began with ``given`` and has ``theirs``.

    Sessions that they added to a cell are added, those that they removed go (a new history began);
    of many, those stay that a cell keeps. Raises BaselineError, naming the place in the file, where
    both have one session with different values.
    """
    sessions = {**theirs.sessions, **now.sessions}
    if clash := [name for name, one in theirs.sessions.items() if sessions[name] != one]:
        raise BaselineError(f"$.sessions[{clash[0]!r}] differs")
    nothing = Cell(CellWorkload("", ""), {})
    cells = dict(now.cells)
    for key, new in theirs.cells.items():
        before = (given.cells if given is not None else {}).get(key, nothing).sessions
        ours = now.cells.get(key, nothing)
        for name in new.sessions.keys() & ours.sessions.keys():
            if new.sessions[name] != ours.sessions[name]:
                raise BaselineError(f"$.cells[{key!r}].sessions[{name!r}] differs")
        added = {name: new.sessions[name] for name in new.sessions.keys() - before.keys()}
        removed = before.keys() - new.sessions.keys()
        if added or removed:
            known = ours.sessions if new.workload.alike(ours.workload) else {}
            values = {name: known[name] for name in known.keys() - removed} | added
            cells[key] = Cell(new.workload, kept(values, sessions))
    environments = {**theirs.environments, **now.environments}  # named by their content
    return without(
        msgspec.structs.replace(now, sessions=sessions, cells=cells, environments=environments), ()
    )


def kept(
    sessions: Mapping[str, dict[str, Value]], recordings: Mapping[str, Recording]
) -> dict[str, dict[str, Value]]:
    """Return the sessions that a cell keeps: its anchor and the newest, ten in all.

    The anchor are the first ``ANCHOR_SESSIONS`` with each metric that compare with the newest
    session: the level that was accepted last, since a new one begins a new history. So recordings
    never walk away from it. (Where metrics came later, a few more sessions are kept.)
    """
    ordered = sorted(sessions, key=lambda name: (recordings[name].time, name))
    if len(ordered) <= MAX_SESSIONS:
        return {name: sessions[name] for name in ordered}
    last = recordings[ordered[-1]]
    like = [
        name
        for name in ordered
        if (recordings[name].triton, recordings[name].signature) == (last.triton, last.signature)
    ]
    stay = set(ordered[ANCHOR_SESSIONS - MAX_SESSIONS :])
    for metric in sessions[ordered[-1]]:
        stay.update([name for name in like if metric in sessions[name]][:ANCHOR_SESSIONS])
    spare = [name for name in ordered if name not in stay]
    stay.update(spare[max(len(spare) - MAX_SESSIONS + len(stay), 0) :])
    return {name: sessions[name] for name in ordered if name in stay}


def rewrite(
    directories: Iterable[Path], contents: Callable[[], Mapping[Path, bytes | None]]
) -> list[Path]:
    """Give files of some profiles' directories new contents, and return those that changed.

    ``contents`` is called with all locks held; None deletes a file. Directories are made where
    missing. What could not be read back is not written, and a file that would not change is left
    alone. SIGINT and SIGTERM wait until all files are written: else some could have a session and
    others not. Raises BaselineError, naming the path, where a file cannot be written.
    """
    directories = sorted(directories)
    replaced = False
    try:
        with ExitStack() as locks:
            for directory in directories:
                directory.mkdir(parents=True, exist_ok=True)
                locks.enter_context(locked(directory))
            new = contents()
            changed: dict[Path, bytes] = {}
            for path, data in new.items():
                if data is not None and not (path.is_file() and read_bytes(path) == data):
                    decode(data, path, path.stem, path.absolute().parent.name)
                    changed[path] = data
            with _signals_held():
                replace_files(changed)
                replaced = bool(changed)
                deleted = [path for path, data in new.items() if data is None]
                for path in deleted:
                    path.unlink()
    except OSError as error:
        state = "no baseline was changed"
        if replaced or isinstance(error, PartlyReplacedError):
            state = "each file is whole, old or new: look at git diff, and record again"
        raise BaselineError(
            f"{error.filename or directories[0]}: cannot write the baseline ({error.strerror}): "
            "make it writable and free some space, or name another directory with "
            f"--gaitperf-baselines; {state}"
        ) from None
    return [*changed, *deleted]


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold an exclusive lock on the directory itself, which leaves no lock file in git.

    Temporary files of a killed writer are removed. Where a network file system locks no directories
    the renames alone must do: only an update within the same instant is lost. Raises BaselineError
    where another writer holds the lock for 10 s, or OSError.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _acquire(handle, directory):
            for left in directory.glob(".*.json.*.tmp"):
                left.unlink()
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, directory: Path) -> bool:
    """Wait for the lock; False where the file system has none for directories."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return False
            raise
        else:
            return True
    raise BaselineError(
        f"{directory}: another session has been writing baselines here for {LOCK_WAIT_S:.0f} s: "
        "wait for it to end and record again; no baseline was changed"
    )


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let Ctrl-C and a polite kill wait for the end of the block."""
    if threading.current_thread() is not threading.main_thread():  # it may set no handlers
        yield
        return
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])
