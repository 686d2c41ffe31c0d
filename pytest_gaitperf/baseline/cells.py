"""The cells of a baseline file with all that stands behind their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from pytest_gaitperf.baseline.compare import Facts, content_change, incomparable
from pytest_gaitperf.baseline.schema import Value  # noqa: TC001 - msgspec may ask for it

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.baseline.schema import BaselineFile, Cell, CellWorkload


# A profile has a hundred thousand of these: a struct is made in a tenth of a dataclass's time.
class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
            value = session.values.get(metric)
            if value is None:
                continue
            if session.facts is not facts:  # sessions measured alike share their facts
                facts = session.facts
                differing = incomparable(facts, current, metric)
            if differing is None:
                values[session.id] = value
            else:
                why = f"{differing} (baseline of {session.time})"
        return values, None if values else why

    def content_change(self, current: Facts) -> str | None:
        """Say that the model's files or the input data changed since the newest session."""
        return content_change([session.facts for session in self.sessions], current)


def cells_of(content: BaselineFile) -> Iterator[CellBaseline]:
    """Yield the recorded cells of one file, e.g. of one that ``decode`` read from a revision."""
    by_time = sorted(content.sessions, key=lambda name: (content.sessions[name].time, name))
    places = {name: place for place, name in enumerate(by_time)}
    # Sessions of cells measured alike differ in their values alone.
    alike: dict[CellWorkload, dict[object, Session]] = {}
    known: list[Facts] = []
    for key, cell in content.cells.items():
        if not cell.sessions:
            continue
        shared = alike.setdefault(cell.workload, {})
        sessions = []
        for name in sorted(cell.sessions, key=places.__getitem__):
            entries = cell.sessions[name]
            rails = (name, *[(metric, one.rails) for metric, one in entries.items() if one.rails])
            like = shared.get(rails)
            if like is None:
                like = shared[rails] = _session(content, name, cell, known)
            sessions.append(replace(like, values=entries))
        yield CellBaseline(content.model, key, tuple(sessions))


def _session(content: BaselineFile, name: str, cell: Cell, known: list[Facts]) -> Session:
    """Return one session of a cell; its facts are one of the ``known`` where they equal it."""
    recording, entries = content.sessions[name], cell.sessions[name]
    facts = Facts(
        triton=recording.triton,
        signature=recording.signature,
        protocol=cell.workload.protocol,
        transport=cell.workload.transport,
        rails={metric: entry.rails for metric, entry in entries.items() if entry.rails},
        content=recording.content,
        data=recording.data,
    )
    if facts not in known:
        known.append(facts)
    return Session(
        id=name,
        time=recording.time,
        commit=recording.commit,
        dirty=recording.dirty,
        plugin=recording.plugin,
        recorder=recording.recorder,
        version=cell.workload.version,
        facts=known[known.index(facts)],
        values=entries,
        environment=content.environments.get(recording.environment, {}),
    )
