"""The text of a red or unmeasured test: what is wrong, by how much, and where the time went."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, QUANTITIES
from pytest_gaitperf.report.text import command, interval_text, loss, word_rank
from pytest_gaitperf.results import LimitState, VerdictKind
from pytest_gaitperf.text import count, number, percent, scaled, shown, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.results import Cell, LimitCheck, Policy, Verdict

MOST_LINES = 14
"""Of a test's text: with pytest's title its section has 15."""

MOST_COLUMNS = 100
"""Of each line but a command, which is to be copied whole."""

_MOST_PARTS = 2  # of a line that is too long


def failure_text(
    run_policy: Policy,
    cell: Cell,
    verdicts: Sequence[Verdict],
    checks: Sequence[LimitCheck] = (),
    *,
    arguments: tuple[str, ...],
    baselines: str,
    paired: bool,
) -> str:
    """Return at most 14 lines about the verdicts and the limits that are not green in one cell.

    The worst comes first; where not all has room, the last line before the command says so. Without
    any verdict and limit it is about what else keeps the cell from being green. ``arguments`` are
    pytest's, ``baselines`` is the directory as the user knows it.
    """
    ordered = sorted(verdicts, key=lambda one: (word_rank(one.kind.value), -round(loss(one), 3)))
    measurement = cell.latest
    said = [
        (
            f"{METRICS[one.metric].title} {one.word}: {percent(one.change)}".rstrip(": "),
            _numbers(one, measurement),
        )
        for one in ordered
    ]
    said += [_limit(check) for check in checks]
    if not said:
        said = [(reason, []) for reason in cell.reasons]
    kinds = {verdict.kind for verdict in verdicts}
    where: list[str] = []
    measured = any(check.now is not None for check in checks)
    if measurement is not None and (
        measured or kinds & {VerdictKind.REGRESSED, VerdictKind.INCONCLUSIVE}
    ):
        unconfirmed = [f"  not confirmed: {cell.unconfirmed}"] if cell.unconfirmed else []
        where = [*unconfirmed, *_where(cell, measurement)]
    if measurement is not None and measurement.accuracy is not None:
        asked = {*(one.metric for one in verdicts), *(one.metric for one in checks)}
        if not asked.isdisjoint(QUANTITIES["accuracy"]):
            where = [*(f"  {line}" for line in measurement.accuracy.lines()), *where]
    command_lines: list[str] = []
    if VerdictKind.MISSING in kinds and not paired:
        anew = command(arguments, "--gaitperf-update=missing")
        command_lines = [*_parts(f"  no baseline in {baselines}; record it with:"), f"  {anew}"]
    elif VerdictKind.INCOMPARABLE in kinds and not paired:
        anew = command(arguments, "--gaitperf-update=all")
        command_lines = ["  record this set-up anew with:", f"  {anew}"]
    elif VerdictKind.REGRESSED in kinds and run_policy.update != "none":
        anew = command(arguments, "--gaitperf-update=all", "--gaitperf-accept-regressions")
        command_lines = ["  to accept it as the new level:", f"  {anew}"]
    elif more := max((one.more_sessions for one in verdicts if one.unheard), default=0):
        options = ["--gaitperf-update=all", *([f"--gaitperf-sessions={more}"] if more > 1 else [])]
        command_lines = ["  record more sessions with:", f"  {command(arguments, *options)}"]
    return "\n".join([*_fitting(said, where, MOST_LINES - len(command_lines)), *command_lines])


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


def _fitting(said: Sequence[tuple[str, list[str]]], where: Sequence[str], most: int) -> list[str]:
    """Return so many of the lines, in their order, those that matter most.

    ``said`` is what is wrong, each with how much. All of the first matters most, then what else is
    wrong, the first line of where the time went, then how much of the others, then the rest. The
    last line counts what is left out.
    """
    ranks: list[tuple[int, str]] = []
    for index, (title, rest) in enumerate(said):
        ranks += [(1 if index else 0, title), *((3 if index else 0, line) for line in rest)]
    ranked = [(rank, part) for rank, line in ranks for part in _parts(line)]
    parts = [part for line in where for part in _parts(line)]
    ranked += [(4 if index else 2, line) for index, line in enumerate(parts)]
    if len(ranked) <= most:
        return [line for _, line in ranked]
    kept = sorted(sorted(range(len(ranked)), key=lambda place: ranked[place][0])[: most - 1])
    lines = [ranked[place][1] for place in kept]
    titles = sum(not line.startswith(" ") for line in lines)
    left_out = [(len(said) - titles, "more metric"), (len(ranked) - len(lines), "more line")]
    counted = ", ".join(count(number, what) for number, what in left_out if number)
    return [*lines, f"  {counted}: see --gaitperf-json"]


def _numbers(verdict: Verdict, measurement: Measurement | None) -> list[str]:
    if verdict.baseline is None or verdict.now is None:
        return [f"  {verdict.reason}"] if verdict.kind is not VerdictKind.MISSING else []
    metric = verdict.metric
    estimate = None if measurement is None else measurement.metrics.get(metric)
    change = f"{percent(verdict.change)} ({interval_text(verdict)}"
    if estimate is not None and estimate.value != verdict.now:
        estimate = None  # the value is another measurement's
    before = shown(metric, verdict.baseline)
    now = shown(metric, verdict.now) + ("" if estimate is None else _interval(metric, estimate))
    if verdict.blocks:
        past, change = f"reference {before}", f"{change}), {verdict.blocks} blocks"
    else:
        past = f"baseline  {before} over {count(verdict.sessions, 'session')}"
        change += f", limit {percent(verdict.limit) or 'none'})"
    if verdict.sensitivity is not None:
        change += f", could have heard {size_text(verdict.sensitivity)}"
    lines = [f"  {past}", f"  now       {now}", f"  change    {change}", f"  {verdict.reason}"]
    return [*lines, f"  {verdict.unheard}"] if verdict.unheard else lines


def _limit(check: LimitCheck) -> tuple[str, list[str]]:
    met = check.state is LimitState.MET
    state = "met, but not surely" if met and not check.certain else check.state.value
    title = f"{check.limit}: {state}"
    if check.now is None:
        return title, [f"  {check.absent}"]
    unsure = "" if check.certain or met else "; the limit lies within the interval"
    now = f"{shown(check.metric, check.now.value)}{_interval(check.metric, check.now)}"
    return title, [f"  now       {now}{unsure}"]


def _interval(metric: str, estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return ""
    return f" ({scaled(metric, estimate.low)} .. {scaled(metric, estimate.high)})"


def _where(cell: Cell, measurement: Measurement) -> Iterator[str]:
    """Say where the time went, and which rail took the energy."""
    if measurement.capacity is not None:
        for line in measurement.capacity.lines(cell.workload.percentile):
            yield f"  {line}"
    if (
        cell.workload.sends_per_s or cell.workload.sustained_s
    ):  # how the load went explains the rest
        for note in measurement.notes:
            yield f"  {note}"
    if measurement.time_split_s:
        parts = (f"{name} {number(s * 1e3)}" for name, s in measurement.time_split_s.items())
        yield f"  time per request, ms: {', '.join(parts)}"
    cpu = measurement.metrics.get("server_cpu_per_inference")
    if cpu is not None:
        yield (
            f"  server CPU {number(cpu.value * 1e3)} ms per inference, "
            f"client CPU {number(measurement.client_cpu_per_request_us / 1e3)} ms per request"
        )
    if measurement.rails_j and measurement.duration_s:
        parts = (
            f"{rail} {number(joules / measurement.duration_s)}"
            for rail, joules in measurement.rails_j.items()
        )
        yield f"  mean power, W: {', '.join(parts)}"
    if cell.model_change:
        yield f"  {cell.model_change}"
