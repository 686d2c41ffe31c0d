"""The command line of ``gaitperf``: from its parsers."""

from __future__ import annotations

import argparse
import os
from unittest.mock import patch

from pytest_gaitperf.cli import parser


def commands() -> str:
    """Return the help of every command and action, as ``--help`` prints it."""
    with patch.dict(os.environ, {"COLUMNS": "90", "NO_COLOR": "1"}):
        return "\n".join(_sections(parser(), 2))


def _sections(one: argparse.ArgumentParser, depth: int) -> list[str]:
    found = [f"{'#' * depth} `{one.prog}`\n\n```text\n{one.format_help().rstrip()}\n```\n"]
    for action in one._actions:  # noqa: SLF001 - argparse has no other way to the sub-parsers
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for below in action.choices.values():
                found += _sections(below, min(depth + 1, 4))
    return found
