"""The table at the end of a run, and what was written."""

from __future__ import annotations

import io
import math
import shlex
import textwrap
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.policy import LimitState
from pytest_gaitperf.report.frontier import frontier_lines
from pytest_gaitperf.report.text import command, count, number, percent, scaled, text_width
from pytest_gaitperf.stats import ENOUGH_SESSIONS
from pytest_gaitperf.verdict import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.session import CellResult, Session
    from pytest_gaitperf.verdict import Verdict

_COLUMNS = (
    "throughput",
    "latency_p50",
    "latency_p99",
    "energy_per_inference",
    "server_cpu_per_inference",
)
_SEARCH_COLUMNS = ("subjects", "energy_per_inference", "latency_p50", "latency_p99")
_WORST_FIRST = (
    State.INVALID,
    State.REGRESSED,
    State.INCOMPARABLE,
    State.MISSING,
    State.INCONCLUSIVE,
    State.IMPROVED,
    State.PASS,
)


@dataclass(frozen=True, slots=True)
class _Look:
    """How a state is shown: the word in the last column, the mark behind a change, the colour."""

    word: str
    mark: str
    style: str


_LOOKS = {
    State.PASS: _Look("ok", "", "green"),
    State.REGRESSED: _Look("REGRESSED", "!", "bold red"),
    State.IMPROVED: _Look("improved", "+", "cyan"),
    State.INCONCLUSIVE: _Look("unsure", "?", "yellow"),
    State.INCOMPARABLE: _Look("differs", "x", "magenta"),
    State.MISSING: _Look("missing", "", "yellow"),
    State.INVALID: _Look("INVALID", "", "bold red"),
}
_ONCE_RECORDED = {
    State.REGRESSED: _Look("accepted", "!", "yellow"),
    State.MISSING: _Look("recorded", "", "cyan"),
}
"""How these look where the baseline got the cell: a regression does only when it is accepted."""
_MOST_NOTES = 3
_MOST_NAMED = 5
_VALUE_WIDTH, _CHANGE_WIDTH, _WORD_WIDTH = 6, 7, 10
_SUBJECTS_WIDTH = 12


def summarize(reporter: TerminalReporter, session: Session) -> None:
    """Write the section "gaitperf": the table and the lines under it."""
    if not session.results and not session.problems:
        return
    reporter.write_sep("=", "gaitperf", blue=True, bold=True)
    writer = reporter._tw  # noqa: SLF001 - the writer's width and colours have no public access
    width = text_width(writer.fullwidth)
    text = table(session, width=width, colour=writer.hasmarkup)
    for line in text.splitlines():
        reporter.write_line(line.rstrip())
    for line in closing_lines(session):
        if line.startswith(" "):  # a command, to be copied whole
            reporter.write_line(line)
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
        reporter.write_line(f"warning: {line}", yellow=True)
    for line in session.problems:
        reporter.write_line(f"ERROR: {line}", red=True, bold=True)


def table(session: Session, *, width: int, colour: bool) -> str:
    """Return the table of all cells, grouped by model, at most ``width`` characters wide.

    Searches have a table of their own: their load is their answer.
    """
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        # pytest has read NO_COLOR and FORCE_COLOR, and --color wins over both: rich must not again.
        no_color=not colour,
        highlight=False,
    )
    results = session.results.values()
    models = list(dict.fromkeys(workload.model for workload in session.results))
    for names, searches in ((_COLUMNS, False), (_SEARCH_COLUMNS, True)):
        cells = [result for result in results if result.workload.most_subjects is searches]
        if not cells:
            continue
        cells.sort(key=lambda result: models.index(result.workload.model))
        cell_width = max(len(cell.workload.key) + 1 for cell in cells)
        columns = _columns(cells, names, width - cell_width)
        estimated = any(cell.measurement and cell.measurement.estimated for cell in cells)
        console.print(_grid(cell_width, columns, estimated=estimated))
        for model, group in groupby(cells, key=lambda result: result.workload.model):
            name = f"[bold]{escape(model)}[/bold]"
            console.print(name, no_wrap=True, overflow="ellipsis", crop=True)
            grid = _grid(cell_width, columns, show_header=False)
            for result in group:
                grid.add_row(*_row(session, result, columns))
            console.print(grid)
    output = console.file
    assert isinstance(output, io.StringIO)  # noqa: S101 - it was given above
    return output.getvalue()


def _columns(cells: Sequence[CellResult], names: Iterable[str], width: int) -> list[str]:
    """Choose the metrics that were measured at all, as many as fit beside the verdict."""
    wider = _SUBJECTS_WIDTH - _VALUE_WIDTH if "subjects" in names else 0
    fit = (width - _WORD_WIDTH - 1 - wider) // (_VALUE_WIDTH + _CHANGE_WIDTH + 2)
    measured = [
        name
        for name in names
        if any(cell.measurement and name in cell.measurement.metrics for cell in cells)
    ]
    return measured[: max(fit, 1)]


def _grid(
    cell_width: int, columns: Iterable[str], *, show_header: bool = True, estimated: bool = False
) -> Table:
    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=show_header)
    grid.add_column("", width=cell_width, no_wrap=True)
    for name in columns:
        metric = METRICS[name]
        title = metric.display_unit if name == "throughput" else metric.title
        unit = "" if name in ("throughput", "subjects") else metric.display_unit
        value_width = _SUBJECTS_WIDTH if name == "subjects" else _VALUE_WIDTH
        if name == "server_cpu_per_inference":
            title = "CPU"
        if name == "energy_per_inference" and estimated:
            unit += " est."
        grid.add_column(title, width=value_width, justify="right", no_wrap=True)
        grid.add_column(unit, width=_CHANGE_WIDTH, justify="left", no_wrap=True)
    grid.add_column("verdict", width=_WORD_WIDTH, no_wrap=True)
    return grid


def _row(session: Session, result: CellResult, columns: Sequence[str]) -> list[str]:
    row = [f" {result.workload.key}"]
    measurement = result.measurement
    if measurement is None:
        return row + [""] * 2 * len(columns) + ["[bold red]ERROR[/]"]
    for name in columns:
        verdict, estimate = result.verdicts.get(name), measurement.metrics.get(name)
        if estimate is None:
            row += ["-", ""]
            continue
        value = verdict.now if verdict is not None and verdict.now is not None else estimate.value
        served = f"{math.floor(value)} ({number(value)})"
        row += [served if name == "subjects" else scaled(name, value), _change(result, verdict)]
    return [*row, _word(session, result)]


def _look(result: CellResult, state: State) -> _Look:
    return (_ONCE_RECORDED.get(state) if result.recorded else None) or _LOOKS[state]


def _change(result: CellResult, verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    look = _look(result, verdict.state)
    return f"[{look.style}]{percent(verdict.change)}{look.mark}[/]"


def _word(session: Session, result: CellResult) -> str:
    assert result.measurement is not None  # noqa: S101 - asked only of measured cells
    states = {verdict.state for verdict in result.verdicts.values()}
    if result.measurement.invalid:
        states.add(State.INVALID)
    worse = states & {State.INVALID, State.REGRESSED}
    if not worse and any(session.is_broken(check) for check in result.limits.values()):
        return "[bold red]LIMIT[/]"
    if not states:
        return ""
    worst = next(state for state in _WORST_FIRST if state in states)
    look = _look(result, worst)
    if worst is State.MISSING and result.recorded:
        return f"[{look.style}]{look.word}[/]"
    star = "*" if any(verdict.provisional for verdict in result.verdicts.values()) else ""
    return f"[{look.style}]{look.word}{star}[/]"


def closing_lines(session: Session) -> list[str]:
    """Return the lines under the table: counts, what is provisional, what was written."""
    results = list(session.results.values())
    counts = Counter(
        (verdict.state, result.recorded > 0 and verdict.state in _ONCE_RECORDED)
        for result in results
        for verdict in result.verdicts.values()
    )
    said = [
        f"{counts[state, done]} {_ONCE_RECORDED[state].word if done else state.value}"
        for state in _WORST_FIRST
        for done in (False, True)
        if counts[state, done]
    ]
    errors = sum(result.error is not None for result in results)
    if errors:
        said.append(f"{count(errors, 'cell')} not measured")
    paired = session.paired
    if paired is None:
        lines = [f"profile {session.resources.profile_id}: {', '.join(said) or 'nothing judged'}"]
        lines += _findings(session)
    else:
        lines = [f"against {paired.description}: {', '.join(said) or 'nothing judged'}"]
        lines += paired.remarks
    lines += frontier_lines(session)
    lines += _limit_lines(session, results)
    lines += _absent_lines(results)
    lines += _power_lines(session, results)
    if paired is None:
        lines += _advice(session, results)
    lines += session.remarks
    lines += _orphan_lines(session)
    if session.written:
        files = ", ".join(path.name for path in session.written)
        lines.append(f"baselines written: {session.resources.baselines_shown}: {files}")
    if session.settings.json is not None and results and not session.problems:
        lines.append(f"results written: {session.settings.json}")
    if session.results and not session.problems:
        lines += [f"{name} written: {path}" for name, path in session.settings.exports.items()]
    return lines


def _findings(session: Session) -> list[str]:
    """Say which models, and whether the whole run, moved: one line each, with the metrics."""
    from pytest_gaitperf.joint import COMMON_CAUSE  # noqa: PLC0415 - scipy, known by now if needed

    together: dict[tuple[str, bool], list[str]] = {}
    for finding in session.judging.findings:
        said = f"{finding.how} ({METRICS[finding.metric].title})"
        together.setdefault((finding.model, finding.worse), []).append(said)
    return [
        f"{model}: the whole model is {', '.join(said)}"
        if model
        else f"everything is {', '.join(said)}: {COMMON_CAUSE}"
        for (model, _), said in together.items()
    ]


def _limit_lines(session: Session, results: Sequence[CellResult]) -> list[str]:
    """Count the limits, and tell those of measured cells that no test has looked at."""
    states = Counter(check.state for result in results for check in result.limits.values())
    said = [f"{states[state]} {state.value}" for state in LimitState if states[state]]
    lines = [f"limits: {', '.join(said)}"] if said else []
    unchecked = Counter(
        str(limit)
        for result in results
        if result.measurement is not None and not result.measurement.invalid
        for quantity in result.workload.quantities
        for limit in session.policies.limits(result.workload, quantity)
        if limit not in result.limits
    )
    lines += [
        f"no test of this run checked {limit} ({count(cells, 'cell')})"
        for limit, cells in unchecked.items()
    ]
    return lines


def _advice(session: Session, results: Sequence[CellResult]) -> list[str]:
    """Say what recording would give, and the command for it, once."""
    lines = []
    judged = [(verdict, one.recorded) for one in results for verdict in one.verdicts.values()]
    provisional = [(v.sessions, v.sessions + more) for v, more in judged if v.provisional]
    useful = False
    if provisional:
        fewest = min(before for before, _ in provisional)
        wanted = ENOUGH_SESSIONS - min(now for _, now in provisional)
        lines.append(f"* provisional: judged by a baseline of {count(fewest, 'session')}")
        if wanted > 0:
            lines[-1] += f"; record {wanted} more, so that the gate knows this machine's noise"
            useful = True
    if any(verdict.state is State.IMPROVED and not recorded for verdict, recorded in judged):
        lines.append("improved beyond noise: record it, to tighten the gate")
        useful = True
    if useful:
        lines += ["record with:", f"  {command(session.settings, '--gaitperf-update=all')}"]
    return lines


def _orphan_lines(session: Session) -> list[str]:
    """Say which recorded cells a run of the whole suite had none of."""
    orphans = session.orphans
    if not orphans:
        return []
    models = []
    for model, keys in orphans.items():
        more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
        models.append(f"{model}: {' '.join(keys[:_MOST_NAMED])}{more}")
    found = count(sum(map(len, orphans.values())), "recorded cell")
    settings, told = session.settings, "remove what is gone with:"
    results = str(settings.json)
    if settings.json is None:
        results, told = "FILE", "to remove what is gone, run with --gaitperf-json=FILE, then:"
    prune = ["gaitperf", "baseline", "prune", "--results", results]
    if settings.baselines != type(settings)().baselines:
        prune += ["--baselines", str(settings.baselines)]
    return [
        f"{found} not in this suite ({'; '.join(models)}); {told}",
        f"  {shlex.join(prune)}",
    ]


def _power_lines(session: Session, results: Sequence[CellResult]) -> list[str]:
    metering = session.resources.opened_metering
    if metering is None or metering.meter is None:
        return []
    rails = metering.meter.total_rails
    idle = ", ".join(f"{one.total_w(rails):.1f} W" for one in metering.idle)
    lines = [f"idle power: {idle}"] if idle else []
    if metering.idle_drift is not None:
        lines.append(metering.idle_drift)
    lines += [
        f"{result.workload.id}: {result.measurement.energy_note}"
        for result in results
        if result.measurement is not None and result.measurement.energy_note
    ][:_MOST_NOTES]
    if any(result.measurement and result.measurement.estimated for result in results):
        lines.append(f"ENERGY IS ESTIMATED, not measured: {metering.meter.description}")
    return lines


def _absent_lines(results: Sequence[CellResult]) -> list[str]:
    measured = [result.measurement for result in results if result.measurement is not None]
    lines = []
    for name in ("energy_per_inference", "server_cpu_per_inference"):
        reasons = Counter(item.absent[name] for item in measured if name in item.absent)
        lines += [f"no {METRICS[name].title}: {reason}" for reason in reasons]
    short = sum("latency_p99" in item.absent for item in measured if item.search is None)
    if short:
        lines.append(
            f"no p99 in {count(short, 'cell')}: too few requests for it within the budget of a cell"
        )
    return lines + _note_lines(results)


def _note_lines(results: Sequence[CellResult]) -> list[str]:
    """Say each note once, with its cell or the number of its cells."""
    cells: dict[str, list[str]] = {}
    for result in results:
        for note in result.measurement.notes if result.measurement is not None else ():
            cells.setdefault(note, []).append(result.workload.id)
    lines = [
        f"{ids[0] if len(ids) == 1 else count(len(ids), 'cell')}: {note}"
        for note, ids in cells.items()
    ]
    more = len(lines) - _MOST_NOTES
    if more > 0:
        lines[_MOST_NOTES:] = [f"{count(more, 'more note')}: see --gaitperf-json"]
    return lines


def plain_rows(session: Session, cells: Sequence[CellResult]) -> tuple[list[str], list[list[str]]]:
    """Return the metrics of a table of these cells, however wide, and its rows without colours.

    A row has the cell's name, the value and the change of each metric, and the verdict.
    """
    names = tuple(dict.fromkeys((*_COLUMNS, *_SEARCH_COLUMNS)))
    columns = _columns(cells, names, 1 << 16)
    rows = [_row(session, result, columns) for result in cells]
    return columns, [[Text.from_markup(cell).plain.strip() for cell in row] for row in rows]
