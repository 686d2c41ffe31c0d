"""Taking cells out of a baseline file: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_gaitperf.baseline.schema import BaselineFile


def without(content: BaselineFile, keys: Collection[str]) -> BaselineFile:
    """Return the file without some cells, and without the sessions that no cell is left of."""
    cells = {key: cell for key, cell in content.cells.items() if key not in keys}
    used = {session for cell in cells.values() for session in cell.sessions}
    sessions = {key: recording for key, recording in content.sessions.items() if key in used}
    known = {recording.environment for recording in sessions.values()}
    environments = {key: facts for key, facts in content.environments.items() if key in known}
    return msgspec.structs.replace(
        content, sessions=sessions, cells=cells, environments=environments
    )
