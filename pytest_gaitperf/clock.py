"""What a command that takes time shows meanwhile: on stderr, and moving only at a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import sanitize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def clock(doing: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done, and for how long already, until it is; nothing stays of it.

    Yields a function for a line that stays: what stands before its colon is what is done from then
    on. Where stderr is no terminal, these lines are all.
    """
    from rich.console import Console  # noqa: PLC0415 - only for what takes longer than this
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True, soft_wrap=True)

    def stays(line: str) -> None:
        console.print(sanitize(line), markup=False, highlight=False)

    if not console.is_terminal:  # rich 13 ends even a disabled one with an empty line
        yield stays
        return
    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    # What the work prints to stdout is its output: it goes there whole.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(doing)

        def say(line: str) -> None:
            bar.update(task, description=sanitize(line).partition(":")[0])
            stays(line)

        yield say
