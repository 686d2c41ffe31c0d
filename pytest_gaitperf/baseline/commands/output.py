"""What all actions print alike: JSON, plain tables, times and commits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.files import write_output

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from rich.table import Table

SCHEMA = 1
"""The schema of every action's JSON."""

NAME_WIDTH = 20


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", metavar="FILE", help="write everything to FILE instead, - for the output"
    )


def write_json(document: Mapping[str, object], target: str) -> None:
    """Write a document, with the schema's number; ``-`` is the output. Raises GaitperfError."""
    text = json.dumps({"schema": SCHEMA, **document}, indent=1, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    write_output(Path(target), text.encode())


def plain_table() -> Table:
    """Return a table without lines."""
    from rich.table import Table  # noqa: PLC0415 - only for a table

    return Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)


def print_table(table: Table) -> None:
    """Print a table no wider than the terminal, 80 columns where there is none.

    Names are anybody's: nothing in them is taken for rich's own markup.
    """
    from rich.console import Console  # noqa: PLC0415 - only for a table

    Console(highlight=False, markup=False, emoji=False).print(table)
