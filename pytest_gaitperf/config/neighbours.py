"""What a grid says of neighbours: ``beside = { detector = "25/s b4 within 40 ms" }``."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from typing import Annotated, Any, NamedTuple

import msgspec

from pytest_gaitperf.config.values import milliseconds

_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) */ *s(?: +b(\d+))?(?: +within +(.+))?", re.ASCII)
_MOST = 1e6
_LARGEST_BATCH = 1 << 16
_TABLE: Any = Annotated[dict[str, str], msgspec.Meta(max_length=16)]

MIXES: Any = (
    _TABLE | Annotated[list[_TABLE], msgspec.Meta(min_length=1)],
    "a table such as { detector = '25/s' }, or a list of them, in which {} is the model alone",
)
"""The type of ``beside``, and that type in words."""


class Neighbour(NamedTuple):
    """A model that is kept at a rate beside the measured one.

    ``model`` is as it was written, ``name`` or ``name@version``; ``request_rate`` is in requests a
    second, each of ``batch_size`` samples. ``deadline_s`` is asked of the p99; 0: there is none.
    """

    model: str
    request_rate: float
    batch_size: int = 1
    deadline_s: float = 0.0


def mixes(given: dict[str, str] | list[dict[str, str]]) -> tuple[tuple[Neighbour, ...], ...]:
    """Read one mix of neighbours or several; raises ArgumentTypeError."""
    tables = [given] if isinstance(given, dict) else given
    found = (tuple(_neighbour(*item) for item in table.items()) for table in tables)
    return tuple(dict.fromkeys(found))


def _neighbour(model: str, text: str) -> Neighbour:
    written = _WRITTEN.fullmatch(text.strip())
    rate, batch = (float(written[1]), int(written[2] or 1)) if written else (math.nan, 1)
    if written is None or not 0 < rate <= _MOST or not 1 <= batch <= _LARGEST_BATCH:
        raise ArgumentTypeError(
            f"{model}: {text!r:.60} is no rate up to 1e6, with a batch size and a limit on the p99 "
            "where they are wanted, such as '25/s', '25/s b4' or '25/s within 40 ms'"
        )
    try:
        return Neighbour(model, rate, batch, milliseconds(written[3]) if written[3] else 0.0)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{model}: {error}") from None
