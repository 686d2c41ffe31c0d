"""The command ``gaitperf``."""

# ruff: noqa: T201  # a command prints: that is its output

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from pytest_gaitperf.baseline import commands as baseline
from pytest_gaitperf.doctor import command as doctor
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.report.html import command as report
from pytest_gaitperf.zoo import commands as models

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each adds one command with its actions; an action sets ``run``, which takes the parsed arguments.
_COMMANDS = (models.add_to, baseline.add_to, report.add_to, doctor.add_to)

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """argparse, with every error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"gaitperf: {message} (see: {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Return the whole command line's parser."""
    program = _Parser(
        prog="gaitperf",
        description="Prepare and look after what pytest-gaitperf measures.",
    )
    commands = program.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_to in _COMMANDS:
        add_to(commands)
    return program


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 on failure, 2 on wrong usage, 130 on Ctrl-C."""
    try:
        arguments = parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as leaving:  # argparse leaves so after --help (0) and after a wrong usage (2)
        return leaving.code if isinstance(leaving.code, int) else _FAILED
    except GaitperfError as error:
        print(f"gaitperf: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("gaitperf: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
