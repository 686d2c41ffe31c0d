"""The text of a red test: what regressed, by how much, and where the time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.policy import LimitState
from pytest_gaitperf.recording import accept_command
from pytest_gaitperf.report.text import command, count, number, percent, scaled
from pytest_gaitperf.verdict import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.policy import LimitCheck
    from pytest_gaitperf.session import CellResult, Session
    from pytest_gaitperf.verdict import Verdict


def failure_text(
    session: Session,
    result: CellResult,
    red: Sequence[Verdict],
    broken: Sequence[LimitCheck] = (),
) -> str:
    """Return at most 15 lines about the red verdicts of one cell, and 2 for each limit.

    A run that was to record adds the 2 that say how a regression is accepted.
    """
    measurement = result.again or result.measurement
    assert measurement is not None  # noqa: S101 - there is no verdict without one
    settings = session.settings
    lines = []
    for verdict in red:
        # The cell stands in the test's name, above it and in pytest's summary of failures.
        change = percent(verdict.change)
        said = f"{METRICS[verdict.metric].title} {verdict.state.value}"
        lines.append(f"{said}: {change}" if change else said)
        lines += _numbers(verdict, measurement)
    for check in broken:
        lines += _limit(check)
    states = {verdict.state for verdict in red}
    if State.MISSING in states:
        lines.append(f"  no baseline in {session.resources.baselines_shown}; record it with:")
        lines.append(f"  {command(settings, '--gaitperf-update=missing')}")
    elif State.INCOMPARABLE in states and session.paired is None:
        lines.append("  record this set-up anew with:")
        lines.append(f"  {command(settings, '--gaitperf-update=all')}")
    elif states & {State.REGRESSED, State.INCONCLUSIVE} or any(one.estimate for one in broken):
        lines += _where(measurement)
        if result.model_change:
            lines.append(f"  {result.model_change}")
        if State.REGRESSED in states and settings.update != "none":
            lines.append("  to accept it as the new level:")
            lines.append(f"  {accept_command(session)}")
    return "\n".join(lines)


def _numbers(verdict: Verdict, measurement: Measurement) -> list[str]:
    if verdict.baseline is None or verdict.now is None:
        return [f"  {verdict.reason}"] if verdict.state is not State.MISSING else []
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


def _limit(check: LimitCheck) -> list[str]:
    """Say what a limit asks, and what was measured."""
    metric, estimate = check.limit.metric, check.estimate
    if estimate is None:
        return [f"{check.limit}: not measured", f"  {check.absent}"]
    met = check.state is LimitState.MET
    said = "met, but not surely" if met else "not met"
    now = f"{scaled(metric, estimate.value)} {METRICS[metric].display_unit}"
    unsure = "" if check.sure or met else "; the limit lies within the interval"
    return [f"{check.limit}: {said}", f"  now       {now}{_interval(metric, estimate)}{unsure}"]


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
