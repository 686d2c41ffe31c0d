"""The baseline file: its structs, its layout on disk, and what is wrong with a damaged one.

``baselines/<profile>/<model>.json`` holds sessions (who measured, when, on what) and cells, each
with the values of the sessions it was measured in, one line per cell and session::

    "b8-c4": {
      "workload": {"protocol":"http","transport":"inline"},
      "sessions": {
        "20261122T165314Z": {"latency_p50":[0.0023324,0.0184,3],"throughput":[419.07,0.0153,3]},

Cells and metrics are sorted, sessions newest first, numbers rounded to 5 significant digits. So a
new session inserts one line in each cell, above the session before it, and changes none.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.measurement import SessionValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Document = dict[str, Any]

SCHEMA: Literal[3] = 3
SIGNIFICANT_DIGITS = 5
SPREAD_DIGITS = 3

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Size = Annotated[int, msgspec.Meta(gt=0)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
UtcTime = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Value(SessionValue, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A value as the file has it: an array, in the order of the fields.

    ``rails`` names what the value hangs on besides: of energy the rails that were summed, of a
    peak of memory the loads, of answers what they were compared with.
    """

    value: Positive
    spread: NotNegative | None = None
    lives: Count = 1
    rails: str = ""


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One session of one model: when, by whom and on what it was measured.

    ``time`` is UTC ISO 8601. ``recorder`` is the host or the CI run. ``signature`` describes the
    model's inputs and outputs; it and ``triton`` decide comparability. ``content`` is the hash of
    the model's files: shown when it changed, but a new engine is what the gate judges. ``data``
    stands in each cell now, and here in older files. ``dirty`` is None where no version control
    could be asked. ``environment`` is a key of the file's ``environments``, "" where it is unknown.
    """

    time: UtcTime
    triton: str
    signature: str
    plugin: str = ""
    recorder: str = ""
    commit: str = ""
    dirty: bool | None = None
    content: str = ""
    data: str = ""
    environment: str = ""


class CellWorkload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a cell was loaded, beside the batch size and concurrency that its key names.

    ``shapes`` are those of inputs that were asked for, ``data`` what the requests carried ("" is
    random data): the key may have a hash of either.
    """

    protocol: Name
    transport: Name
    version: str = ""
    shapes: dict[str, tuple[Size, ...]] = {}
    data: str = ""

    def alike(self, other: CellWorkload) -> bool:
        """Whether sessions of both may be compared: of another protocol or transport never."""
        mine = (self.protocol, self.transport, self.version)
        return mine == (other.protocol, other.transport, other.version)


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cell: its workload, and by session id the entries by metric."""

    workload: CellWorkload
    sessions: dict[str, dict[str, Value]]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kind of device, power mode and serving stack whose measurements are comparable."""

    id: Name
    fields: dict[str, str] = {}


class BaselineFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file: one model on one profile.

    ``environments`` say of the machine what explains a change but does not separate profiles
    (kernel, L4T, driver, Python); sessions measured alike share one.
    """

    schema: Literal[3]
    model: Name
    profile: Profile
    sessions: dict[str, Recording]
    cells: dict[str, Cell]
    environments: dict[str, dict[str, str]] = {}


def rounded(value: float, digits: int = SIGNIFICANT_DIGITS) -> float:
    """Round to 5 significant digits, finer than any session repeats; a spread to 3."""
    return float(f"{value:.{digits}g}")


def environment_key(environment: Mapping[str, str]) -> str:
    """Name an environment by its content, "" an empty one."""
    if not environment:
        return ""
    return hashlib.sha256(_ENCODER.encode(environment)).hexdigest()[:8]


def encode(content: BaselineFile) -> bytes:
    """Write a file's text: keys in their natural order, one session of a cell to a line."""
    fields = dict(sorted(content.profile.fields.items()))
    document: Document = {
        "schema": content.schema,
        "model": content.model,
        "profile": {"id": content.profile.id, "fields": fields},
        "sessions": {
            session: msgspec.to_builtins(recording)
            for session, recording in sorted(content.sessions.items(), reverse=True)
        },
        "cells": {
            key: {
                "workload": _OneLine(msgspec.to_builtins(cell.workload)),
                "sessions": {
                    session: _OneLine(
                        {
                            metric: [one.value, one.spread, one.lives, *filter(None, [one.rails])]
                            for metric, one in sorted(values.items())
                        }
                    )
                    for session, values in sorted(cell.sessions.items(), reverse=True)
                },
            }
            for key, cell in sorted(content.cells.items(), key=lambda item: _natural(item[0]))
        },
    }
    if content.environments:
        document["environments"] = {
            key: dict(sorted(one.items())) for key, one in sorted(content.environments.items())
        }
    return (_text(document) + "\n").encode()


def decode(data: bytes, path: Path, model: str, profile: str) -> BaselineFile:
    """Read and validate a file's bytes; ``model`` and ``profile`` are those of its path.

    Raises BaselineError with the file, the JSON path or line, and what to do.
    """
    try:
        raw = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(data, path, error) from None
    raw = migrated(raw)
    try:
        content = msgspec.convert(raw, BaselineFile)
    except msgspec.ValidationError as error:
        raise _invalid(raw, path, error) from None
    if content.model != model:
        raise BaselineError(
            f"{path}: $.model is {content.model!r}, but the file is named for {model!r}: "
            f"rename the file to {content.model}.json or restore it from git"
        )
    if content.profile.id != profile:
        raise BaselineError(
            f"{path}: $.profile.id is {content.profile.id!r}, but the directory is {profile!r}: "
            "move the file to its profile's directory, or record a baseline for this one"
        )
    for key, cell in content.cells.items():
        for session in cell.sessions:
            if session not in content.sessions:
                raise BaselineError(
                    f"{path}: $.cells[{key!r}].sessions[{session!r}] has no provenance in "
                    f"$.sessions: {_RESTORE}"
                )
    for session, recording in content.sessions.items():
        if recording.environment and recording.environment not in content.environments:
            raise BaselineError(
                f"{path}: $.sessions[{session!r}].environment {recording.environment!r} is not in "
                f"$.environments: {_RESTORE}"
            )
    return content


def migrated(document: Any) -> Any:
    """Return a document in today's schema; as it is, where no step leads from its own.

    A step lets everything pass that did not change, also what is damaged: the result is validated
    as any file is. To change the schema: raise ``SCHEMA``, add the step from the one before it, and
    keep a captured file of the old one in ``tests/baseline/schemas``.
    """
    while isinstance(document, dict):
        schema = document.get("schema")
        if type(schema) is not int or schema not in _STEPS:  # true is no schema
            break
        document = _STEPS[schema](document)
    return document


def _entries_to_arrays(document: Document) -> Document:
    """Make schema 2 of 1: a metric was an object, and is an array: value, spread, n, rails."""
    known = {"value", "spread", "n", "rails"}

    def array(entry: Document) -> Any:
        if "value" not in entry or not entry.keys() <= known:
            return entry  # damaged: validation says where
        return [entry["value"], entry.get("spread"), entry.get("n", 0), entry.get("rails", "")]

    def cell(old: Document) -> Document:
        sessions = _each(old.get("sessions"), lambda entries: _each(entries, array))
        return {**old, "sessions": sessions}

    return {**document, "schema": 2, "cells": _each(document.get("cells"), cell)}


def _windows_to_lives(document: Document) -> Document:
    """Make schema 3 of 2: spread and n were those of the windows, and are those of the lives."""

    def value(entry: Any) -> Any:
        if not (isinstance(entry, list) and 1 <= len(entry) <= 4):
            return entry  # damaged: validation says where
        return [entry[0], None, 1, *entry[3:]]

    def cell(old: Document) -> Document:
        sessions = _each(
            old.get("sessions"),
            lambda entries: {metric: value(entry) for metric, entry in entries.items()},
        )
        return {**old, "sessions": sessions}

    return {**document, "schema": 3, "cells": _each(document.get("cells"), cell)}


def _each(items: Any, change: Callable[[Document], Any]) -> Any:
    """Change every value that is an object; what is none passes, for validation to refuse."""
    if not isinstance(items, dict):
        return items
    return {
        key: change(value) if isinstance(value, dict) else value for key, value in items.items()
    }


_STEPS: dict[int, Callable[[Document], Document]] = {
    1: _entries_to_arrays,
    2: _windows_to_lives,
}
"""By the schema that a step starts from."""

_ENCODER = msgspec.json.Encoder(order="sorted")
_RESTORE = "restore the file from git, or delete it and record it again"


class _OneLine(dict[str, Any]):
    """An object that stays on one line of the file."""


def _text(value: object, indent: int = 0) -> str:
    """Write JSON with one key to a line, but for what is ``_OneLine``."""
    if not isinstance(value, dict) or isinstance(value, _OneLine) or not value:
        return msgspec.json.encode(value).decode()
    inner = "\n" + " " * (indent + 2)
    lines = (f"{_text(key)}: {_text(item, indent + 2)}" for key, item in value.items())
    return f"{{{inner}{f',{inner}'.join(lines)}\n{' ' * indent}}}"


def _natural(key: str) -> list[tuple[int, str]]:
    """Order b8-c4 before b12-c4, as a reader would."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", key)]


def _malformed(data: bytes, path: Path, error: Exception) -> BaselineError:
    """Find where bytes that are no JSON go wrong."""
    if conflict := re.search(rb"^(<{7}|={7}|>{7})", data, re.MULTILINE):
        line = data.count(b"\n", 0, conflict.start()) + 1
        return BaselineError(
            f"{path}, line {line}: a merge conflict was left in the file: resolve it (sessions of "
            "both sides may stay), or take one side"
        )
    if isinstance(error, msgspec.ValidationError):  # a number that no float holds
        return BaselineError(f"{path}: {error}: {_RESTORE}")
    at = re.search(r"byte (\d+)", str(error))
    offset = int(at.group(1)) if at else len(data)
    line = data.count(b"\n", 0, offset) + 1
    reason = re.sub(r"^JSON is malformed: | \(byte \d+\)", "", str(error))
    return BaselineError(f"{path}, line {line}: not valid JSON ({reason}): {_RESTORE}")


def _invalid(raw: Any, path: Path, error: msgspec.ValidationError) -> BaselineError:
    """Say what is wrong with a document, migrated if it was of an older schema, and where."""
    found = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(found, int) and not isinstance(found, bool) and found != SCHEMA:
        newer = "update pytest-gaitperf, or record the baseline again with this version"
        todo = newer if found > SCHEMA else _RESTORE
        return BaselineError(
            f"{path}: $.schema is {found}, this pytest-gaitperf reads {SCHEMA}: {todo}"
        )
    for value, kind, at in _pieces(raw):
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as fault:
            what, _, inner = str(fault).partition(" - at `$")
            return BaselineError(f"{path}: {at}{inner.rstrip('`')}: {what}: {_RESTORE}")
    return BaselineError(f"{path}: {error}: {_RESTORE}")


def _pieces(raw: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield a document's parts with type and path, innermost first: errors name no dict's keys."""
    sections = raw if isinstance(raw, dict) else {}
    for key, session in _items(sections.get("sessions")):
        yield session, Recording, f"$.sessions[{key!r}]"
    for key, cell in _items(sections.get("cells")):
        at = f"$.cells[{key!r}]"
        for session, entries in _items(cell.get("sessions") if isinstance(cell, dict) else None):
            inside = f"{at}.sessions[{session!r}]"
            for metric, entry in _items(entries):
                yield entry, Value, f"{inside}[{metric!r}]"
            yield entries, dict[str, Value], inside
        yield cell, Cell, at
    yield raw, BaselineFile, "$"


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
