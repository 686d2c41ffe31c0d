"""A profile's baselines: what they say of each cell, and writing sessions into them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.cells import ORIGIN, cells_of, other_work, workload_data
from pytest_gaitperf.baseline.directory import check_name, kept, read, rewrite, without
from pytest_gaitperf.baseline.schema import (
    SCHEMA,
    SPREAD_DIGITS,
    BaselineFile,
    Cell,
    CellWorkload,
    Profile,
    Recording,
    Value,
    encode,
    environment_key,
    rounded,
)
from pytest_gaitperf.config.grid import FULL
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.naming import is_sustained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_gaitperf.baseline.cells import CellBaseline, Fingerprint, Provenance
    from pytest_gaitperf.results import Run
    from pytest_gaitperf.workload import Workload


@dataclass(frozen=True, slots=True)
class _Queued:
    fingerprint: Fingerprint
    entries: dict[str, Value]
    afresh: bool
    former: str


ANOTHER_DEVICE = (
    "name a profile of its own with --gaitperf-profile, or remove the baselines that do not count"
)
"""What to do where a profile's baselines are of another device."""


class BaselineStore:
    """The baselines of one profile, under ``root/profile_id``; nothing is created by reading."""

    def __init__(self, root: Path, profile_id: str, profile_fields: Mapping[str, str]) -> None:
        check_name(profile_id, "profile")
        self.directory = root / profile_id
        self._profile = Profile(profile_id, dict(profile_fields))
        self._cells: dict[str, dict[str, CellBaseline]] | None = None
        # By model, key and index of the session.
        self._queue: dict[str, dict[str, dict[int, _Queued]]] = {}

    def check(self, *, update: bool = False) -> None:
        """Load and validate every file of the profile, or raise BaselineError.

        With ``update`` the directory must be writable too, or such that it can be created.
        """
        above = (self.directory, *self.directory.parents)
        nearest = next(path for path in above if os.path.exists(path))  # noqa: PTH110 - see below
        if not nearest.is_dir() or (update and not os.access(nearest, os.W_OK | os.X_OK)):
            raise BaselineError(
                f"{nearest}: baselines cannot be kept here (not a writable directory): make it "
                "one, or name another with --gaitperf-baselines; nothing was measured"
            )
        # Path.exists raises where a folder may not be entered, and Path.glob finds nothing in it.
        if not os.access(nearest, os.R_OK | os.X_OK):
            raise BaselineError(
                f"{nearest}: this user may not read what baselines are here: let it, or name "
                "another directory with --gaitperf-baselines; nothing was measured"
            )
        paths = [path for path in sorted(self.directory.glob("*.json")) if path.name[0] != "."]
        found: dict[str, dict[str, CellBaseline]] = {}
        for path in paths:
            content = read(path)
            foreign = self._foreign(content.profile)
            cells = (replace(one, foreign=foreign) for one in cells_of(content))
            found[path.stem] = {one.key: one for one in cells}
        self._cells = found

    def _foreign(self, stored: Profile) -> str:
        """Say how a stored profile's device differs from this one, "" where it does not.

        A field that an older version did not store is no difference.
        """
        mine = self._profile.fields
        if not mine:
            return ""
        differing = [
            f"{field} was {value}, is {mine.get(field, 'unknown')}"
            for field, value in sorted(stored.fields.items())
            if mine.get(field) != value
        ]
        return f"recorded on another device: {'; '.join(differing)}" if differing else ""

    @property
    def foreign(self) -> str:
        """How the device of some stored baseline differs from this one: nothing may be added."""
        return next((cell.foreign for cell in self.cells() if cell.foreign), "")

    def cell(self, model: str, key: str) -> CellBaseline | None:
        """Return what is recorded for a cell, None where nothing is."""
        return self._loaded().get(model, {}).get(key)

    def cell_of(self, workload: Workload, now: Fingerprint) -> CellBaseline | None:
        """Return what is recorded for a workload: also without shapes and data in the cell's key.

        An older version left them out: such a cell counts where it may be the same work.
        """
        if (known := self.cell(workload.model, workload.key)) is not None:
            return known
        former = self.cell(workload.model, workload.load)
        shapeless = replace(now, open_shapes=False)
        same = former and any(not other_work(s.fingerprint, shapeless) for s in former.sessions)
        return former if same else None

    def cells(self) -> Iterator[CellBaseline]:
        """Yield every recorded cell of the profile, by model and key."""
        for cells in self._loaded().values():
            yield from cells.values()

    def record(
        self,
        model: str,
        key: str,
        fingerprint: Fingerprint,
        values: Mapping[str, Value],
        *,
        session: int = 0,
        afresh: bool = False,
        former: str = "",
    ) -> None:
        """Queue one cell's values of one session, in memory only; a second call replaces them.

        ``session`` is the index of its provenance in the call of ``write``. ``afresh``: what was
        stored for the cell goes. ``former`` is a key under which an older version may have recorded
        it: sessions of the same work are taken over. Raises BaselineError for a name that cannot be
        a file's, and a value that no baseline may hold.
        """
        check_name(model, "model")
        entries = {}
        for metric, item in sorted(values.items()):
            spread = None if item.spread is None or math.isnan(item.spread) else item.spread
            if not (0 < item.value < math.inf and 0 <= (spread or 0) < math.inf):
                raise BaselineError(
                    f"{model}-{key}: {metric} {item.value} with spread {item.spread} cannot "
                    "become a baseline: measure the cell again"
                )
            entries[metric] = Value(
                rounded(item.value),
                None if spread is None else rounded(spread, SPREAD_DIGITS),
                item.lives,
                item.rails or fingerprint.rails.get(metric, ""),
            )
        sessions = self._queue.setdefault(model, {}).setdefault(key, {})
        sessions[session] = _Queued(fingerprint, entries, afresh, former)

    def write(self, *provenances: Provenance) -> list[Path]:
        """Write what was queued, and return the files that changed.

        ``provenances`` are those of the queued sessions, by their indices: all are written, or
        none. Files are read again under the lock, so that another session's update is kept, even
        one of the same second (one gets another id). The queue is emptied on success; or
        BaselineError.
        """
        if not self._queue:
            return []
        merged: dict[str, BaselineFile] = {}

        def contents() -> dict[Path, bytes]:
            paths = {model: self.directory / f"{model}.json" for model in sorted(self._queue)}
            before = {model: read(path) for model, path in paths.items() if path.exists()}
            for model, known in before.items():
                if why := self._foreign(known.profile):
                    raise BaselineError(
                        f"{paths[model]}: {why}: nothing was written; {ANOTHER_DEVICE}"
                    )
            named = self._named(provenances, before)
            for model in paths:
                merged[model] = self._merged(model, before.get(model), named)
            return {paths[model]: encode(content) for model, content in merged.items()}

        changed = rewrite([self.directory], contents)
        if self._cells is not None:
            for model, content in merged.items():
                self._cells[model] = {one.key: one for one in cells_of(content)}
        self._queue.clear()
        return changed

    def _loaded(self) -> dict[str, dict[str, CellBaseline]]:
        if self._cells is None:
            self.check()
        return self._cells or {}

    def _named(
        self, provenances: Sequence[Provenance], before: Mapping[str, BaselineFile]
    ) -> list[Provenance]:
        """Give a session another id where somebody else's of the same second has it."""
        named: list[Provenance] = []
        for index, provenance in enumerate(provenances):
            mine, number = provenance, 1
            while any(mine.id == other.id for other in named) or any(
                self._taken(index, mine, content) for content in before.values()
            ):
                number += 1
                mine = replace(provenance, id=f"{provenance.id}-{number}")
            named.append(mine)
        return named

    def _taken(self, index: int, provenance: Provenance, content: BaselineFile) -> bool:
        name = provenance.id
        if name not in content.sessions:
            return False
        queued = self._queue[content.model]
        return content.sessions[name].recorder != provenance.recorder or any(
            name in cell.sessions and cell.sessions[name] != queued[key][index].entries
            for key, cell in content.cells.items()
            if index in queued.get(key, ())
        )

    def _taken_over(self, content: BaselineFile | None, *queued: _Queued) -> Cell | None:
        """Return the sessions of the same work under the key that an older version gave it."""
        former = queued[0].former
        if content is None or former not in content.cells:
            return None
        (old,) = (one for one in cells_of(content) if one.key == former)
        cell = content.cells[former]
        return Cell(
            cell.workload,
            {
                one.id: cell.sessions[one.id]
                for one in old.sessions
                if not other_work(one.fingerprint, queued[0].fingerprint)
            },
        )

    def _merged(
        self, model: str, before: BaselineFile | None, provenances: Sequence[Provenance]
    ) -> BaselineFile:
        """Add the sessions to a file's content; a cell's anchor and newest ones stay."""
        recordings = {} if before is None else dict(before.sessions)
        cells = {} if before is None else dict(before.cells)
        environments = {} if before is None else dict(before.environments)
        for one in provenances:
            if one.environment:
                environments[environment_key(one.environment)] = dict(one.environment)
        for key, queued in self._queue[model].items():
            known = cells.get(key) or self._taken_over(before, *queued.values())
            if any(item.afresh for item in queued.values()):
                known = None
            for index, item in sorted(queued.items()):
                provenance = provenances[index]
                mine = item.fingerprint
                recordings[provenance.id] = Recording(
                    **{key: getattr(provenance, key) for key in ORIGIN},
                    **{key: getattr(mine, key) for key in ("triton", "signature")},
                    content=mine.content,
                    environment=environment_key(provenance.environment),
                )
                workload = CellWorkload(
                    mine.protocol, mine.transport, mine.version, dict(mine.shapes), mine.data
                )
                same = known is not None and known.workload.alike(workload)
                sessions = dict(known.sessions) if known is not None and same else {}
                sessions[provenance.id] = item.entries
                known = Cell(workload, kept(sessions, recordings))
            if known is not None:
                cells[key] = known
        everything = BaselineFile(SCHEMA, model, self._profile, recordings, cells, environments)
        return without(everything, ())


def orphans(run: Run, store: BaselineStore, *, quick: bool) -> dict[str, tuple[str, ...]]:
    """Return the keys of the recorded cells that a run of the whole suite did not have, by model.

    None is a cell over a protocol or transport, or with data, that the run did not use, nor a
    sustained load where the run had none, nor, after the ``quick`` grid, one of the full grid; nor
    one whose key lacks the shapes or the data that it was recorded with, until the run's own key is
    there.
    """
    ran = [cell.workload for cell in run.cells]
    covered = {(one.model, one.key) for one in ran}
    covered |= {(one.model, one.load) for one in ran if store.cell(one.model, one.key) is None}
    ways = {(one.protocol, one.transport, one.data) for one in ran}
    if quick:
        closed = {replace(one.closed(1), batch_size=1, deadline_s=0.0) for one in ran}
        covered |= {
            (one.model, replace(one, batch_size=batch, concurrency=load).key)
            for one in closed
            for batch in FULL
            for load in FULL
        }
    lasting = any(one.sustained_s for one in ran)
    found: dict[str, tuple[str, ...]] = {}
    for cell in store.cells():
        newest = cell.sessions[-1].fingerprint
        used = (newest.protocol, newest.transport, workload_data(newest.data)) in ways
        used &= lasting or not is_sustained(cell.key)
        if used and (cell.model, cell.key) not in covered:
            found[cell.model] = (*found.get(cell.model, ()), cell.key)
    return found
