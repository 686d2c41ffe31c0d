"""What a fleet's controller shows at the end: each board's table, then all boards in one."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.report.text import count, text_width

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.fleet.board import Board
    from pytest_gaitperf.fleet.controller import Controller


def summarize(reporter: TerminalReporter, fleet: Controller) -> None:
    """Write a section for each board that told something, and the section "gaitperf fleet"."""
    width = text_width(reporter._tw.fullwidth)  # noqa: SLF001 - no public access to it
    boards = list(fleet.boards.values())
    for board in boards:
        _board(reporter, board)
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
        for part in textwrap.wrap(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        ):
            reporter.write_line(part)
    for problem in fleet.problems:
        reporter.write_line(f"ERROR: {problem}", red=True, bold=True)


def _board(reporter: TerminalReporter, board: Board) -> None:
    if board.report is None or not board.report.text:
        return
    reporter.write_sep("=", f"gaitperf: {board.name}", blue=True, bold=True)
    for line in board.report.text.splitlines():
        reporter.write_line(sanitize(line))
