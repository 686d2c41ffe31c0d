"""The baselines of a fleet: given to the boards as they are, and what they add taken back."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.directory import check_name, joined, rewrite
from pytest_gaitperf.baseline.schema import decode, encode
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
