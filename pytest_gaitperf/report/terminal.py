"""The section "gaitperf" at the end of a run: the table and the lines under it."""

from __future__ import annotations

import math
import re
import shlex
import textwrap
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.cells import cell_len

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.metrics import GATED, METRICS, title_of
from pytest_gaitperf.report.frontier import frontier_lines
from pytest_gaitperf.report.mixes import mix_lines
from pytest_gaitperf.report.relative import relative_lines
from pytest_gaitperf.report.table import table
from pytest_gaitperf.report.text import (
    OUTCOME_STYLES,
    command,
    cut,
    sensitivity_text,
    tally_text,
)
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind
from pytest_gaitperf.text import count, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Cell, Run

DEFAULT_BASELINES = "baselines"

_MOST_NOTES = 3
_MOST_NAMED = 5
_MOST_REASONS = 5
_LONGEST_REASON = 100
_OUTPUTS = {"json": "results"}
_NO_BASELINE = "there is no baseline to compare it with"


def summarize(
    run: Run,
    write_line: Callable[..., None],
    *,
    width: int,
    colour: bool,
    every: bool,
    columns: tuple[str, ...] = (),
) -> None:
    """Write the table, the lines under it, and at last the outcome.

    ``write_line`` takes a text and pytest's markup, ``width`` is in characters. With ``every`` the
    table has all cells, however many, and what is absent its whole reason; ``columns`` are those
    that the user named.
    """
    text = table(run, width=width, colour=colour, every=every, columns=columns)
    for line in text.splitlines():
        write_line(line.rstrip())
    for line in map(sanitize, closing_lines(run, every=every)):
        if line.startswith(" "):  # a command, to be copied whole, or a row of values
            is_command = line.lstrip().startswith(("pytest ", "gaitperf "))
            write_line(line if is_command else _squeezed(line, width))
            continue
        for part in _wrapped(line, width):
            write_line(part)
    for line in run.warnings:
        write_line(f"warning: {sanitize(line)}", yellow=True)
    for line in run.problems:
        write_line(f"problem: {sanitize(line)}", red=True, bold=True)
    style = {OUTCOME_STYLES[run.outcome]: True}
    for line in _unmeasured_lines(run):
        for part in _wrapped(line, width):
            write_line(part, **style)
    write_line(outcome_line(run), **style, bold=True)


def _wrapped(line: str, width: int) -> list[str]:
    lines = textwrap.wrap(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return list(map(sanitize, lines))  # what was in the middle of a line may now begin one


def outcome_line(run: Run) -> str:
    """Return the outcome and what made it, e.g. ``outcome: red (2 cells, 1 test)``."""
    if run.outcome is Outcome.GREEN:
        return f"outcome: {run.outcome.value}"
    cells = sum(cell.outcome is run.outcome for cell in run.cells)
    red = run.outcome is Outcome.RED
    tests = len(run.failed_tests if red else run.unmeasured_tests)
    other = 0 if red else len(run.unjudged) + len(run.problems)
    numbers = {"cell": cells, "test": tests, "other reason": other}
    said = ", ".join(count(number, what) for what, number in numbers.items() if number)
    return f"outcome: {run.outcome.value} ({said or count(len(run.reasons), 'reason')})"


def _unmeasured_lines(run: Run) -> Iterator[str]:
    """Yield the first reasons why a run is unmeasured; its problems were said before."""
    if run.outcome is not Outcome.UNMEASURED:
        return
    cells: dict[str, list[str]] = {}
    for cell in run.cells:
        new = tuple(
            f"{METRICS[one.metric].title} {one.kind.value}: "
            for one in cell.verdicts.values()
            if one.kind is VerdictKind.MISSING and not run.against
        )
        # Of every quantity of every new cell there would be a line, with the value that it has.
        said = (_NO_BASELINE if reason.startswith(new) else reason for reason in cell.reasons)
        for reason in dict.fromkeys(said):
            cells.setdefault(reason, []).append(cell.id)
    of_cells = {f"{cell.id}: {reason}" for cell in run.cells for reason in cell.reasons}
    reasons = [
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {reason}"
        for reason, names in cells.items()
    ]
    reasons += [one for one in run.reasons if one not in of_cells and one not in run.problems]
    for reason in reasons[:_MOST_REASONS]:
        yield f"{run.outcome.value}: {reason}"
    if len(reasons) > _MOST_REASONS:
        yield f"{count(len(reasons) - _MOST_REASONS, 'more reason')}: see --gaitperf-json"


def _squeezed(row: str, width: int) -> str:
    """Return a row of values in at most ``width`` columns: its name gives way."""
    if cell_len(row) <= width:
        return row
    name, *values = re.split(" {2,}", row.strip())
    rest = "".join(f"  {value}" for value in values)
    return f"  {cut(name, width - 2 - cell_len(rest))}{rest}"


def closing_lines(run: Run, *, every: bool = False) -> list[str]:
    """Return the lines under the table: counts, findings, what could be heard, what is absent.

    A line that begins with spaces is a command, or a row of values. Unless ``every`` detail is
    asked for, a long reason is cut.
    """
    whose = f"against {run.against}" if run.against else f"profile {run.profile.id}"
    lines = [f"{whose}: {run.outcome.value}: {tally_text(run) or 'no cell'}"]
    if not run.against:
        lines += _findings(run)
    lines += frontier_lines(run)
    lines += relative_lines(run)
    lines += mix_lines(run)
    lines += _limit_lines(run)
    lines += _absent_lines(run, every=every)
    lines += _power_lines(run)
    if not run.against:
        lines += _advice(run)
    lines += run.notes
    lines += _orphan_lines(run)
    if run.written:
        folder = PurePath(run.baselines, run.profile.id)
        lines.append(f"baselines written: {folder}: {', '.join(run.written)}")
    if run.cells and not run.problems:
        lines += [
            f"{_OUTPUTS.get(name, name)} written: {path}" for name, path in run.outputs.items()
        ]
    return lines


def _findings(run: Run) -> list[str]:
    """Say which models, and whether the whole run, moved: one line each, with the metrics."""
    together: dict[tuple[str, bool], list[str]] = {}
    causes = dict.fromkeys(one.cause for one in run.findings if one.scope == "run" and one.cause)
    for finding in run.findings:
        change = percent(finding.change) or ("worse" if finding.worse else "better")
        said = f"{title_of(finding.metric)} {change}"
        together.setdefault((finding.model, finding.worse), []).append(said)
    why = f": {', '.join(causes)}" if causes else ""
    return [
        f"the whole model {model} changed: {', '.join(said)}"
        if model
        else f"the whole run changed: {', '.join(said)}{why}"
        for (model, _), said in together.items()
    ]


def _limit_lines(run: Run) -> list[str]:
    """Count the limits, and name those of measured cells that no test has looked at."""
    states = Counter(check.state for cell in run.cells for check in cell.limits)
    said = [f"{states[state]} {state.value}" for state in LimitState if states[state]]
    lines = [f"limits: {', '.join(said)}"] if said else []
    return lines + [
        f"no test of this run checked {limit} ({count(cells, 'cell')})"
        for limit, cells in run.unchecked_limits.items()
        if not run.full_run  # there it is a reason of the outcome
    ]


def _advice(run: Run) -> list[str]:
    """Say what recording would give, and the command for it, once; nothing beside a regression."""
    lines = [text] if (text := sensitivity_text(run)) else []
    judged = [(verdict, cell.recorded) for cell in run.cells for verdict in cell.verdicts.values()]
    if any(one.kind is VerdictKind.REGRESSED for one, _ in judged):
        return lines
    options = ["--gaitperf-update=all"]
    more = max((one.more_sessions - recorded for one, recorded in judged), default=0)
    if any(one.kind is VerdictKind.INCONCLUSIVE for one, _ in judged):
        sessions = count(more, "more session") if more > 0 else "more sessions"
        lines.insert(
            0, f"inconclusive: {sessions}, or pairs (--gaitperf-against), find smaller changes"
        )
    if more > 1:
        options.append(f"--gaitperf-sessions={more}")
    useful = more > 0
    if any(one.kind is VerdictKind.IMPROVED and not recorded for one, recorded in judged):
        lines.append("improved beyond noise: record it, to tighten the gate")
        useful = True
    if useful:
        lines += ["record with:", f"  {command(run.arguments, *options)}"]
    return lines


def _orphan_lines(run: Run) -> list[str]:
    if not run.orphans:
        return []
    models = []
    for model, keys in run.orphans.items():
        more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
        models.append(f"{model}: {' '.join(keys[:_MOST_NAMED])}{more}")
    found = count(sum(map(len, run.orphans.values())), "recorded cell")
    results, how = run.outputs.get("json"), "remove what is gone with:"
    if results is None:
        results, how = "FILE", "to remove what is gone, run with --gaitperf-json=FILE, then:"
    prune = ["gaitperf", "baseline", "prune", "--results", results]
    if run.baselines not in ("", DEFAULT_BASELINES):
        prune += ["--baselines", run.baselines]
    return [f"{found} not in this suite ({'; '.join(models)}); {how}", f"  {shlex.join(prune)}"]


def _power_lines(run: Run) -> list[str]:
    power = run.environment.power
    if power.meter is None:
        return []
    totals = (math.fsum(one.get(rail, 0.0) for rail in power.total_rails) for one in power.idle_w)
    idle = ", ".join(f"{watts:.1f} W" for watts in totals)
    lines = [f"idle power: {idle}"] if idle else []
    if power.idle_drift is not None:
        lines.append(power.idle_drift)
    lines += [f"{cell.id}: {one.energy_note}" for cell, one in _measured(run) if one.energy_note][
        :_MOST_NOTES
    ]
    if power.calibration:
        lines.append(f"energy is {power.calibration}")
    if any(one.energy_estimated for _, one in _measured(run)):
        lines.append(f"ENERGY IS ESTIMATED, not measured: {power.description or power.meter}")
    return lines


def _absent_lines(run: Run, *, every: bool) -> list[str]:
    """Say what was not measured and not expected either; what was is a reason of the outcome."""
    reasons: dict[str, dict[str, None]] = {}
    expected = " ".join(why for cell in run.cells for why in cell.lacking.values())
    for name in GATED:
        if METRICS[name].quantile or name == "goodput_per_joule":
            continue  # of too few requests, or of no energy
        for _, one in _measured(run):
            if name in one.absent and (why := one.absent[name]) not in expected:
                reasons.setdefault(why, {})[METRICS[name].title] = None
    lines = [
        f"no {', '.join(titles)}: {why if every else _brief(why)}"
        for why, titles in reasons.items()
    ]
    short = sum("latency_p99" in one.absent for _, one in _measured(run) if one.capacity is None)
    if short:
        lines.append(
            f"no p99 in {count(short, 'cell')}: too few requests for it within the budget of a cell"
        )
    return lines + _note_lines(run)


def _brief(reason: str) -> str:
    """Return a long reason without what explains it."""
    what, _, _ = reason.partition(": ")
    return reason if len(reason) <= _LONGEST_REASON else f"{what} (-v says why)"


def _note_lines(run: Run) -> list[str]:
    cells: dict[str, list[str]] = {}
    for cell, measurement in _measured(run):
        for note in measurement.notes:
            cells.setdefault(note, []).append(cell.id)
    lines = [
        f"{ids[0] if len(ids) == 1 else count(len(ids), 'cell')}: {note}"
        for note, ids in cells.items()
    ]
    more = len(lines) - _MOST_NOTES
    if more > 0:
        lines[_MOST_NOTES:] = [f"{count(more, 'more note')}: see --gaitperf-json"]
    return lines


def _measured(run: Run) -> Iterator[tuple[Cell, Measurement]]:
    for cell in run.cells:
        if cell.measurement is not None:
            yield cell, cell.measurement
