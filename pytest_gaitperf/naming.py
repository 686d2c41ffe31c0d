"""How the parts of a cell's name are written."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN = re.compile(r"[A-Za-z0-9_.]+")
"""A name that an id can hold as it is."""

LONGEST_NAMED = 48
"""Characters of an id in which shapes, or ranges, are written out; longer ones are hashed."""


def short(digest: str) -> str:
    """Return the first 8 digits of a hash."""
    return digest.removeprefix("sha256:")[:8]


def exact(number: float) -> str:
    """Return a number in as few digits as tell it from every other."""
    number = number or 0  # of two zeros, the one without a sign
    text = f"{number:.12g}"
    if float(text) == number:
        return text
    return repr(float(number)) if float(number) == number else str(number)


_SPANS = {"h": 3600, "min": 60, "sec": 1}
"""How the times of sustained loads are written; ``s`` would be a deadline's."""


def duration(seconds: float) -> tuple[str, str]:
    """Return a time in the largest unit that makes it a whole number, as in (``30``, ``min``)."""
    unit = next((unit for unit, size in _SPANS.items() if seconds % size == 0), "sec")
    return exact(seconds / _SPANS[unit]), unit


def is_sustained(key: str) -> bool:
    """Return whether a key is one of a sustained load."""
    return re.search(rf"-\d+(\.\d+)?({'|'.join(_SPANS)})(-|$)", key) is not None


def seconds_of(number: str, unit: str) -> float:
    """Return the seconds that ``duration`` has written so."""
    return float(number) * _SPANS[unit]


def milliseconds(seconds: float) -> str:
    """Return ``40ms`` for 0.04 s; in seconds what milliseconds would round."""
    text = f"{seconds * 1e3:.12g}"
    return f"{text}ms" if float(text) / 1e3 == seconds else f"{seconds!r}s"


def seconds_written(number: str | None, unit: str | None) -> float:
    """Return the seconds that ``milliseconds`` has written so, 0 for none."""
    return float(number or 0) / (1e3 if unit == "ms" else 1)


def named(what: str, texts: Mapping[str, str]) -> str:
    """Return ``A+B=128-C=3x4`` for the texts of tensors, or a hash of them in its place.

    Names that could be taken for another part of an id, or split a path, are hashed too.
    """
    names: dict[str, list[str]] = {}
    for name, text in texts.items():
        names.setdefault(text, []).append(name)
    written = "-".join(f"{'+'.join(same)}={text}" for text, same in names.items())
    if all(map(PLAIN.fullmatch, texts)) and len(written) <= LONGEST_NAMED:
        return written
    return f"{what}=h{hashed(sorted(texts.items()))}"


def hashed(what: object) -> str:
    """Return 8 digits of the hash of names."""
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:8]
