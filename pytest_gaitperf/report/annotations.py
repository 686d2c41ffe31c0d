"""What is red, as GitHub's workflow commands: GitHub shows them beside the change.

The format: "Workflow commands for GitHub Actions" in GitHub's documentation; the escaping is that
of its toolkit (``@actions/core``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.report.outcome import unmeasured
from pytest_gaitperf.report.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pytest

    from pytest_gaitperf.engine.session import Session
    from pytest_gaitperf.workload import Workload

MOST = 10
"""GitHub shows that many errors and that many warnings of a step."""

_MOST_CHARACTERS = 4000  # GitHub cuts a message at 4 kB


def annotate(
    session: Session, failed: Iterable[pytest.TestReport | pytest.CollectReport], rootdir: Path
) -> Iterator[str]:
    """Yield a line for each red test, each cell that was not measured, and what is provisional.

    ``failed`` are the reports of the tests that failed or could not start, ``rootdir`` is what
    their files are relative to.
    """
    lost = {cell: why for cell, one in session.results.items() if (why := unmeasured(one))}
    errors = [
        command("error", _text(report), **_place(report, rootdir))
        for report in failed
        # A cell that cannot be measured is said once, not again for each test of it.
        if report.when == "call" or not any(_is_of(workload, report) for workload in lost)
    ]
    errors += [command("error", text, title="gaitperf") for text in session.problems]
    warnings = [
        command("warning", f"not measured: {why}", title=cell.id) for cell, why in lost.items()
    ]
    provisional = sum(
        any(verdict.provisional for verdict in result.verdicts.values())
        for result in session.results.values()
    )
    said = f"{count(provisional, 'cell')} judged by too few sessions to know this device's noise"
    last = [command("warning", said, title="provisional verdicts")] if provisional else []
    yield from _at_most(errors, MOST, "error")
    yield from _at_most(warnings, MOST - len(last), "warning")
    yield from last


def command(level: str, message: str, **properties: str) -> str:
    """Return a workflow command; nothing in its parts can end it or start another one."""
    text = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {said}::{text}"


def _property(value: str) -> str:
    for character in "%\r\n:,":
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def _at_most(lines: Sequence[str], most: int, level: str) -> Iterator[str]:
    """Yield the lines, or one fewer than may be shown and one that counts the rest."""
    if len(lines) <= most:
        yield from lines
        return
    yield from lines[: most - 1]
    more = count(len(lines) - most + 1, f"more {level}")
    yield command(level, f"{more}: see the log and the job summary", title="gaitperf")


def _is_of(workload: Workload, report: pytest.TestReport | pytest.CollectReport) -> bool:
    """Return whether a test was run for this cell; other parameters may stand around its id."""
    parameters = report.nodeid.partition("[")[2].removesuffix("]")
    return f"-{workload.id}-" in f"-{parameters}-"


def _text(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test failed: our own text is short, of a traceback only the end matters."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext if crash is None else str(crash.message).removeprefix("Failed: ")
    return text[:_MOST_CHARACTERS]


def _place(report: pytest.TestReport | pytest.CollectReport, rootdir: Path) -> dict[str, str]:
    """Return the properties of a test: its name, and where it stands if that is in the repository.

    GitHub's files are relative to the repository's root.
    """
    assert report.location is not None
    file, line, name = report.location
    workspace = Path(os.environ.get("GITHUB_WORKSPACE", rootdir)).resolve()
    path = (rootdir / file).resolve()
    if not path.is_relative_to(workspace):
        return {"title": name}
    place = {"title": name, "file": path.relative_to(workspace).as_posix()}
    return place if line is None else place | {"line": str(line + 1)}
