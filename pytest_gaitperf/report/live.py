"""The live line of a run, cut to the width of a terminal: what matters least goes first."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

_LONG_MODEL, _SHORT_MODEL = 20, 10


class Live(NamedTuple):
    """What the line says, in its order; all but the first three may be empty.

    ``model`` and ``key`` name the cell, ``doing`` is the estimate or what is being done. ``ahead``
    says how the time left is known (``about``), ``left`` is that time.
    """

    place: str
    model: str
    key: str
    doing: str
    precision: str = ""
    power: str = ""
    ahead: str = ""
    left: str = ""

    def fitted(self, width: int) -> str:
        """Return the line in at most ``width`` columns.

        First go the end of a long name, the power, how the time left is known, more of the name,
        the precision, the model, the time left; then the end of the line.
        """
        line = self
        for shorter in (
            {},
            {"model": cut(self.model, _LONG_MODEL)},
            {"power": ""},
            {"ahead": ""},
            {"model": cut(self.model, _SHORT_MODEL)},
            {"precision": ""},
            {"model": ""},
            {"left": ""},
        ):
            line = line._replace(**shorter)
            if cell_len(str(line)) <= width:
                return str(line)
        return cut(str(line), width)

    def __str__(self) -> str:
        """Return the whole line."""
        cell = "-".join(filter(None, (self.model, self.key)))
        doing = " ".join(filter(None, (self.doing, self.precision)))
        left = " ".join(filter(None, (self.ahead, self.left)))
        said = ", ".join(filter(None, (doing, self.power, left)))
        return f"{self.place} {cell}: {said}"


def cut(text: str, width: int) -> str:
    """Return a text in at most ``width`` columns; one that is cut ends in dots."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 2, 0)).rstrip() + ".."[:width]
