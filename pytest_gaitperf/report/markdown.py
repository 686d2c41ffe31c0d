"""A run as Markdown, for a job or a pull request: what is not green first."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.outcomes import limit_outcome
from pytest_gaitperf.report.table import plain_rows
from pytest_gaitperf.report.terminal import closing_lines, outcome_line
from pytest_gaitperf.report.text import (
    cell_word,
    commit_text,
    headline,
    interval_text,
    loss,
    outcome_of,
    tally_text,
    verdict_word,
    word_rank,
)
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind
from pytest_gaitperf.text import count, percent, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_gaitperf.results import Cell, Run, Verdict

MOST_BYTES = 100_000
"""GitHub shows up to 1 MiB of a step; ten runs may share it, and people read less."""

_MARKS = {Outcome.GREEN: "✅", Outcome.RED: "❌", Outcome.UNMEASURED: "⚠️"}
_MOST_LINES = 40
_MOST_WORDS = 300
_BAD_SHARE = 0.5
_NOTE_BYTES = 100  # a line that says what is left out
_BAD_HEADER = ("cell", "quantity", "verdict", "baseline", "now", "change", "why")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&-])")


def escape(text: str) -> str:
    """Return ``text`` such that Markdown shows it as it is, in one line: no link, tag or mention.

    A model's name may be anybody's: it must not format the page or notify people.
    """
    return _SPECIAL.sub(lambda special: f"&#{ord(special.group())};", " ".join(text.split()))


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()
) -> str:
    """Lay out a table, every cell escaped; ``numbers`` are the columns aligned to the right."""
    rule = ["--:" if index in numbers else ":--" for index in range(len(header))]
    lines = [[escape(cell) for cell in header], rule]
    lines += [[escape(cell) for cell in row] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def fitting_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    room: int,
    *,
    numbers: Iterable[int],
    rest: str,
) -> str:
    """Return a table with as many rows as fit into ``room`` bytes.

    Where some do not, a last line counts them and says where the ``rest`` is.
    """
    lines = table(header, rows, numbers=list(numbers)).splitlines(keepends=True)
    kept = 0
    for line in lines:
        room -= len(line.encode())
        if room < 0:
            break
        kept += 1
    text, left = "".join(lines[:kept]), len(lines) - kept
    return f"{text}\n{count(left, 'more row')} left out: see {rest}\n" if left else text


def summary(run: Run, *, most_bytes: int = MOST_BYTES, columns: tuple[str, ...] = ()) -> str:
    """Return the run as GitHub's Markdown in about ``most_bytes`` at most.

    What does not fit is counted; the cells that are not green come first. ``columns`` are those
    that the user named for the tables.
    """
    models = list(dict.fromkeys(cell.workload.model for cell in run.cells))
    cells = sorted(run.cells, key=lambda cell: models.index(cell.workload.model))
    title = f"## {_MARKS[run.outcome]} gaitperf: {headline(run)}\n\n"
    parts = [title, *_largest(run), f"{_facts(run)}\n"]
    bad = sorted((row for cell in cells for row in _bad_rows(run, cell)), key=lambda row: row[0])
    if bad:
        rows, room = [row for _, row in bad], int(most_bytes * _BAD_SHARE)
        told = fitting_table(_BAD_HEADER, rows, room, numbers=(3, 4, 5), rest="--gaitperf-json")
        parts += ["\n", told]
    parts += ["\n", *_remarks(run)]
    room = most_bytes - _NOTE_BYTES - sum(len(part.encode()) for part in parts)
    left_out = 0
    for model, group in groupby(cells, key=lambda cell: cell.workload.model):
        part = _model(run, model, list(group), columns, room)
        size = len(part.encode())
        if size > room:
            left_out += 1
        else:
            room -= size
            parts.append(part)
    if left_out:
        parts.append(f"\n{count(left_out, 'model')} left out: see --gaitperf-json\n")
    return "".join(parts) + "\n"


def _largest(run: Run) -> Iterator[str]:
    found = [
        (loss(verdict), cell.id, verdict)
        for cell in run.cells
        for verdict in cell.verdicts.values()
        if verdict.kind is VerdictKind.REGRESSED and outcome_of(run, cell, verdict) is Outcome.RED
    ]
    if found:
        _, cell, verdict = max(found, key=lambda one: one[:2])
        what, change = escape(METRICS[verdict.metric].title), escape(percent(verdict.change))
        yield f"Largest: {what} of **{escape(cell)}** {change}\n\n"


def _facts(run: Run) -> str:
    about, triton = run.environment, run.environment.triton
    facts = [f"profile {run.profile.id}"]
    if run.against:
        facts.append(f"against {run.against}")
    facts.append("no server" if triton is None else f"Triton {triton.version} ({triton.mode})")
    facts += [f"{name} {value}" for name, value in run.profile.settings]
    if commit := commit_text(about.commit, about.dirty):
        facts.append(f"commit {commit}")
    return " · ".join(map(escape, [*facts, f"plugin {about.plugin}", about.time]))


def _bad_rows(run: Run, cell: Cell) -> Iterator[tuple[tuple[int, float], list[str]]]:
    """Yield what keeps a cell from being green as table rows, behind what to sort them by."""
    if cell.outcome is Outcome.GREEN:
        return

    def row(word: str, what: str, why: str, now: str = "") -> tuple[tuple[int, float], list[str]]:
        return (word_rank(word), 0.0), [cell.id, what, word, "", now, "", _short(why)]

    if cell.unmeasured is not None:
        yield row(cell_word(run, cell), "", cell.unmeasured)
        return
    for verdict in cell.verdicts.values():
        if outcome_of(run, cell, verdict) is not Outcome.GREEN:
            word = verdict_word(run, cell, verdict)
            yield (word_rank(word), -loss(verdict)), _verdict_row(cell, verdict, word)
    for check in cell.limits:
        if limit_outcome(check, run.policy) is not Outcome.GREEN:
            violated = check.state is LimitState.VIOLATED
            word = "limit violated" if violated else Outcome.UNMEASURED.value
            now = shown(check.metric, None if check.now is None else check.now.value)
            why = f"asked: {check.limit}" + (f": {check.absent}" if check.absent else "")
            yield row(word, METRICS[check.metric].title, why, now)
    for quantity, why in cell.lacking.items():
        yield row(Outcome.UNMEASURED.value, quantity, why)


def _verdict_row(cell: Cell, verdict: Verdict, word: str) -> list[str]:
    change = percent(verdict.change)
    if verdict.low is not None and verdict.high is not None:
        change += f" ({interval_text(verdict)})"
    return [
        cell.id,
        METRICS[verdict.metric].title,
        word,
        shown(verdict.metric, verdict.baseline),
        shown(verdict.metric, verdict.now),
        change,
        _short(cell.why(verdict)),
    ]


def _short(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else f"{text[: _MOST_WORDS - 3]}..."


def _remarks(run: Run) -> Iterator[str]:
    """List what the terminal has under its table; a command stands apart, to be copied."""
    lines = [*closing_lines(run), *(f"problem: {line}" for line in run.problems)]
    said = {*run.problems, *(f"{cell.id}: {why}" for cell in run.cells for why in cell.reasons)}
    lines += [f"{run.outcome.value}: {reason}" for reason in run.reasons if reason not in said]
    for line in lines[:_MOST_LINES]:
        if line.startswith(" "):
            yield f"\n      {line.strip()}\n\n"  # a code block within the list's last item
        else:
            yield f"- {escape(_short(line))}\n"
    if len(lines) > _MOST_LINES:
        yield f"- {count(len(lines) - _MOST_LINES, 'more line')} in the log\n"
    yield f"- {escape(outcome_line(run))}\n"


def _model(run: Run, model: str, cells: Sequence[Cell], columns: tuple[str, ...], room: int) -> str:
    """Return the table of a model's cells, folded away; its rows fit into ``room`` bytes."""
    header, rows = plain_rows(run, cells, columns)
    title = f"{model}: {count(len(cells), 'cell')} ({tally_text(run, cells)})"
    opening = f"\n<details><summary>{escape(title)}</summary>\n\n"
    closing = "\n</details>\n"
    room -= len((opening + closing).encode()) + _NOTE_BYTES
    numbers = range(2, len(header))
    inside = fitting_table(header, rows, room, numbers=numbers, rest="--gaitperf-json")
    return opening + inside + closing
