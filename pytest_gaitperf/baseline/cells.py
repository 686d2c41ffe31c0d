"""The cells of a baseline file with all that stands behind their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from pytest_gaitperf.baseline.compare import Facts, content_change, incomparable
from pytest_gaitperf.baseline.schema import Value  # noqa: TC001 - msgspec may ask for it

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.baseline.schema import BaselineFile


# A profile has a hundred thousand of these: a struct is made in a tenth of a dataclass's time.
class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded session of one cell: its values by metric, and where they come from."""

    id: str
    time: str
    commit: str
    dirty: bool | None
    plugin: str
    recorder: str
    version: str
    facts: Facts
    values: dict[str, Value]
    environment: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class CellBaseline:
    """What is recorded for one cell: its sessions, oldest first, at least one."""

    model: str
    key: str
    sessions: tuple[Session, ...]

    def comparable(self, current: Facts, metric: str) -> tuple[dict[str, Value], str | None]:
        """Return the values of ``metric`` that ``current`` may be compared with, by session.

        The keys are the sessions' ids, which cells measured in one run share, oldest first.

        Where there are none although the metric was recorded, the second item says why: how the
        newest session with that metric differs. It is None otherwise.
        """
        values: dict[str, Value] = {}
        why: str | None = None
        facts, differing = None, None
        for session in self.sessions:
            if metric not in session.values:
                continue
            if session.facts is not facts:  # sessions measured alike share their facts
                facts = session.facts
                differing = incomparable(facts, current, metric)
            if differing is None:
                values[session.id] = session.values[metric]
            else:
                why = f"{differing} (baseline of {session.time})"
        return values, None if values else why

    def content_change(self, current: Facts) -> str | None:
        """Say that the model's files or the input data changed since the newest session."""
        return content_change((session.facts for session in self.sessions), current)


def cells_of(content: BaselineFile) -> Iterator[CellBaseline]:
    """Yield the recorded cells of one file, e.g. of one that ``decode`` read from a revision."""
    shared: dict[object, Facts] = {}
    for key, cell in content.cells.items():
        if not cell.sessions:
            continue
        named = [(content.sessions[session].time, session) for session in cell.sessions]
        workload = cell.workload
        sessions = []
        for _, name in sorted(named):
            recording, entries = content.sessions[name], cell.sessions[name]
            rails = [(metric, entry.rails) for metric, entry in entries.items() if entry.rails]
            alike = (
                *(recording.triton, recording.signature, recording.content, recording.data),
                *(workload.protocol, workload.transport, *rails),
            )
            facts = shared.get(alike)
            if facts is None:
                facts = shared[alike] = Facts(
                    triton=recording.triton,
                    signature=recording.signature,
                    protocol=workload.protocol,
                    transport=workload.transport,
                    rails=dict(rails),
                    content=recording.content,
                    data=recording.data,
                )
            sessions.append(
                Session(
                    id=name,
                    time=recording.time,
                    commit=recording.commit,
                    dirty=recording.dirty,
                    plugin=recording.plugin,
                    recorder=recording.recorder,
                    version=workload.version,
                    facts=facts,
                    values=entries,
                    environment=content.environments.get(recording.environment, {}),
                )
            )
        yield CellBaseline(content.model, key, tuple(sessions))
