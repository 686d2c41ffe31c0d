"""What the actions share: which baselines are meant, and one way out for all text."""

from __future__ import annotations

import sys
import textwrap
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_gaitperf.baseline.directory import profiles_in
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.files import write_json
from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.metrics import METRICS, QUANTITIES, quantities_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from rich.console import JustifyMethod

    from pytest_gaitperf.baseline.cells import CellBaseline

SCHEMA = 1
"""The schema of every action's JSON."""

NAME_WIDTH = 20

_TAILS = ("latency_p90", "latency_p95", "latency_p99")


# Which baselines


def directory_of(arguments: argparse.Namespace) -> Path:
    """Return the directory of the baselines, of ``--baselines`` or the project's settings."""
    return Path(arguments.baselines or project_settings(Path()).baselines)


def profile_of(arguments: argparse.Namespace) -> tuple[Path, str]:
    """Return the directory of the baselines, and which one profile is meant."""
    settings = project_settings(Path())
    directory: Path = arguments.baselines or settings.baselines
    there = profiles_in(directory)
    wanted = arguments.profile or settings.profile
    if not wanted and len(there) == 1:
        return directory, there[0]
    wanted = wanted or identify().id
    if wanted not in there:
        raise ConfigurationError(
            f"{directory}: there is no baseline of {wanted!r}; name one with --profile: "
            + ", ".join(there)
        )
    return directory, wanted


def cells_in(directory: Path, profile: str) -> list[CellBaseline]:
    """Read a profile's cells. Raises BaselineError for a damaged file."""
    return list(BaselineStore(directory, profile, {}).cells())


def matches(name: str, patterns: str | None) -> bool:
    """Say whether a name matches one of comma-separated patterns, if there are any."""
    return patterns is None or any(
        name == pattern or fnmatchcase(name, pattern)
        for pattern in map(str.strip, patterns.split(","))
    )


# Output. Names and texts in a baseline may be anybody's.


def clean(text: str) -> str:
    """Return a text that is harmless wherever a line is broken in it."""
    return sanitize(text).replace("::", ": :")


def say(
    text: str = "", indent: str = "", first: str | None = None, to: TextIO | None = None
) -> None:
    """Print a text in lines of 80 columns; ``first`` begins the first line, ``indent`` the others.

    A text of several lines, and an empty one, is printed as it is. ``to`` is the output if None.
    """
    text = clean(text)
    if text and "\n" not in text:
        first = indent if first is None else first
        text = textwrap.fill(
            text,
            80,
            initial_indent=first,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,  # a path is to be copied
        )
    (to or sys.stdout).write(f"{text}\n")


def say_json(document: Mapping[str, object], target: str) -> None:
    """Write a document, with the schema's number; ``-`` is the output. Raises GaitperfError."""
    write_json({"schema": SCHEMA, **document}, target)


def columns(metrics: Collection[str]) -> list[str]:
    """Return which of some metrics have a column: of p90 to p99 the last. The JSON has all."""
    tails = [one for one in METRICS if one in metrics and one in _TAILS]
    return [one for one in METRICS if one in metrics and one not in tails[:-1]]


def parted(metrics: Iterable[str]) -> list[list[str]]:
    """Return the metrics of loads, and those of models by themselves: each has a table."""
    of_models = {one for name in quantities_of(["model"]) for one in QUANTITIES[name]}
    parts: tuple[list[str], list[str]] = ([], [])
    for metric in metrics:
        parts[metric in of_models].append(metric)
    return [part for part in parts if part]


class Columns:
    """A table without lines, no wider than the terminal, 80 columns where there is none.

    The first column, names, wraps. Others are numbers, but for texts: those in ``left``, and those
    in ``wrapped``, which wrap. Nothing in the cells is taken for rich's own markup.
    """

    def __init__(
        self, headings: Sequence[str], left: Iterable[str] = (), wrapped: Iterable[str] = ()
    ) -> None:
        self._table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        name, *others = headings
        if name:
            self._table.add_column(name, min_width=NAME_WIDTH, overflow="fold")
        else:
            self._table.add_column(name, max_width=NAME_WIDTH, overflow="fold")
        for heading in others:
            if heading in wrapped:
                self._table.add_column(heading, overflow="fold")
            else:
                justify: JustifyMethod = "left" if heading in left else "right"
                self._table.add_column(heading, justify=justify, no_wrap=True)

    def add(self, *cells: str, style: str = "", first: str = "") -> None:
        """Add a row, all of it in a style, or the first cell in the style ``first``."""
        name, *others = map(clean, cells)
        self._table.add_row(Text(name, style=first), *others, style=style or None)

    def show(self) -> None:
        """Print the table, unless it is empty."""
        if self._table.row_count:
            Console(highlight=False, markup=False, emoji=False).print(self._table)
