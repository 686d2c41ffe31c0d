"""Changing baseline files outside of a run: under their directories' locks, each file whole."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.atomic import locked, replace_all
from pytest_gaitperf.baseline.schema import decode
from pytest_gaitperf.errors import BaselineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


def rewrite(
    directories: Iterable[Path], contents: Callable[[], Mapping[Path, bytes | None]]
) -> None:
    """Give files of some profiles' directories new contents; None deletes one.

    ``contents`` is called with all locks held, so that what it reads is not changed under it.
    Directories that do not exist are made. Raises BaselineError, naming the path, where one cannot
    be written or is being written by another.
    """
    try:
        with ExitStack() as locks:
            for directory in sorted(directories):
                directory.mkdir(parents=True, exist_ok=True)
                locks.enter_context(locked(directory))
            new = contents()
            for path, data in new.items():
                if data is not None:  # what could not be read back is not written
                    decode(data, path, path.stem, path.parent.name)
            replace_all({path: data for path, data in new.items() if data is not None})
            for path, data in new.items():
                if data is None:
                    path.unlink()
    except OSError as error:
        raise BaselineError(
            f"{error.filename}: cannot write the baseline ({error.strerror}): make it writable "
            "and free some space; each file is whole, old or new"
        ) from None
