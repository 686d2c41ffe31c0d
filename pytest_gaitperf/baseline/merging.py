"""Joining the sessions of two baseline files of one profile and model: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from pytest_gaitperf.baseline.rewriting import without
from pytest_gaitperf.baseline.schema import Cell
from pytest_gaitperf.baseline.store import MAX_SESSIONS
from pytest_gaitperf.errors import BaselineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_gaitperf.baseline.schema import BaselineFile, CellWorkload, Recording, Value

_T = TypeVar("_T")


class MergeConflictError(BaselineError):
    """The sides say different things of one session or cell."""


def merge(base: BaselineFile | None, ours: BaselineFile, theirs: BaselineFile) -> BaselineFile:
    """Join two files that both come from ``base``; None where they have nothing in common.

    Sessions added on either side are added, sessions removed on one side stay removed; of a cell's
    sessions beyond the maximum the oldest go. The result is the same with the sides exchanged.
    Where just one may stay (a cell's model version, the profile's facts), it is that of the side
    which changed it, else of the side with the newest session. Raises MergeConflictError, naming
    the place in the file, where both sides changed one session, one removed it and the other
    changed it, or a cell was loaded in two ways.
    """
    recordings = {
        session: _recording(session, base, ours, theirs)
        for session in {**ours.sessions, **theirs.sessions}
    }
    cells = {}
    for key in {**ours.cells, **theirs.cells}:
        cell = _cell(key, base, ours, theirs, recordings)
        if cell.sessions:
            cells[key] = cell
    profile = _three_way(
        "$.profile",
        None if base is None else base.profile,
        ours.profile,
        theirs.profile,
        newer=_newer(ours.sessions, theirs.sessions, recordings),
    )
    joined = msgspec.structs.replace(
        ours,
        profile=profile,
        sessions=recordings,
        cells=cells,
        # Named by their content, they cannot differ.
        environments={**theirs.environments, **ours.environments},
    )
    return without(joined, ())


def _recording(
    session: str, base: BaselineFile | None, ours: BaselineFile, theirs: BaselineFile
) -> Recording:
    """Return a session's provenance. A side that no longer needs it does not speak against it."""
    here, there = ours.sessions.get(session), theirs.sessions.get(session)
    either = here or there
    assert either is not None  # noqa: S101 - the session is of one of the two
    before = None if base is None else base.sessions.get(session, either)
    return _three_way(f"$.sessions[{session!r}]", before, here or either, there or either)


def _cell(
    key: str,
    base: BaselineFile | None,
    ours: BaselineFile,
    theirs: BaselineFile,
    recordings: dict[str, Recording],
) -> Cell:
    at = f"$.cells[{key!r}]"
    before, here, there = (
        None if side is None else side.cells.get(key) for side in (base, ours, theirs)
    )
    old, mine, yours = (_sessions(cell) for cell in (before, here, there))
    values: dict[str, dict[str, Value]] = {}
    for session in {**mine, **yours}:
        where = f"{at}.sessions[{session!r}]"
        kept = _three_way(where, old.get(session), mine.get(session), yours.get(session))
        if kept is not None:
            values[session] = kept
    either = here or there
    assert either is not None  # noqa: S101 - the key is of one of the two
    workload = _three_way(
        f"{at}.workload",
        None if before is None else before.workload,
        (here or either).workload,
        (there or either).workload,
        newer=_newer(mine, yours, recordings),
    )
    newest = sorted(values, key=lambda session: (recordings[session].time, session))
    for session in newest:
        ways = [_way(cell.workload) for cell in (here, there) if cell and session in cell.sessions]
        if _way(workload) not in ways:
            raise MergeConflictError(
                f"{at} was loaded in two ways: {'/'.join(ways[0])} and {'/'.join(_way(workload))}"
            )
    return Cell(workload, {session: values[session] for session in newest[-MAX_SESSIONS:]})


def _sessions(cell: Cell | None) -> dict[str, dict[str, Value]]:
    return {} if cell is None else cell.sessions


def _way(workload: CellWorkload) -> tuple[str, str]:
    return workload.protocol, workload.transport


def _newer(ours: Iterable[str], theirs: Iterable[str], recordings: dict[str, Recording]) -> int:
    """Return 1 where our newest session is newer than theirs, -1 where older, 0 for the same."""
    mine, yours = (
        max(((recordings[session].time, session) for session in side), default=("", ""))
        for side in (ours, theirs)
    )
    return (mine > yours) - (mine < yours)


def _three_way(where: str, base: _T | None, ours: _T, theirs: _T, newer: int = 0) -> _T:
    """Return what one side changed, or both alike; else the newer side's, where one is."""
    if theirs in (ours, base):
        return ours
    if ours == base:
        return theirs
    if newer:
        return ours if newer > 0 else theirs
    removed = ours is None or theirs is None
    raise MergeConflictError(
        f"{where} " + ("was removed on one side and changed on the other" if removed else "differs")
    )
