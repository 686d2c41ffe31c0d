"""What makes a recorded session and this one incomparable, and what merely changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Facts:
    """The identity facts behind one cell's values in one session.

    ``triton`` is the server's version, ``signature`` describes the model's inputs and outputs,
    ``rails`` names, by metric, the meter's rails that were summed; metrics that no meter gave have
    no entry. ``content`` is the hash of the model's files, ``data`` says what the requests carried
    ("" is random data): neither makes a cell incomparable, since a new engine is exactly what the
    gate must judge; that they changed is told beside a verdict.
    """

    triton: str
    signature: str
    protocol: str
    transport: str
    rails: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    data: str = ""


def incomparable(recorded: Facts, current: Facts, metric: str | None = None) -> str | None:
    """Say in one line which facts differ, None where the two may be compared.

    With ``metric``, only that metric's rails count; without, those of every metric both sides
    have. A metric that only one side measured is missing, not incomparable.
    """
    if recorded == current:
        return None
    pairs = [
        ("Triton version", recorded.triton, current.triton),
        ("model signature", recorded.signature, current.signature),
        ("protocol", recorded.protocol, current.protocol),
        ("tensor transport", recorded.transport, current.transport),
    ]
    pairs += [
        (f"rails of {name}", recorded.rails[name], current.rails[name])
        for name in (sorted(recorded.rails) if metric is None else (metric,))
        if name in recorded.rails and name in current.rails
    ]
    differing = [
        f"{what} was {old or 'unknown'}, is {new or 'unknown'}"
        for what, old, new in pairs
        if old != new
    ]
    return "; ".join(differing) or None


def content_change(recorded: Sequence[Facts], current: Facts) -> str | None:
    """Say in one line that the model's files or the input data changed since the newest session.

    ``recorded`` is oldest first. None where nothing changed or either side does not know.
    """
    known = next((facts.content for facts in reversed(recorded) if facts.content), "")
    changes = []
    if known and current.content and known != current.content:
        changes.append(f"the model's files changed: {known[:19]} -> {current.content[:19]}")
    if recorded and recorded[-1].data != current.data:
        old, new = (facts.data or "random" for facts in (recorded[-1], current))
        changes.append(f"the input data changed: {old} -> {new}")
    return "; ".join(changes) or None
