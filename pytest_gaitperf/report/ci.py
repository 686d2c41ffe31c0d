"""A run for a CI system: the properties of ``--junitxml``, and GitHub's workflow commands.

GitHub shows the latter beside the change. The format: "Workflow commands for GitHub Actions" in
GitHub's documentation; the escaping is that of its toolkit (``@actions/core``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.text import value
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_gaitperf.results import Cell, Run, Verdict


def properties_of_test(cell: Cell, verdicts: Sequence[Verdict]) -> Iterator[tuple[str, object]]:
    """Yield the properties of one test: its cell, what that comes to in it, each judged metric.

    ``cell`` has, and ``verdicts`` are, what the test is about. Values are in the metric's unit.
    """
    yield "gaitperf.model", cell.workload.model
    yield "gaitperf.cell", cell.key
    yield "gaitperf.outcome", cell.outcome.value
    for verdict in verdicts:
        measurement, now = cell.measurement, value(cell, verdict.metric)
        if measurement is None or now is None:
            continue
        estimated = "estimated_" if measurement.estimates(verdict.metric) else ""
        name = f"gaitperf.{estimated}{verdict.metric}"
        yield name, f"{now:.6g}"
        yield f"{name}.unit", METRICS[verdict.metric].unit
        yield f"{name}.verdict", verdict.word
        yield f"{name}.sessions", verdict.sessions
        if verdict.baseline is not None:
            yield f"{name}.baseline", f"{verdict.baseline:.6g}"
        if verdict.change is not None:
            yield f"{name}.change", f"{verdict.change:.6g}"


def properties_of_run(run: Run) -> Iterator[tuple[str, object]]:
    """Yield the properties of the whole run: its outcome, the device, the server and the meter."""
    yield "gaitperf.outcome", run.outcome.value
    yield "gaitperf.profile", run.profile.id
    for name, field in run.profile.fields.items():
        yield f"gaitperf.profile.{name}", field
    if run.environment.triton is not None:
        yield "gaitperf.triton", run.environment.triton.version
    if run.environment.power.meter is not None:
        yield "gaitperf.power_meter", run.environment.power.meter


MOST = 10
"""GitHub shows that many errors and that many warnings of a step."""

_MOST_CHARACTERS = 4000  # GitHub cuts a message at 4 kB


class Failed(NamedTuple):
    """A test that failed or could not start.

    ``file`` is relative to pytest's root directory, ``line`` counts from 0 and is None where it is
    not known. ``is_call``: the test itself failed, not its set-up.
    """

    nodeid: str
    name: str
    file: str
    line: int | None
    text: str
    is_call: bool


def annotate(run: Run, failed: Iterable[Failed], rootdir: Path, workspace: Path) -> Iterator[str]:
    """Yield a line for each failed test and each unmeasured cell.

    A red run has an error at least, an unmeasured one warnings only, a green one neither.
    ``workspace`` is the directory that GitHub's files are relative to.
    """
    lost = {cell.id: why for cell in run.cells if (why := cell.unmeasured) is not None}
    calm = [cell.id for cell in run.cells if cell.outcome is not Outcome.RED]
    lines: dict[str, list[str]] = {"error": [], "warning": []}
    for one in failed:
        # A cell that cannot be measured is said once, not again for each test of it.
        if one.is_call or not any(_is_of(cell, one.name) for cell in lost):
            unmeasured = one.nodeid in run.unmeasured_tests or (
                one.nodeid not in run.failed_tests and any(_is_of(cell, one.name) for cell in calm)
            )
            level = "error" if run.outcome is Outcome.RED and not unmeasured else "warning"
            text = one.text[:_MOST_CHARACTERS]
            lines[level].append(command(level, text, **_place(one, rootdir, workspace)))
    lines["warning"] += [
        command("warning", f"unmeasured: {why}", title=cell) for cell, why in lost.items()
    ]
    lines["warning"] += [command("warning", text, title="gaitperf") for text in run.problems]
    needed = "error" if run.outcome is Outcome.RED else "warning"
    if run.outcome is not Outcome.GREEN and not lines[needed]:
        text = f"{run.outcome.value}: " + "\n".join(run.reasons)
        lines[needed].append(command(needed, text[:_MOST_CHARACTERS], title="gaitperf"))
    for level, found in lines.items():
        yield from _at_most(found, level)


def command(level: str, message: str, **properties: str) -> str:
    """Return a workflow command; nothing in its parts can end it or start another one."""
    text = sanitize(message).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {said}::{text}"


def _property(value: str) -> str:
    value = sanitize(value)
    for character in "%\r\n:,":
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def _at_most(lines: Sequence[str], level: str) -> Iterator[str]:
    """Yield the lines, or one fewer than may be shown and one that counts the rest."""
    if len(lines) <= MOST:
        yield from lines
        return
    yield from lines[: MOST - 1]
    more = count(len(lines) - MOST + 1, f"more {level}")
    yield command(level, f"{more}: see the log and the job summary", title="gaitperf")


def _is_of(cell: str, test: str) -> bool:
    """Return whether a test was run for this cell; other parameters may stand around its id."""
    parameters = test.partition("[")[2].removesuffix("]")
    return f"-{cell}-" in f"-{parameters}-"


def _place(test: Failed, rootdir: Path, workspace: Path) -> dict[str, str]:
    """Return a test's name, and where it stands if that is in the repository."""
    path, root = (rootdir / test.file).resolve(), workspace.resolve()
    if not path.is_relative_to(root):
        return {"title": test.name}
    place = {"title": test.name, "file": path.relative_to(root).as_posix()}
    return place if test.line is None else place | {"line": str(test.line + 1)}
