"""Reading a profile's baselines, and writing a session into them: all of it or nothing."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.atomic import locked, replace_all
from pytest_gaitperf.baseline.cells import CellBaseline, Session, cells_of
from pytest_gaitperf.baseline.schema import (
    SCHEMA,
    SPREAD_DIGITS,
    BaselineFile,
    Cell,
    CellWorkload,
    Profile,
    Recording,
    Value,
    decode,
    encode,
    environment_key,
    rounded,
)
from pytest_gaitperf.collection import no_collection
from pytest_gaitperf.errors import BaselineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_gaitperf.baseline.compare import Facts

__all__ = [
    "MAX_SESSIONS",
    "BaselineStore",
    "CellBaseline",
    "Provenance",
    "Session",
    "Value",
    "cells_of",
]

MAX_SESSIONS = 10
"""How many sessions a cell keeps; the oldest make room."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][\w.+@=-]*")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who records, when and on what: the facts that all models of one session share.

    ``time`` is UTC ISO 8601, ``2026-11-22T15:42:37Z``. ``session`` is the session's id; ids sort
    by time when they begin with it. ``recorder`` is the host or the CI run. ``dirty`` is None
    where no version control could be asked. ``environment`` are facts of the machine that explain
    a change but do not separate profiles: kernel, L4T, driver, Python.
    """

    session: str
    time: str
    commit: str = ""
    dirty: bool | None = None
    plugin: str = ""
    recorder: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Queued:
    facts: Facts
    version: str
    entries: dict[str, Value]
    afresh: bool


class BaselineStore:
    """The baselines of one profile, under ``root/profile_id``; nothing is created by reading."""

    def __init__(self, root: Path, profile_id: str, profile_fields: Mapping[str, str]) -> None:
        safe(profile_id, "profile")
        self.directory = root / profile_id
        self._profile = Profile(profile_id, dict(profile_fields))
        self._files: dict[str, BaselineFile] | None = None
        # By path, with the bytes: what another writer changed meanwhile is decoded anew.
        self._decodings: dict[Path, tuple[bytes, BaselineFile]] = {}
        self._cells: dict[str, dict[str, CellBaseline]] = {}
        # By model, key and index of the session.
        self._queue: dict[str, dict[str, dict[int, _Queued]]] = {}

    def check(self, *, update: bool = False) -> None:
        """Load and validate every file of the profile, so that errors precede any measurement.

        With ``update`` the directory must be writable too, or such that it can be created. Raises
        BaselineError for the first file that is damaged or cannot be read, and for the directory.
        """
        nearest = next(path for path in (self.directory, *self.directory.parents) if path.exists())
        if not nearest.is_dir() or (update and not os.access(nearest, os.W_OK | os.X_OK)):
            raise BaselineError(
                f"{nearest}: baselines cannot be kept here (not a writable directory): make it "
                "one, or name another with --gaitperf-baselines; nothing was measured"
            )
        try:
            paths = sorted(self.directory.glob("*.json"))
            self._files = {
                path.stem: self._read(path) for path in paths if not path.name.startswith(".")
            }
        except OSError as error:
            raise _unreadable(error, self.directory) from None

    def cell(self, model: str, key: str) -> CellBaseline | None:
        """Return what is recorded for a cell, None where nothing is."""
        return self._cells_of(model).get(key)

    def cells(self) -> Iterator[CellBaseline]:
        """Yield every recorded cell of the profile, by model and key."""
        for model in self._loaded():
            yield from self._cells_of(model).values()

    def record(
        self,
        model: str,
        key: str,
        facts: Facts,
        values: Mapping[str, Value],
        version: str = "",
        *,
        session: int = 0,
        afresh: bool = False,
    ) -> None:
        """Queue one cell's values of one session, in memory only; a second call replaces them.

        ``session`` is the index of its provenance in the call of ``write``. With ``afresh``, in
        any session of a cell, what was stored for the cell goes: an accepted regression or a
        tightened improvement begins a new history, and the old one stays in git. Values are
        rounded to 5 significant digits, spreads to 3. Raises BaselineError for a name that cannot
        be a file's, and for a value that no baseline may hold, naming cell and metric.
        """
        safe(model, "model")
        entries = {}
        for metric, item in sorted(values.items()):
            spread = None if item.spread is None or math.isnan(item.spread) else item.spread
            usable = 0 < item.value < math.inf and (spread is None or 0 <= spread < math.inf)
            if not usable:
                raise BaselineError(
                    f"{model}-{key}: {metric} {item.value} with spread {item.spread} cannot "
                    "become a baseline: measure the cell again"
                )
            entries[metric] = Value(
                rounded(item.value),
                None if spread is None else rounded(spread, SPREAD_DIGITS),
                item.n,
                item.rails or facts.rails.get(metric, ""),
            )
        sessions = self._queue.setdefault(model, {}).setdefault(key, {})
        sessions[session] = _Queued(facts, version, entries, afresh)

    def write(self, *provenances: Provenance) -> list[Path]:
        """Write what was queued, and return the files that changed.

        ``provenances`` are those of the queued sessions, by their indices: all are written, or
        none. Under a lock on the profile's directory every file is read again, so that another
        session's update is kept, even one of the same second (one of the two gets another id);
        all new contents are written and synced beside the old ones; then each takes its file's
        place by a rename. A failure before the renames, or a kill at any moment, leaves each file
        old or new, never between. The queue is emptied on success.
        Raises BaselineError, naming the path, where a file is damaged or cannot be written.
        """
        if not self._queue:
            return []
        merged: dict[str, BaselineFile] = {}
        changed: dict[Path, bytes] = {}
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with locked(self.directory), no_collection():
                found: dict[Path, tuple[bytes, BaselineFile] | None] = {}
                for model in sorted(self._queue):
                    path = self.directory / f"{model}.json"
                    old = path.read_bytes() if path.exists() else None
                    found[path] = None if old is None else (old, self._decoded(old, path))
                before = {path.stem: one[1] for path, one in found.items() if one is not None}
                named = self._named(provenances, before)
                for path, one in found.items():
                    model = path.stem
                    merged[model] = self._merged(model, before.get(model), named)
                    new = encode(merged[model])
                    if one is None or new != one[0]:
                        self._decoded(new, path)  # what could not be read back is not written
                        changed[path] = new
                replace_all(changed)
        except OSError as error:
            raise BaselineError(
                f"{error.filename or self.directory}: cannot write the baseline "
                f"({error.strerror}): make it writable and free some space, or name another "
                "directory with --gaitperf-baselines; no baseline was changed"
            ) from None
        if self._files is not None:
            self._files.update(merged)
            for model in merged:
                self._cells.pop(model, None)
        self._queue.clear()
        return list(changed)

    def _cells_of(self, model: str) -> dict[str, CellBaseline]:
        content = self._loaded().get(model)
        if content is None:
            return {}
        if model not in self._cells:
            self._cells[model] = {cell.key: cell for cell in cells_of(content)}
        return self._cells[model]

    def _loaded(self) -> dict[str, BaselineFile]:
        if self._files is None:
            self.check()
        return self._files or {}

    def _read(self, path: Path) -> BaselineFile:
        return self._decoded(path.read_bytes(), path)

    def _decoded(self, data: bytes, path: Path) -> BaselineFile:
        known = self._decodings.get(path)
        if known is None or known[0] != data:
            known = self._decodings[path] = (data, decode(data, path, path.stem, self._profile.id))
        return known[1]

    def _named(
        self, provenances: Sequence[Provenance], before: Mapping[str, BaselineFile]
    ) -> list[Provenance]:
        """Give a session another id where somebody else's of the same second has it."""
        named: list[Provenance] = []
        for index, provenance in enumerate(provenances):
            mine, number = provenance, 1
            while any(mine.session == other.session for other in named) or any(
                self._taken(index, mine, content) for content in before.values()
            ):
                number += 1
                mine = replace(provenance, session=f"{provenance.session}-{number}")
            named.append(mine)
        return named

    def _taken(self, index: int, provenance: Provenance, content: BaselineFile) -> bool:
        known = content.sessions.get(provenance.session)
        if known is None:
            return False
        if known.recorder != provenance.recorder:
            return True
        for key, sessions in self._queue[content.model].items():
            cell = content.cells.get(key)
            stored = cell.sessions.get(provenance.session) if cell is not None else None
            if stored is not None and index in sessions and stored != sessions[index].entries:
                return True
        return False

    def _merged(
        self, model: str, before: BaselineFile | None, provenances: Sequence[Provenance]
    ) -> BaselineFile:
        """Add the sessions to a file's content; the oldest ones beyond the maximum go."""
        recordings = {} if before is None else dict(before.sessions)
        cells = {} if before is None else dict(before.cells)
        for key, queued in self._queue[model].items():
            known = cells.get(key)
            if any(item.afresh for item in queued.values()):
                known = None
            for index, item in sorted(queued.items()):
                provenance = provenances[index]
                recordings[provenance.session] = _recording(provenance, item.facts)
                workload = CellWorkload(item.facts.protocol, item.facts.transport, item.version)
                # A session over another protocol or transport can never be compared with this one.
                same = known is not None and (
                    (known.workload.protocol, known.workload.transport)
                    == (workload.protocol, workload.transport)
                )
                sessions = dict(known.sessions) if known is not None and same else {}
                sessions[provenance.session] = item.entries
                newest = sorted(sessions, key=lambda s: (recordings[s].time, s))[-MAX_SESSIONS:]
                known = Cell(workload, {session: sessions[session] for session in newest})
            if known is not None:
                cells[key] = known
        used = {session for cell in cells.values() for session in cell.sessions}
        recordings = {key: value for key, value in recordings.items() if key in used}
        environments = {} if before is None else dict(before.environments)
        for one in provenances:
            environments[environment_key(one.environment)] = dict(one.environment)
        known_environments = {recording.environment for recording in recordings.values()}
        return BaselineFile(
            schema=SCHEMA,
            model=model,
            profile=self._profile,
            sessions=recordings,
            cells=cells,
            environments={
                key: value
                for key, value in environments.items()
                if key and key in known_environments
            },
        )


def _recording(provenance: Provenance, facts: Facts) -> Recording:
    return Recording(
        time=provenance.time,
        triton=facts.triton,
        signature=facts.signature,
        plugin=provenance.plugin,
        recorder=provenance.recorder,
        commit=provenance.commit,
        dirty=provenance.dirty,
        content=facts.content,
        data=facts.data,
        environment=environment_key(provenance.environment),
    )


def safe(name: str, what: str) -> None:
    """Refuse a name that is not one plain path component, with a BaselineError."""
    if not _SAFE_NAME.fullmatch(name):
        raise BaselineError(
            f"{what} name {name!r} cannot name a baseline file: use letters, digits and _.+@=- , "
            "and begin with a letter, a digit or _"
        )


def _unreadable(error: OSError, directory: Path) -> BaselineError:
    return BaselineError(
        f"{error.filename or directory}: cannot read the baseline ({error.strerror}): make it "
        "readable, or name another directory with --gaitperf-baselines"
    )
