"""The lines under the table: counts, what is provisional, what was found and written."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import ENOUGH_SESSIONS, METRICS
from pytest_gaitperf.report.frontier import frontier_lines
from pytest_gaitperf.report.looks import ONCE_RECORDED, WORST_FIRST
from pytest_gaitperf.report.text import command, count
from pytest_gaitperf.results import LimitState, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.engine.session import CellResult, Session

_MOST_NOTES = 3
_MOST_NAMED = 5


def closing_lines(session: Session) -> list[str]:
    """Return the lines under the table: counts, what is provisional, what was written."""
    results = list(session.results.values())
    counts = Counter(
        (verdict.state, result.recorded > 0 and verdict.state in ONCE_RECORDED)
        for result in results
        for verdict in result.verdicts.values()
    )
    said = [
        f"{counts[state, done]} {ONCE_RECORDED[state].word if done else state.value}"
        for state in WORST_FIRST
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
    if session.settings.report is not None and results and not session.problems:
        lines.append(f"report written: {session.settings.report}")
    if session.results and not session.problems:
        lines += [f"{name} written: {path}" for name, path in session.settings.exports.items()]
    return lines


def _findings(session: Session) -> list[str]:
    """Say which models, and whether the whole run, moved: one line each, with the metrics."""
    together: dict[tuple[str, bool], list[str]] = {}
    causes = {finding.cause for finding in session.judging.findings if finding.depth == "run"}
    for finding in session.judging.findings:
        said = f"{finding.how} ({METRICS[finding.metric].title})"
        together.setdefault((finding.model, finding.worse), []).append(said)
    return [
        f"{model}: the whole model is {', '.join(said)}"
        if model
        else f"everything is {', '.join(said)}: {', '.join(causes)}"
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
    if any(verdict.state is VerdictKind.IMPROVED and not recorded for verdict, recorded in judged):
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
