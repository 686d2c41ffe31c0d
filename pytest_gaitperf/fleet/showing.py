"""What a fleet's controller shows at the end: each board's table, then all boards in one."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pytest_gaitperf.fleet.board import printable
from pytest_gaitperf.report.text import count, text_width

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.fleet.board import Board
    from pytest_gaitperf.fleet.controller import Controller


def summarize(reporter: TerminalReporter, fleet: Controller) -> None:
    """Write a section for each board that told something, and the section "gaitperf fleet"."""
    width = text_width(reporter._tw.fullwidth)  # noqa: SLF001 - no public access to it
    boards = list(fleet.boards.values())
    for board in boards:
        _board(reporter, board, width)
    reporter.write_sep("=", "gaitperf fleet", blue=True, bold=True)
    names = max(len(board.name) for board in boards)
    profiles = max(len(board.profile or "unknown") for board in boards)
    for board in boards:
        place = f"{board.name:{names}}  {board.profile or 'unknown':{profiles}}  "
        lines = textwrap.wrap(board.ending, max(width - len(place), 30), break_long_words=False)
        markup = {"red": True} if board.code else {"green": True}
        for line in (place + lines[0], *(" " * len(place) + more for more in lines[1:])):
            reporter.write_line(line.rstrip(), **markup)
    bad = sum(bool(board.code) for board in boards)
    said = f"{bad} of {count(len(boards), 'board')} not green" if bad else "every board is green"
    for line in (said, *fleet.written):
        _wrapped(reporter, line, width)
    for problem in fleet.problems:
        reporter.write_line(f"ERROR: {problem}", red=True, bold=True)


def _board(reporter: TerminalReporter, board: Board, width: int) -> None:
    report = board.report
    if report is None or not (report.results or report.problems):
        return
    reporter.write_sep("=", f"gaitperf: {board.name}", blue=True, bold=True)
    for line in report.table.splitlines():
        reporter.write_line(printable(line).rstrip())
    for line in report.lines:
        _wrapped(reporter, line, width)
    for label, lines in (("warning", report.warnings), ("ERROR", report.problems)):
        _labelled(reporter, label, lines)


def _labelled(reporter: TerminalReporter, label: str, lines: Iterable[str]) -> None:
    for line in lines:
        for part in f"{label}: {line}".splitlines():
            reporter.write_line(printable(part), red=label == "ERROR", yellow=label == "warning")


def _wrapped(reporter: TerminalReporter, line: str, width: int) -> None:
    if line.startswith(" "):  # a command, to be copied whole
        reporter.write_line(printable(line))
        return
    for part in textwrap.wrap(
        printable(line),
        width,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    ):
        reporter.write_line(part)
