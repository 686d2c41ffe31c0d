"""The recorded cells: their sessions, what makes two comparable, and what their values come to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import QUANTITIES, of_energy
from pytest_gaitperf.workload import shapes_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_gaitperf.baseline.schema import BaselineFile, Value


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What one cell's values in one session depend on, besides the device.

    ``triton`` is the server's version, ``signature`` describes the model's inputs and outputs,
    ``version`` is the model's, "" where the server chose it. ``shapes`` are those that were asked
    for, and ``open_shapes`` says that without them nothing tells what was sent. ``data`` is what
    the requests carried ("" is random data). ``rails`` names, by metric, the meter's rails that
    were summed, of a peak of memory the largest loads, of answers what they were compared with;
    others have no entry. ``content`` is the hash of the model's files, which makes no cell
    incomparable, since a new engine is exactly what the gate must judge; a change of it is
    mentioned beside a verdict.
    """

    triton: str
    signature: str
    protocol: str
    transport: str
    rails: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    data: str = ""
    version: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    open_shapes: bool = False


ORIGIN = ("time", "commit", "dirty", "plugin", "recorder")
"""What a file says of a session for each of its models."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who recorded a session, when and on what.

    ``id`` is the session's; ids sort by time when they begin with it. ``time`` is UTC ISO 8601,
    ``2026-11-22T15:42:37Z``. ``recorder`` is the host or the CI run. ``dirty`` is None where no
    version control could be asked. ``environment`` says of the machine what explains a change but
    does not separate profiles: kernel, L4T, driver, Python.
    """

    id: str
    time: str
    commit: str = ""
    dirty: bool | None = None
    plugin: str = ""
    recorder: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Provenance):
    """One recorded session of one cell: its values by metric, and where they come from."""

    fingerprint: Fingerprint
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class CellBaseline:
    """What is recorded for one cell: its sessions, oldest first, at least one.

    ``foreign`` says how the device that they are of differs from this one, "" where it does not.
    """

    model: str
    key: str
    sessions: tuple[Session, ...]
    foreign: str = ""

    def comparable(self, current: Fingerprint, metric: str) -> tuple[dict[str, Value], str | None]:
        """Return the values of ``metric`` that ``current`` may be compared with, by session id.

        Oldest first. Where there are none although the metric was recorded, the second item says
        how the newest session with that metric differs; it is None otherwise.
        """
        values: dict[str, Value] = {}
        why: str | None = None
        if self.foreign:
            return values, self.foreign if self.having(metric) else None
        for session in self.having(metric):
            differing = incomparable(session.fingerprint, current, metric)
            if differing is None:
                values[session.id] = session.values[metric]
            else:
                why = f"{differing} (baseline of {session.time})"
        return values, None if values else why

    def in_use(self, metric: str) -> dict[str, Value]:
        """Return the values by session that compare with the newest one: what the gate uses."""
        having = self.having(metric)
        return self.comparable(having[-1].fingerprint, metric)[0] if having else {}

    def having(self, metric: str) -> list[Session]:
        """Return the sessions that measured it, oldest first."""
        return [session for session in self.sessions if metric in session.values]

    def content_change(self, current: Fingerprint) -> str | None:
        """Say that the model's files changed since the newest session, where both sides know."""
        contents = (one.fingerprint.content for one in reversed(self.sessions))
        known = next(filter(None, contents), "")
        if known and current.content and known != current.content:
            return f"the model's files changed: {known[:19]} -> {current.content[:19]}"
        return None


def cells_of(content: BaselineFile) -> Iterator[CellBaseline]:
    """Yield the recorded cells of one file, e.g. of one that ``decode`` read from a revision."""
    for key, cell in content.cells.items():
        names = sorted(cell.sessions, key=lambda name: (content.sessions[name].time, name))
        sessions = []
        for name in names:
            made, entries = content.sessions[name], cell.sessions[name]
            fingerprint = Fingerprint(
                *(made.triton, made.signature, cell.workload.protocol, cell.workload.transport),
                rails={metric: entry.rails for metric, entry in entries.items() if entry.rails},
                content=made.content,
                data=cell.workload.data or made.data,
                version=cell.workload.version,
                shapes=cell.workload.shapes,
            )
            session = Session(
                id=name,
                fingerprint=fingerprint,
                values=entries,
                environment=content.environments.get(made.environment, {}),
                **{key: getattr(made, key) for key in ORIGIN},
            )
            sessions.append(session)
        if sessions:
            yield CellBaseline(content.model, key, tuple(sessions))


def incomparable(
    recorded: Fingerprint, current: Fingerprint, metric: str | None = None
) -> str | None:
    """Say in one line how two fingerprints differ, None where their values may be compared.

    Rails count for ``metric``, or for every metric that both sides have.
    """
    pairs = other_work(recorded, current)
    pairs += [
        ("Triton version", recorded.triton, current.triton),
        ("model signature", recorded.signature, current.signature),
        ("protocol", recorded.protocol, current.protocol),
        ("tensor transport", recorded.transport, current.transport),
    ]
    for name in sorted(recorded.rails) if metric is None else (metric,):
        if name in recorded.rails and name in current.rails:
            old, new = recorded.rails[name], current.rails[name]
            what = "what {} compares with" if name in QUANTITIES["accuracy"] else "loads of {}"
            what = "rails of {}" if of_energy(name) else what
            pairs.append((what.format(name), old, new))
    differing = (pair for pair in pairs if pair[1] != pair[2])
    said = (f"{what} was {old or 'unknown'}, is {new or 'unknown'}" for what, old, new in differing)
    return "; ".join(said) or None


def other_work(recorded: Fingerprint, current: Fingerprint) -> list[tuple[str, str, str]]:
    """Return what was sent where it differs: its name, then and now.

    A session without shapes is one of a model with one possible shape, or an older version's.
    """
    found: list[tuple[str, str, str]] = []
    if recorded.version != current.version:
        found.append(("model version", recorded.version or "latest", current.version or "latest"))
    if data_name(recorded.data) != data_name(current.data):
        found.append(("input data", recorded.data or "random", current.data or "random"))
    old, new = shapes_text(recorded.shapes), shapes_text(current.shapes)
    if old != new and (old or current.open_shapes):
        found.append(("input shape", old, new))
    return found


def data_name(description: str) -> str:
    """Return what tells data apart: of a file its hash, whatever its name is."""
    return description[max(description.rfind("sha256:"), 0) :]


def workload_data(description: str) -> str:
    """Return ``Workload.data`` of the data that a baseline describes."""
    return "" if description.startswith("random") else data_name(description)


def geomean(values: Iterable[Value]) -> float:
    """Return the geometric mean of one value or more: what the gate compares with."""
    return math.exp(fmean(math.log(value.value) for value in values))


def spread(values: Iterable[Value]) -> float | None:
    """Return the SD of the values' logs (nearly: relative to the mean), None for one value."""
    logs = [math.log(value.value) for value in values]
    return stdev(logs) if len(logs) > 1 else None
