"""Findings as people read them: eighty columns, colours, a line that sums up."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from pytest_gaitperf.doctor.finding import Finding

_STYLES = {"ok": "green", "warn": "yellow", "fix": "bold red"}
_WIDTH = 80
_NAME, _LONG = 20, 4
"""Where the text begins, after a state and a name of at most 14 characters; a long command."""


def show(found: Mapping[str, Sequence[Finding]]) -> None:
    """Print the findings in order, and how many there are of each state."""
    from rich.console import Console  # noqa: PLC0415 - only to print

    console = Console(highlight=False, markup=False, emoji=False)
    width = min(_WIDTH, console.width)
    findings = [finding for group in found.values() for finding in group]
    for finding in findings:
        _show(console, finding, width)
    states = Counter(finding.state for finding in findings)
    many = f"{count(states['warn'], 'warning')}, {states['ok']} ok"
    if states["fix"]:
        console.print(f"UNFIT to measure: {states['fix']} to fix, {many}", style="bold red")
    else:
        console.print(f"fit to measure: {many}", style="bold green")


def _show(console: Console, finding: Finding, width: int) -> None:
    from rich.text import Text  # noqa: PLC0415 - as above

    lines = _wrapped(finding.what, width)
    console.print(
        Text.assemble(
            (f"{finding.state:<5}", _STYLES[finding.state]), f"{finding.name:<15}{lines[0]}"
        )
    )
    for line in (*lines[1:], *(_wrapped(finding.advice, width) if finding.advice else ())):
        console.print(" " * _NAME + line)
    if finding.command:
        # As it is to be pasted: never broken, and as far to the left as it must be.
        indent = _NAME if _NAME + len(finding.command) <= width else _LONG
        console.print(" " * indent + finding.command, style="bold", soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    return [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(paragraph, width - _NAME, break_on_hyphens=False)
    ]
