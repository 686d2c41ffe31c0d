"""A run's journal: each cell on the disk as soon as it is measured, so that no end loses it.

JSON in lines. The first is the record of a run none of whose cells is measured, with the key
``journal``; each further one a cell and what its values depend on. A later line of a cell replaces
the one before. A kill or a power cut may tear the last line: what cannot be read ends the journal.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pytest_gaitperf.results import Cell, Run

FORMAT = 1
START = b'{"journal":'
"""How a journal begins, and no other file of ours."""

CUT_SHORT = "the run ended before it was through: this is its journal, without verdicts"
NOT_REACHED = "the run ended before this cell was measured"


class Journal:
    """The journal of this run at ``path``; None keeps none.

    ``begin`` returns the record with which it begins, asked for when the first cell is there.
    ``origin`` says what was taken of another run's. ``problem`` says why there is no journal, or no
    more of it: that ends no run.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.begin: Callable[[], Run] | None = None
        self.origin = ""
        self.problem = ""
        self._taken: tuple[bytes, ...] = ()
        self._file: int | None = None

    def __bool__(self) -> bool:
        """Whether something of this run is in it."""
        return self._file is not None

    def take(self, entries: Iterable[tuple[Cell, object]], origin: str) -> None:
        """Begin with cells that another run has measured."""
        self.origin = origin
        self._taken = tuple(_line(cell, fingerprint) for cell, fingerprint in entries)

    def add(self, cell: Cell, fingerprint: object) -> None:
        """Put a cell on the disk, with what its values depend on."""
        if self.path is None or self.begin is None or self.problem:
            return
        try:
            if self._file is None:
                self._file = _opened(self.path, self.begin(), self._taken)
            os.write(self._file, _line(cell, fingerprint))
            os.fdatasync(self._file)
        except OSError as error:
            self.problem = f"no journal in {self.path}: {error.strerror or error}"

    def end(self) -> None:
        """Remove it: what it holds is written elsewhere."""
        if self.path is not None and self._file is not None:
            with suppress(OSError):
                self.path.unlink()
            self.close()

    def close(self) -> None:
        """Leave it as it is; idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(path: Path, run: Run, taken: Iterable[bytes]) -> int:
    """Replace what is there, but for the journal of a run that still goes on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        os.close(_locked(path))
    start = b"%s%d,%s\n" % (START, FORMAT, msgspec.json.encode(run)[1:])
    replace_file(path, b"".join((start, *taken)))
    return _locked(path)


def _locked(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise OSError(None, "a run that still goes on writes it") from None
    return file


def _line(cell: Cell, fingerprint: object) -> bytes:
    return msgspec.json.encode({"cell": cell, "fingerprint": fingerprint}) + b"\n"


def read(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a journal's run as a results file has it, and each measured cell's fingerprint by id.

    All plain data, still to be checked. Raises ConfigurationError where not even the first line can
    be read.
    """
    lines = iter(content.split(b"\n"))
    try:
        run = parse_json(next(lines))
        if run["journal"] != FORMAT:
            raise ConfigurationError(
                f"it is a journal of format {run['journal']!r}, this pytest-gaitperf reads {FORMAT}"
            )
        cells = {cell["id"]: dict(cell) for cell in run["cells"]}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigurationError(f"it is a journal without a beginning ({error})") from None
    fingerprints: dict[str, Any] = {}
    for line in lines:
        try:
            entry = parse_json(line)
            cell, fingerprint = entry["cell"], entry["fingerprint"]
            cells[cell["id"]] = dict(cell)
        except (ValueError, KeyError, TypeError, IndexError):
            break
        fingerprints[cell["id"]] = fingerprint
    measured = [{**cell, "verdicts": {}, "limits": []} for cell in cells.values()]  # it has none
    run |= {"cells": measured, "unjudged": [CUT_SHORT]}
    return run, fingerprints
