"""The command ``gaitperf``."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from pytest_gaitperf.errors import GaitperfError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each module's ``add_to`` adds one command with its actions; an action sets ``run``, a function of
# the parsed arguments.
_COMMANDS = {
    "init": "pytest_gaitperf.commands.init",
    "models": "pytest_gaitperf.zoo.commands",
    "baseline": "pytest_gaitperf.commands.baseline",
    "bisect": "pytest_gaitperf.commands.bisect",
    "power": "pytest_gaitperf.commands.power",
    "doctor": "pytest_gaitperf.doctor.command",
    "report": "pytest_gaitperf.report.html.page",
    "paper": "pytest_gaitperf.commands.paper",
}

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """argparse, with every error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"gaitperf: {message} (see: {self.prog} --help)\n")


def parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of one command, whose module alone is imported, or of all of them."""
    program = _Parser(
        prog="gaitperf",
        description="Set a project up, prepare models, review baselines, find a slow commit, "
        "import power logs, check this machine, draw results for pytest-gaitperf. To measure, "
        "run pytest.",
        epilog="'gaitperf COMMAND --help' shows a command's actions, "
        "'gaitperf COMMAND ACTION --help' an action's options.",
    )
    commands = program.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in [_COMMANDS[command]] if command in _COMMANDS else _COMMANDS.values():
        import_module(module).add_to(commands)
    return program


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 on failure, 2 on wrong usage, 130 on Ctrl-C."""
    try:
        words = sys.argv[1:] if argv is None else argv
        arguments = parser(words[0] if words else "").parse_args(words)
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
