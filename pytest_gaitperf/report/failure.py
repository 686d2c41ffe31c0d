"""The text of a red test: what regressed, by how much, and where the time went."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.engine.recording import accept_command
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.columns import loss
from pytest_gaitperf.report.looks import WORST_FIRST
from pytest_gaitperf.report.text import command, count, number, percent, scaled
from pytest_gaitperf.results import LimitState, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.engine.session import CellResult, Session
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.results import LimitCheck, Verdict


MOST_LINES = 14
"""Of a red test's text: with pytest's title its section has 15."""

MOST_COLUMNS = 100
"""Of each line but a command, which is to be copied whole."""

_MOST_PARTS = 2  # of a line that is too long


class _Said(NamedTuple):
    """What is said of one verdict, of one limit, or of where the time went.

    ``first`` says what is the matter, ``rest`` how much; each is a line, or two of a long one.
    """

    first: list[str]
    rest: list[str]


def failure_text(
    session: Session,
    result: CellResult,
    red: Sequence[Verdict],
    broken: Sequence[LimitCheck] = (),
) -> str:
    """Return at most 14 lines about the red verdicts and the broken limits of one cell.

    The worst comes first; where not all has room, the last line before the command says so.
    """
    measurement = result.again or result.measurement
    assert measurement is not None
    said = [
        _said(_title(verdict), _numbers(verdict, measurement))
        for verdict in sorted(red, key=_badness)
    ]
    said += [_said(*_limit(check)) for check in broken]
    where, command_lines = _after(session, result, measurement, red, broken)
    parts = [part for line in where for part in _parts(line)]
    lines = _fitting(said, parts, MOST_LINES - len(command_lines))
    return "\n".join([*lines, *command_lines])


def _after(
    session: Session,
    result: CellResult,
    measurement: Measurement,
    red: Sequence[Verdict],
    broken: Sequence[LimitCheck],
) -> tuple[list[str], list[str]]:
    """Return what explains the verdicts, and what to do, with its command, if anything."""
    settings, states = session.settings, {verdict.state for verdict in red}
    if VerdictKind.MISSING in states:
        known = f"  no baseline in {session.resources.baselines_shown}; record it with:"
        return [], [*_parts(known), f"  {command(settings, '--gaitperf-update=missing')}"]
    if VerdictKind.INCOMPARABLE in states and session.paired is None:
        anew = command(settings, "--gaitperf-update=all")
        return [], ["  record this set-up anew with:", f"  {anew}"]
    where: list[str] = []
    if states & {VerdictKind.REGRESSED, VerdictKind.INCONCLUSIVE} or any(
        one.estimate for one in broken
    ):
        where = _where(measurement)
        if result.model_change:
            where.append(f"  {result.model_change}")
    if VerdictKind.REGRESSED in states and settings.update != "none":
        return where, ["  to accept it as the new level:", f"  {accept_command(session)}"]
    return where, []


def _badness(verdict: Verdict) -> tuple[int, float]:
    """Return what sorts the worst verdict first: by its state, then by how much was lost."""
    return WORST_FIRST.index(verdict.state), -round(loss(verdict), 3)


def _title(verdict: Verdict) -> str:
    """Return what is the matter; the cell stands in the test's name, above it."""
    change = percent(verdict.change)
    said = f"{METRICS[verdict.metric].title} {verdict.state.value}"
    return f"{said}: {change}" if change else said


def _said(title: str, rest: Sequence[str]) -> _Said:
    return _Said(_parts(title), [part for line in rest for part in _parts(line)])


def _parts(line: str) -> list[str]:
    """Return a line in at most two of 100 columns."""
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    return textwrap.wrap(
        text,
        MOST_COLUMNS,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        max_lines=_MOST_PARTS,
        placeholder=" ...",
        break_on_hyphens=False,
    )


def _fitting(said: Sequence[_Said], where: Sequence[str], most: int) -> list[str]:
    """Return so many of the lines, in their order, those that matter most.

    These are all of the first thing said, what else is the matter, the first line of where the
    time went, then how much of the others, then the rest. The last line tells what is left out.
    """
    every = [line for one in said for line in (*one.first, *one.rest)] + list(where)
    if len(every) <= most:
        return every
    room = most - 1

    def take(lines: Sequence[str]) -> list[str]:
        nonlocal room
        kept = list(lines) if len(lines) <= room else []
        room -= len(kept)
        return kept

    firsts, rests = {}, {}
    for index, one in enumerate(said):
        firsts[index] = take(one.first)
        if index == 0:
            rests[0] = take(one.rest)
    explained = take(where[:1])
    for index, one in enumerate(said):
        if index and firsts[index]:
            rests[index] = take(one.rest)
    for line in where[len(explained) :]:
        explained += take([line])
    lines = [line for index in firsts for line in (*firsts[index], *rests.get(index, []))]
    lines += explained
    metrics = sum(not first for first in firsts.values())
    without = sum(len((*one.first, *one.rest)) for i, one in enumerate(said) if not firsts[i])
    left_out = [(metrics, "more metric"), (len(every) - len(lines) - without, "more line")]
    told = ", ".join(count(number, what) for number, what in left_out if number)
    return [*lines, f"  {told}: see --gaitperf-json"]


def _numbers(verdict: Verdict, measurement: Measurement) -> list[str]:
    if verdict.baseline is None or verdict.now is None:
        return [f"  {verdict.reason}"] if verdict.state is not VerdictKind.MISSING else []
    metric = verdict.metric
    unit, estimate = METRICS[metric].display_unit, measurement.metrics.get(metric)
    interval = "" if estimate is None else _interval(metric, estimate)
    if verdict.pairs:
        low, high = percent(verdict.low) or "-inf", percent(verdict.high) or "inf"
        return [
            f"  reference {scaled(metric, verdict.baseline)} {unit}",
            f"  now       {scaled(metric, verdict.now)} {unit}{interval}",
            f"  change    {percent(verdict.change)} ({low} .. {high}), {verdict.pairs} pairs",
            f"  {verdict.reason}",
        ]
    sessions = count(verdict.sessions, "session")
    return [
        f"  baseline  {scaled(metric, verdict.baseline)} {unit} over {sessions}",
        f"  now       {scaled(metric, verdict.now)} {unit}{interval}",
        f"  change    {percent(verdict.change)} ({_range(verdict)})",
        f"  {verdict.reason}",
    ]


def _limit(check: LimitCheck) -> tuple[str, list[str]]:
    """Say what a limit asks, and what was measured."""
    metric, estimate = check.limit.metric, check.estimate
    if estimate is None:
        return f"{check.limit}: not measured", [f"  {check.absent}"]
    met = check.state is LimitState.MET
    said = "met, but not surely" if met else "not met"
    now = f"{scaled(metric, estimate.value)} {METRICS[metric].display_unit}"
    unsure = "" if check.sure or met else "; the limit lies within the interval"
    return f"{check.limit}: {said}", [f"  now       {now}{_interval(metric, estimate)}{unsure}"]


def _interval(metric: str, estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({scaled(metric, estimate.low)} .. {scaled(metric, estimate.high)})"


def _range(verdict: Verdict) -> str:
    low, high = percent(verdict.low) or "-inf", percent(verdict.high) or "inf"
    return f"{low} .. {high}, limit {percent(verdict.limit) or 'none'}"


def _where(measurement: Measurement) -> list[str]:
    """Say where the time went, and which rail took the energy."""
    lines = []
    if measurement.search is not None:
        percentile = measurement.workload.percentile
        lines += [f"  {line}" for line in measurement.search.lines(percentile)]
    if measurement.workload.sends_per_s:  # whether the server kept the rate explains the rest
        lines += [f"  {note}" for note in measurement.notes]
    if measurement.time_split_s:
        parts = (f"{name} {number(s * 1e3)}" for name, s in measurement.time_split_s.items())
        lines.append(f"  time per request, ms: {', '.join(parts)}")
    cpu = measurement.metrics.get("server_cpu_per_inference")
    if cpu is not None:
        lines.append(
            f"  server CPU {number(cpu.value * 1e3)} ms per inference, "
            f"client CPU {number(measurement.client_cpu_per_request_us / 1e3)} ms per request"
        )
    if measurement.rails_j:
        parts = (
            f"{rail} {number(joules / measurement.duration_s)}"
            for rail, joules in measurement.rails_j.items()
        )
        lines.append(f"  mean power, W: {', '.join(parts)}")
    return lines
