"""The section "gaitperf" at the end of a run: the table and the lines under it."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from rich.cells import cell_len

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.report.closing import closing_lines
from pytest_gaitperf.report.live import cut
from pytest_gaitperf.report.table import table
from pytest_gaitperf.report.text import text_width

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.engine.session import Session


def summarize(reporter: TerminalReporter, session: Session) -> None:
    """Write the section "gaitperf": the table and the lines under it."""
    if not session.results and not session.problems:
        return
    reporter.write_sep("=", "gaitperf", blue=True, bold=True)
    writer = reporter._tw  # noqa: SLF001 - the writer's width and colours have no public access
    width = text_width(writer.fullwidth)
    every = reporter.verbosity > 0
    text = table(session, width=width, colour=writer.hasmarkup, every=every)
    for line in text.splitlines():
        reporter.write_line(line.rstrip())
    for line in map(sanitize, closing_lines(session)):
        if line.startswith(" "):  # a command, to be copied whole, or a row of values
            is_command = line.lstrip().startswith(("pytest ", "gaitperf "))
            reporter.write_line(line if is_command else _squeezed(line, width))
            continue
        wrapped = textwrap.wrap(
            line,
            width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for part in wrapped:
            reporter.write_line(part)
    for line in session.warnings:
        reporter.write_line(f"warning: {sanitize(line)}", yellow=True)
    for line in session.problems:
        reporter.write_line(f"ERROR: {sanitize(line)}", red=True, bold=True)


def _squeezed(row: str, width: int) -> str:
    """Return a row of values in at most ``width`` columns: its name gives way."""
    if cell_len(row) <= width:
        return row
    name, *values = re.split(" {2,}", row.strip())
    rest = "".join(f"  {value}" for value in values)
    return f"  {cut(name, width - 2 - cell_len(rest))}{rest}"
