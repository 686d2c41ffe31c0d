"""The baselines of a fleet: given to the boards as text, and what they add taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.directory import check_name, joined, rewrite
from pytest_gaitperf.baseline.schema import decode, encode
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pytest_gaitperf.fleet.board import Board


def baselines_of(root: Path, profile: str) -> dict[str, bytes]:
    """Return a profile's files by model, validated. Raises BaselineError for a bad one."""
    check_name(profile, "profile")
    found = {}
    try:
        for path in sorted((root / profile).glob("*.json")):
            if not path.name.startswith("."):
                found[path.stem] = read_bytes(path)
                decode(found[path.stem], path, path.stem, profile)
    except OSError as error:
        raise BaselineError(
            f"{error.filename or root}: cannot read the baseline ({error.strerror}): make it "
            "readable, or name another directory with --gaitperf-baselines"
        ) from None
    return found


def take_in(root: Path, boards: Iterable[Board]) -> list[Path]:
    """Write what the boards of a fleet recorded, and return the files that changed.

    Each board recorded into what it was given; that is joined with what is here now, so that two
    boards of one profile, and whoever else wrote meanwhile, all keep their sessions. A board whose
    files cannot be read or joined gets none in, and its ``why`` says so. Raises BaselineError where
    the files cannot be written.
    """
    by_profile: dict[str, list[Board]] = {}
    for board in boards:
        if board.report is not None and board.report.baselines and not board.report.code:
            by_profile.setdefault(board.profile, []).append(board)
    written: list[Path] = []
    for profile, recorded in by_profile.items():
        check_name(profile, "profile")
        changed: dict[Path, bytes] = {}

        def contents(
            profile: str = profile,
            recorded: list[Board] = recorded,
            changed: dict[Path, bytes] = changed,
        ) -> Mapping[Path, bytes]:
            for board in recorded:
                changed.update(_joined(root / profile, board, changed))
            return changed

        written += rewrite([root / profile], contents)
    return written


def _joined(directory: Path, board: Board, before: Mapping[Path, bytes]) -> Mapping[Path, bytes]:
    """Return a board's files, joined with what is on the disk or was joined just before."""
    assert board.report is not None  # noqa: S101 - it recorded
    texts = board.report.baselines
    try:
        return dict(_join(directory, board, model, text, before) for model, text in texts.items())
    except BaselineError as error:
        board.why = f"its baselines were not taken: {error}"
        return {}


def _join(
    directory: Path, board: Board, model: str, text: str, before: Mapping[Path, bytes]
) -> tuple[Path, bytes]:
    check_name(model, "model")
    path = directory / f"{model}.json"
    theirs = decode(
        text.encode(), path.with_name(f"{path.name} of {board.name}"), model, path.parent.name
    )
    now = before.get(path) or (read_bytes(path) if path.exists() else None)
    if now is not None:
        given = board.given.get(model)
        base = None if given is None else decode(given, path, model, directory.name)
        theirs = joined(base, decode(now, path, model, directory.name), theirs)
    return path, encode(theirs)
