"""A run as Markdown: what a reader of a pull request or of a job wants to know, red first."""

from __future__ import annotations

import math
import os
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import write_output
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.closing import closing_lines
from pytest_gaitperf.report.environment import environment
from pytest_gaitperf.report.markdown import escape, table
from pytest_gaitperf.report.outcome import unmeasured
from pytest_gaitperf.report.table import plain_rows
from pytest_gaitperf.report.text import count, percent, scaled
from pytest_gaitperf.results import VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_gaitperf.engine.session import CellResult, Session
    from pytest_gaitperf.results import Verdict

MOST_BYTES = 100_000
"""GitHub shows up to 1 MiB of a step; ten runs may share it, and people read less."""

_MOST_LINES = 40
_MOST_WORDS = 300
_RED_SHARE = 0.5
_NOTE_BYTES = 100  # a line that says what is left out
_RED_HEADER = ("cell", "quantity", "verdict", "baseline", "now", "change", "why")


def write_summary(session: Session, *, clean: bool) -> None:
    """Append the summary to GitHub's file, and write it to ``--gaitperf-summary``.

    It is for reading only: where it cannot be written, the session gets a warning and no more.
    ``clean`` is whether no test failed.
    """
    asked, given = session.settings.summary, os.environ.get("GITHUB_STEP_SUMMARY")
    if asked is None and not given:
        return
    text = summary(session, clean=clean)
    try:
        if asked is not None:
            write_output(asked, text.encode())
    except GaitperfError as error:
        session.warnings.append(f"no summary: {error}")
    try:
        if given:
            with Path(given).open("a", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        session.warnings.append(f"no job summary in {given}: {error.strerror or error}")


def summary(session: Session, *, clean: bool, most_bytes: int = MOST_BYTES) -> str:
    """Return the run as GitHub's Markdown in about ``most_bytes`` at most.

    What does not fit is counted; the cells that are red or could not be measured come first.
    """
    results = list(session.results.values())
    models = list(dict.fromkeys(result.workload.model for result in results))
    results.sort(key=lambda result: models.index(result.workload.model))
    red = sorted(_red_rows(session, results), key=lambda row: row[0])
    parts = [f"## {_title(session, results, clean=clean)}\n\n", *_worst(session, results)]
    parts += [f"{line}\n" for line in _facts(session)]
    if red:
        rows = [row for _, row in red]
        parts += ["\n", _fitting(_RED_HEADER, rows, (3, 4, 5), int(most_bytes * _RED_SHARE))]
    parts += ["\n", *_remarks(session)]
    room = most_bytes - _NOTE_BYTES - sum(len(part.encode()) for part in parts)
    left_out: list[str] = []
    for model, group in groupby(results, key=lambda result: result.workload.model):
        part = _model(session, model, list(group), room)
        room -= len(part.encode())
        if room < 0:
            left_out.append(model)
            room += len(part.encode())
        else:
            parts.append(part)
    if left_out:
        parts.append(f"\n{count(len(left_out), 'model')} left out: see --gaitperf-json\n")
    return "".join(parts) + "\n"


def _title(session: Session, results: Sequence[CellResult], *, clean: bool) -> str:
    red = [{one.state for one in _red(session, result)} for result in results]
    known = {VerdictKind.REGRESSED, VerdictKind.MISSING}
    numbers = {
        "regressed": sum(VerdictKind.REGRESSED in states for states in red),
        "beyond a limit": sum(any(map(session.is_broken, one.limits.values())) for one in results),
        "without a baseline": sum(VerdictKind.MISSING in states for states in red),
        "without a sure verdict": sum(bool(states - known) for states in red),
    }
    mark = "❌" if any(numbers.values()) else "⚠️"
    numbers["not measured"] = sum(unmeasured(result) is not None for result in results)
    said = [f"{count(number, 'cell')} {what}" for what, number in numbers.items() if number]
    if said:
        return f"{mark} gaitperf: {', '.join(said)} (of {len(results)})"
    if not clean:
        return f"⚠️ gaitperf: {count(len(results), 'cell')} without a fault in a run that failed"
    return f"✅ gaitperf: {count(len(results), 'cell')}, none regressed"


def _red(session: Session, result: CellResult) -> list[Verdict]:
    return [verdict for verdict in result.verdicts.values() if session.is_red(verdict)]


def _worst(session: Session, results: Iterable[CellResult]) -> Iterator[str]:
    """Name the largest regression in a sentence."""
    regressions = [
        (_size(verdict), result.workload.id, verdict)
        for result in results
        for verdict in _red(session, result)
        if verdict.state is VerdictKind.REGRESSED
    ]
    if regressions:
        _, cell, verdict = max(regressions, key=lambda one: one[0])
        what, change = escape(METRICS[verdict.metric].title), escape(percent(verdict.change))
        yield f"Largest: {what} of **{escape(cell)}** {change}\n\n"


def _size(verdict: Verdict) -> float:
    """Return how large a change is as a ratio of the larger to the smaller value, as a log."""
    change = verdict.change
    return 0.0 if change is None or change <= -1 else abs(math.log1p(change))


def _facts(session: Session) -> Iterator[str]:
    """Say in one line what was measured where."""
    about = environment(session)
    server, profile = session.resources.opened_server, session.resources.profile
    facts = [f"profile {session.resources.profile_id}"]
    if session.paired is not None:
        facts.append(f"against {session.paired.description}")
    facts.append(f"Triton {server.version} ({server.mode})" if server is not None else "no server")
    if "power_mode" in profile.fields:
        facts.append(f"power mode {profile.fields['power_mode']}")
    commit = about.commit[:12]
    if commit:
        facts.append(f"commit {commit}{' with changes' if about.dirty else ''}")
    yield " · ".join(map(escape, [*facts, f"plugin {about.plugin}", about.time]))


def _red_rows(
    session: Session, results: Iterable[CellResult]
) -> Iterator[tuple[tuple[int, float], list[str]]]:
    """Yield what is red, or was not measured, as table rows behind what to sort them by."""
    for result in results:
        cell, reason = result.workload.id, unmeasured(result)
        if reason is not None:
            said = "not measured" if result.measurement is None else VerdictKind.INVALID.value
            yield (2, 0.0), [cell, "", said, "", "", "", _short(reason)]
        for verdict in _red(session, result):
            rank = 0 if verdict.state is VerdictKind.REGRESSED else 3
            yield (rank, -_size(verdict)), _red_row(cell, verdict)
        for check in result.limits.values():
            if session.is_broken(check):
                estimate, metric = check.estimate, check.limit.metric
                now = "" if estimate is None else _value(metric, estimate.value)
                row = [cell, METRICS[metric].title, "limit", "", now, "", f"asked: {check.limit}"]
                yield (1, 0.0), row


def _red_row(cell: str, verdict: Verdict) -> list[str]:
    metric = verdict.metric
    change = percent(verdict.change)
    if verdict.low is not None and verdict.high is not None:
        change += f" ({percent(verdict.low) or '-inf'} .. {percent(verdict.high) or 'inf'})"
    return [
        cell,
        METRICS[metric].title,
        verdict.state.value,
        "" if verdict.baseline is None else _value(metric, verdict.baseline),
        "" if verdict.now is None else _value(metric, verdict.now),
        change,
        _short(verdict.reason),
    ]


def _value(metric: str, value: float) -> str:
    return f"{scaled(metric, value)} {METRICS[metric].display_unit}"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else f"{text[: _MOST_WORDS - 3]}..."


def _remarks(session: Session) -> Iterator[str]:
    """List what the terminal says under its table; a command stands apart, to be copied."""
    lines = [*closing_lines(session), *(f"ERROR: {line}" for line in session.problems)]
    for line in lines[:_MOST_LINES]:
        if line.startswith(" "):
            yield f"\n      {line.strip()}\n\n"  # a code block within the list's last item
        else:
            yield f"- {escape(_short(line))}\n"
    if len(lines) > _MOST_LINES:
        yield f"- {count(len(lines) - _MOST_LINES, 'more line')} in the log\n"


def _model(session: Session, model: str, results: Sequence[CellResult], room: int) -> str:
    """Return the table of a model's cells, folded away; its rows fit into ``room`` bytes."""
    headings, plain = plain_rows(session, results)
    header = ["cell", "verdict", *headings]
    rows = [
        [
            row[0],
            row[-1],
            *(f"{a} {b}".strip() for a, b in zip(row[1:-1:2], row[2:-1:2], strict=True)),
        ]
        for row in plain
    ]
    words = Counter(row[1] for row in rows if row[1])
    said = ", ".join(f"{number} {one}" for one, number in words.items())
    title = f"{model}: {count(len(results), 'cell')}" + (f" ({said})" if said else "")
    opening = f"\n<details><summary>{escape(title)}</summary>\n\n"
    closing = "\n</details>\n"
    room -= len((opening + closing).encode()) + _NOTE_BYTES
    inside = _fitting(header, rows, range(2, len(header)), room)
    return opening + inside + closing


def _fitting(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int], room: int
) -> str:
    """Return a table with as many rows as fit into ``room`` bytes, and how many did not."""
    lines = table(header, rows, numbers=list(numbers)).splitlines(keepends=True)
    kept = 0
    for line in lines:
        room -= len(line.encode())
        if room < 0:
            break
        kept += 1
    text = "".join(lines[:kept])
    left = len(lines) - kept
    return f"{text}\n{count(left, 'more row')} left out: see --gaitperf-json\n" if left else text
