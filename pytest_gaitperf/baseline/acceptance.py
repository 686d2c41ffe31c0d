"""Which new sessions may not become baselines, and why: pure.

``refused(stored, new)`` takes what is stored, by (model, key), and the sessions that a run wants to
write, each as cells by (model, key); it returns what must stay out. A session, or all of a model's
cells in it, is refused as an *outlier* when they lie, taken together, beyond what the sessions of
this profile do; a cell by itself only for its own ``invalid`` reason.

- A cell whose new level is meant (an accepted regression, an improvement that is to tighten the
  gate) is passed with ``expected=True``: its past says nothing then, only the other new sessions.
- A model whose files changed needs no word: only stored sessions with the same content hash, the
  same data, Triton version, signature, protocol and transport count as its past.
- An invalid cell is refused and takes no part in the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from pytest_gaitperf.baseline.compare import Facts
    from pytest_gaitperf.baseline.store import CellBaseline, Value

    CellKey: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class NewCell:
    """What one new session has of one cell.

    ``invalid`` is why its measurement cannot be believed (throttled, too few samples), None where
    it can. ``expected`` says that the user wants this level whatever the past was.
    """

    facts: Facts
    values: Mapping[str, Value]
    invalid: str | None = None
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """What must not be written: cells of the new session with index ``session``.

    ``model`` None means all its cells, ``key`` None all cells of the model. ``reason`` is one
    line, without the session's and the model's name.
    """

    session: int
    model: str | None
    key: str | None
    reason: str

    def covers(self, session: int, model: str, key: str) -> bool:
        """Return whether a cell of a new session is refused by this."""
        return self.session == session and self.model in (None, model) and self.key in (None, key)


def refused(
    stored: Mapping[CellKey, CellBaseline], new: Sequence[Mapping[CellKey, NewCell]]
) -> list[Refusal]:
    """Return what of the new sessions must not be written, by session, model and cell."""
    return [
        Refusal(index, model, key, cell.invalid)
        for index, session in enumerate(new)
        for (model, key), cell in session.items()
        if cell.invalid is not None
    ]
