"""How what a user gives becomes a value: text of a command line, or what TOML holds.

Each raises ``argparse.ArgumentTypeError`` with what it wanted. Loaded at every start of pytest, so
it must stay light.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST_CHANGE = 100.0
_OWN_HEADERS = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "te")
) | {"inference-header-content-length"}


def as_text(given: object) -> str:
    """Read text, which a TOML file has in quotes."""
    if not isinstance(given, str):
        raise argparse.ArgumentTypeError(f"{given!r} is not text: put it in quotes")
    return given


def as_path(given: object) -> Path:
    """Read a path."""
    return Path(as_text(given))


def as_image(given: object) -> str:
    """Read the name of a container image: what begins with a dash would be an option."""
    text = as_text(given)
    if not re.fullmatch(r"[A-Za-z0-9][\w.:/@-]*", text):
        raise argparse.ArgumentTypeError(f"{given!r} is no name of a container image")
    return text


def _number(given: object) -> float:
    """Return a number, NaN where it is none."""
    try:
        return float(str(given))
    except ValueError:
        return math.nan


def _within(low: float, high: float, wanted: str) -> Callable[[object], float]:
    """Return what reads a number between two, both excluded."""

    def read(given: object) -> float:
        value = _number(given)
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{given!r} is not a {wanted}")
        return value

    return read


def _whole(most: float, wanted: str) -> Callable[[object], int]:
    """Return what reads a whole number from 1 on."""

    def read(given: object) -> int:
        text = str(given)
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{given!r} is not a {wanted}")
        return int(text)

    return read


as_seconds = _within(0, math.inf, "positive number of seconds")
as_frames = _within(0, math.inf, "positive number of frames per second")
as_degrees = _within(0, 150, "temperature in degrees Celsius")
as_count = _whole(math.inf, "whole number of 1 or more")
as_port = _whole((1 << 16) - 1, "port number")


def milliseconds(given: object) -> float:
    """Read ``20 ms`` or ``0.02 s``: seconds."""
    text = str(given).strip()
    for unit, parts in (("ms", 1e3), ("s", 1.0)):
        if text.endswith(unit):
            value = _number(text.removesuffix(unit)) / parts
            if 0 < value < math.inf:
                return value
            break
    raise argparse.ArgumentTypeError(
        f"{given!r} is not a positive time with its unit, such as '40 ms'"
    )


_LEAST_SUSTAINED_S, _MOST_SUSTAINED_S = 10.0, 86_400.0


def sustained(given: object) -> float:
    """Read ``30 min``, ``90 s`` or ``2 h``: seconds, from 10 to a day."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|h)", str(given).strip(), re.ASCII)
    seconds = float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]] if match else math.nan
    if not _LEAST_SUSTAINED_S <= seconds <= _MOST_SUSTAINED_S:
        raise argparse.ArgumentTypeError(
            f"{given!r:.40} is not a time from 10 s to 24 h, such as '30 min', '90 s' or '2 h'"
        )
    return seconds


def as_data(given: object) -> str:
    """Read ``random``, ``zeros`` or an existing file or directory."""
    text = as_text(given)
    if text not in ("random", "zeros") and not os.path.exists(text):  # noqa: PTH110 - Path's raises for a long name
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither random nor zeros nor an existing file or directory"
        )
    return text


def ratio(given: object) -> float:
    """Read ``5%`` or ``0.05``: a number between 0 and 1."""
    text = str(given).strip()
    value = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{given!r} is neither a percentage below 100% nor a number between 0 and 1"
        )
    return value


def share_or_off(given: object) -> float:
    """Read a ratio, or ``off``, which is 1: everything."""
    return 1.0 if str(given).strip() == "off" else ratio(given)


def change(given: object) -> float:
    """Read ``25%``, ``0.25`` or ``100%``: a change for the worse, above 0 and below 100 times.

    A bare 25 would be 2500 %, which hears nothing, and was hardly meant.
    """
    text = str(given).strip()
    is_percentage = text.endswith("%")
    value = _number(text.removesuffix("%")) / (100 if is_percentage else 1)
    if not 0 < value < (_LARGEST_CHANGE if is_percentage else 1):
        raise argparse.ArgumentTypeError(
            f"{given!r} is neither a percentage above 0% nor a ratio between 0 and 1 such as 0.25"
        )
    return value


def as_exports(given: object) -> dict[str, Path]:
    """Read ``FORMAT:FILE``, or several: a TOML list of them, or a table of files by format."""
    if isinstance(given, dict):
        given = [f"{name}:{file}" for name, file in given.items()]
    found = {}
    for text in given if isinstance(given, list) else [as_text(given)]:
        name, _, file = as_text(text).partition(":")
        if not file:
            raise argparse.ArgumentTypeError(f"{text!r} is not FORMAT:FILE")
        found[name] = Path(file)
    return found


def as_names(given: object) -> tuple[str, ...]:
    """Read names: a list, or text with commas."""
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise argparse.ArgumentTypeError(f"{given!r} is not a list of names")
    return tuple(part.strip() for part in parts if part.strip())


def as_clocks(given: object) -> tuple[str, ...]:
    """Read clocks in MHz, or all."""
    names = as_names(given)
    if names != ("all",) and not all(re.fullmatch(r"\d{1,5}(\.\d{1,6})?", one) for one in names):
        raise argparse.ArgumentTypeError(f"{given!r} are no clocks in MHz, and not all")
    return names


def as_header(given: object) -> tuple[str, ...]:
    """Read one header, or a list of them; an error shows nothing of a value."""
    texts = given if isinstance(given, list) else [given]
    for text in texts:
        name, colon, value = str(text).partition(":")
        plain = all(" " <= letter < "\x7f" for letter in value.strip())
        if not (colon and re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name.strip()) and plain):
            raise argparse.ArgumentTypeError("a header is given as 'Name: value', in ASCII")
        if name.strip().lower() in _OWN_HEADERS:
            raise argparse.ArgumentTypeError(f"the header {name.strip()!r} is set by each request")
    return tuple(map(str, texts))


def as_reference(given: object) -> str | Path:
    """Return a version's number as text, anything else as a path."""
    text = str(given).strip() if type(given) is int else as_text(given)
    if not text:
        raise argparse.ArgumentTypeError("give a version's number or a directory")
    return text if text.isdecimal() else Path(text)


def as_revision(given: object) -> str | Path:
    """Return a directory as a path, any other name as the text of a git revision."""
    text = as_text(given).strip()
    if not text:
        raise argparse.ArgumentTypeError("give a git revision or a directory")
    return Path(text) if os.path.isdir(text) else text  # noqa: PTH112 - Path's raises for a long name


def as_board(given: object) -> tuple[str, ...]:
    """Read one board of a fleet, or a TOML list of them."""
    boards = [given] if isinstance(given, str) else given
    if not isinstance(boards, list) or not all(isinstance(one, str) and one for one in boards):
        raise argparse.ArgumentTypeError(f"{given!r} is not a board such as ssh=HOST//chdir=DIR")
    return tuple(boards)
