"""Small text files of the kernel, read as they are: absent or unreadable is None."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def text(path: Path) -> str | None:
    """Give the file's text without surrounding blanks and NULs, None when it cannot be read.

    Much of sysfs exists on some machines only, or answers an error: that is a missing fact here,
    not a fault.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(" \t\r\n\0") or None
    except OSError:
        return None


def number(path: Path) -> int | None:
    """Give the file's integer, None when it cannot be read or is none of 64 bits."""
    try:
        value = int(text(path) or "")
    except ValueError:
        return None
    return value if -(1 << 63) <= value < 1 << 64 else None
