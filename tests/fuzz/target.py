"""What is fuzzed: one reader of something that comes from outside, and inputs it really gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fuzz.mutating import Language

SEPARATOR = b"\n%%\n"
"""Between the parts of an input that its reader gets from several places."""


@dataclass(frozen=True, slots=True)
class Target:
    """One reader.

    ``read`` gets the bytes, and a directory for those that read files; it also asserts what must
    hold of a value. ``errors`` are what it may raise: a GaitperfError must name ``source``.
    ``seeds`` gives good inputs. ``weight`` is how many cases it gets beside the others: less where
    a case is slow.
    """

    name: str
    read: Callable[[bytes, Path], object]
    seeds: Callable[[], tuple[bytes, ...]]
    language: Language
    source: str = ""
    errors: tuple[type[Exception], ...] = (GaitperfError,)
    weight: float = 1.0


def as_file(name: str, data: bytes, directory: Path) -> Path:
    """Put the input where a reader of files finds it."""
    path = directory / name
    path.write_bytes(data)
    return path


def parts(data: bytes, count: int) -> list[bytes]:
    """Split an input into that many parts; the last ones are empty where it has fewer."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))
