"""Markdown as pull requests and job summaries show it: tables whose cells cannot break out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&-])")


def escape(text: str) -> str:
    """Return ``text`` such that Markdown shows it as it is, in one line: no link, tag or mention.

    A model's name may be anybody's: it must not format the page or notify people.
    """
    return _SPECIAL.sub(lambda special: f"&#{ord(special.group())};", " ".join(text.split()))


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()
) -> str:
    """Lay out a table, every cell escaped; ``numbers`` are the columns aligned to the right."""
    rule = ["--:" if index in numbers else ":--" for index in range(len(header))]
    lines = [[escape(cell) for cell in header], rule]
    lines += [[escape(cell) for cell in row] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
