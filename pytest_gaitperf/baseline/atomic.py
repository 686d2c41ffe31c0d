"""Replacing files whole: a lock on their directory, synced copies, then renames."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import BaselineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LOCK_WAIT_S = 10.0

_NO_LOCKS_HERE = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold an exclusive lock on the directory itself, which leaves no lock file in git.

    Temporary files that a killed writer left are removed. Some network file systems lock no
    directories. There the renames alone must do: files stay whole, and only an update within the
    same instant is lost. Raises BaselineError where another writer holds the lock for 10 s,
    OSError where the directory cannot be opened.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _acquire(handle, directory):
            for left in directory.glob(".*.json.*.tmp"):
                left.unlink()
        yield
    finally:
        os.close(handle)


def replace_all(contents: Mapping[Path, bytes]) -> None:
    """Give every file, all in one directory, its new content; call it with the lock held.

    All contents are on the disk before the first rename. Raises OSError where that fails, with
    nothing changed; BaselineError where the disk fails between two renames.
    """
    staged: dict[Path, Path] = {}
    renamed = 0
    try:
        for path, data in contents.items():
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            staged[temporary] = path
            temporary.write_bytes(data)
        for temporary in staged:  # after all were written: the disk takes them together
            _sync(temporary)
        for temporary, path in staged.items():
            temporary.replace(path)
            renamed += 1
        for directory in {path.parent for path in contents}:
            _sync(directory)
    except OSError as error:
        if renamed:
            raise BaselineError(
                f"{error.filename}: {renamed} of {len(staged)} baseline files were replaced, then "
                f"the disk failed ({error.strerror}): each file is whole, old or new; look at "
                "git diff, and record again"
            ) from None
        raise
    finally:
        for temporary in list(staged)[renamed:]:
            temporary.unlink(missing_ok=True)


def _acquire(handle: int, directory: Path) -> bool:
    """Wait for the lock; False where the file system has none for directories."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while (held := _try_lock(handle)) is False:
        if time.monotonic() >= deadline:
            raise BaselineError(
                f"{directory}: another session has been writing baselines here for "
                f"{LOCK_WAIT_S:.0f} s: wait for it to end and record again; "
                "no baseline was changed"
            )
        time.sleep(0.02)
    return held is True


def _try_lock(handle: int) -> bool | None:
    """Take the lock if it is free; None where the file system has none for directories."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS_HERE:
            return None
        raise
    return True


def _sync(path: Path) -> None:
    """Put a file's content on the disk, or the renames in a directory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
