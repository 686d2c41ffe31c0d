"""What a run writes into the baselines, once all verdicts are known."""

from __future__ import annotations

import math
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.metrics import GATED, METRICS
from pytest_gaitperf.report.text import command, count
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.stats import ENOUGH_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_gaitperf.baseline.acceptance import NewCell
    from pytest_gaitperf.baseline.store import Value
    from pytest_gaitperf.engine.session import CellResult, Session
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Verdict

RECORDED = (
    "throughput",
    "latency_p50",
    "latency_p99",
    "energy_per_inference",
    "server_cpu_per_inference",
    "subjects",
)
"""The metrics that a baseline keeps."""

_NOT_GREEN = (
    "no baseline was written, since the run was not green: only a clean run becomes a baseline"
)

_BEHIND = (
    "its latency is no baseline, since it grows with the time: lower its rate, or take it out of "
    "the grid"
)


def chosen(update: str, results: Iterable[CellResult]) -> list[CellResult]:
    """Return the judged cells to be recorded: all, or those that lack a baseline.

    A cell whose server fell behind its open loop is not among them: its backlog, and so its
    latency, grows with the time it is measured for.
    """
    return [
        result
        for result in results
        if result.measurement is not None
        and _behind(result.measurement) is None
        and (update == "all" or _lacks_baseline(result))
    ]


def _lacks_baseline(result: CellResult) -> bool:
    verdicts = (result.judged or {}).values()
    return any(verdict.state is VerdictKind.MISSING for verdict in verdicts)


def record(session: Session, *, clean: bool) -> None:
    """Write the baselines that were asked for; ``clean`` is whether nothing failed.

    Raises BaselineError when they cannot be written, and when this run may not become one although
    nothing failed: a session was cut short, or what no test asked for regressed.
    """
    update = session.settings.update
    measured = [result for result in session.results.values() if result.measurement is not None]
    if update == "none" or not measured:
        return
    if not clean:
        # An interrupted run may have judged nothing yet.
        if chosen(update, measured) or any(result.judged is None for result in measured):
            session.remarks += [_NOT_GREEN, *_how_to_accept(session, measured)]
        return
    session.judge_rest()
    _refuse(session, measured)
    session.remarks += [
        f"{result.workload.id} was not recorded: {behind}"
        for result in measured
        if (behind := _behind(result.measurement)) and (update == "all" or _lacks_baseline(result))
    ]
    cells = chosen(update, measured)
    if cells:
        _write(session, cells)


def _refuse(session: Session, measured: Sequence[CellResult]) -> None:
    """Raise BaselineError where a run without a failed test must not be recorded all the same."""
    if session.repetition.cut_short:
        raise BaselineError(f"no baseline was written: {session.repetition.cut_short}")
    reasons = []
    for result in measured:
        cell = result.workload.id
        reasons += [
            f"{cell}: {verdict.reason}"
            for verdict in (result.judged or {}).values()
            if session.is_red(verdict)
        ]
        if result.unconfirmed is not None:
            reasons.append(f"{cell} could not be measured again: {result.unconfirmed}")
        if _regressed(result) and (behind := _behind(result.measurement)):
            reasons.append(f"{cell} cannot be accepted: {behind}")
    if reasons:
        lines = ["no baseline was written, since not all is well that would enter it:", *reasons]
        raise BaselineError("\n  ".join(lines + _how_to_accept(session, measured)))


def _behind(measurement: Measurement | None) -> str | None:
    """Say why a cell's level is none that a baseline could keep, None where it is."""
    if measurement is None:
        return None
    if measurement.search is not None and not measurement.search.settled:
        return "its search did not settle: raise --gaitperf-budget, or free the machine"
    return None if measurement.behind is None else f"{measurement.behind}; {_BEHIND}"


def _regressed(result: CellResult) -> bool:
    return any(verdict.state is VerdictKind.REGRESSED for verdict in (result.judged or {}).values())


def _how_to_accept(session: Session, results: Iterable[CellResult]) -> list[str]:
    """Name the command that accepts what regressed, if anything did."""
    regressed = sum(map(_regressed, results))
    if not regressed or session.settings.accept_regressions:
        return []
    return [
        f"{count(regressed, 'cell')} regressed; to accept that as the new level:",
        f"  {accept_command(session)}",
    ]


def accept_command(session: Session) -> str:
    """Return the command line of this run that accepts its regressions."""
    return command(session.settings, "--gaitperf-update=all", "--gaitperf-accept-regressions")


def _write(session: Session, cells: Sequence[CellResult]) -> None:
    """Write the cells' sessions, but for those that are refused, which are named with the reason.

    Raises BaselineError when nothing is left, or nothing can be written.
    """
    from pytest_gaitperf.baseline.acceptance import refused  # noqa: PLC0415 - imports numpy
    from pytest_gaitperf.report.environment import provenance  # noqa: PLC0415 - only when recording

    store = session.resources.store
    new = _new_sessions(session, cells)
    stored = {
        (result.workload.model, result.workload.key): result.baseline
        for result in cells
        if result.baseline is not None
    }
    refusals = refused(stored, new)
    reasons = [
        f"session {one.session + 1}{_what(one.model, one.key)} was not recorded: {one.reason}"
        for one in refusals
    ]
    accepted = dict.fromkeys((result.workload for result in cells), 0)
    for number, values in enumerate(new):
        for workload in accepted:
            model, key = workload.model, workload.key
            cell = values.get((model, key))
            if cell is None or any(one.covers(number, model, key) for one in refusals):
                continue
            store.record(
                model,
                key,
                cell.facts,
                cell.values,
                workload.version,
                session=number,
                afresh=cell.expected,
            )
            accepted[workload] += 1
    if not any(accepted.values()):
        raise BaselineError("\n  ".join(["no baseline was written:", *reasons]))
    board = session.resources.board
    provenances = [provenance(moment_s, board) for moment_s in session.repetition.began_s]
    with _undisturbed():
        session.written = store.write(*provenances)
    for result in cells:
        result.recorded = accepted[result.workload]
    session.remarks += reasons
    if len(new) > 1:
        most = count(max(accepted.values()), "session")
        session.remarks.append(f"{most} recorded; the table shows the first")
    alone = sum(not result.further for result in cells)
    if alone and session.repetition.sessions > 1:
        session.remarks.append(
            f"{count(alone, 'cell')} that no grid has, and a test measures itself: one session only"
        )
    begun = [one for one in cells if one.recorded and starts_afresh(session, one)]
    if begun:
        fewest = min(one.recorded for one in begun)
        more = f"; record {ENOUGH_SESSIONS - fewest} more" if fewest < ENOUGH_SESSIONS else ""
        session.remarks.append(
            f"{', '.join(one.workload.id for one in begun)}: a new history of "
            f"{count(fewest, 'session')} begins, the old one is left to git{more}"
        )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and a polite kill wait for the end of the block.

    Each file would stay whole without that, but some models could have the session and some not.
    """
    if threading.current_thread() is not threading.main_thread():  # it may set no handlers
        yield
        return
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def _new_sessions(
    session: Session, cells: Iterable[CellResult]
) -> list[dict[tuple[str, str], NewCell]]:
    """Return what the sessions of this run have of the cells, by model and key."""
    from pytest_gaitperf.baseline.acceptance import NewCell  # noqa: PLC0415 - imports numpy

    new: list[dict[tuple[str, str], NewCell]] = [{} for _ in session.repetition.began_s]
    for result in cells:
        facts, afresh = result.facts, starts_afresh(session, result)
        assert facts is not None  # noqa: S101 - chosen so
        for number, measurement in enumerate(_sessions_of(result)):
            values = _values(session, measurement, facts.rails)
            cell = NewCell(facts, values, _behind(measurement), afresh)
            new[number][result.workload.model, result.workload.key] = cell
    return new


def _what(model: str | None, key: str | None) -> str:
    """Say what of a session: nothing for all of it, a model, or one cell."""
    if model is None:
        return ""
    return f" of {model}" if key is None else f" of {model}-{key}"


def _sessions_of(result: CellResult) -> list[Measurement]:
    """Return a cell's measurements to be recorded, one for each session.

    Of a confirmed regression the first session has the second measurement: the first one was
    picked for being bad.
    """
    first = result.measurement
    assert first is not None  # noqa: S101 - asked only of measured cells
    if _regressed(result) and result.again is not None and not result.again.invalid:
        first = result.again
    return [first, *result.further]


def starts_afresh(session: Session, result: CellResult) -> bool:
    """Return whether what is recorded of a cell begins a new history of it.

    An accepted regression does, and an improvement that the further sessions of the run, if it has
    any, confirm: old and new in one history would be a noise that hides half of the next change.
    """
    return any(
        verdict.state is VerdictKind.REGRESSED
        or (
            verdict.state is VerdictKind.IMPROVED
            and _stays_better(
                verdict, result.further, session.policies.tolerance(result.workload, verdict.metric)
            )
        )
        for verdict in (result.judged or {}).values()
    )


def _stays_better(verdict: Verdict, further: Iterable[Measurement], tolerance: float) -> bool:
    metric = verdict.metric
    values = [one.metrics[metric].value for one in further if metric in one.metrics]
    if not values:
        return True
    assert verdict.baseline is not None  # noqa: S101 - it improved on something
    change = math.fsum(map(math.log, values)) / len(values) - math.log(verdict.baseline)
    return -METRICS[metric].worse_sign * change > math.log1p(tolerance)


def _values(
    session: Session, measurement: Measurement, rails: Mapping[str, str]
) -> dict[str, Value]:
    from pytest_gaitperf.baseline.store import Value  # noqa: PLC0415 - imports msgspec

    return {
        metric: Value(
            measurement.metrics[metric].value,
            measurement.spread.get(metric),
            measurement.spread_windows.get(metric, 0),
            rails.get(metric, ""),
        )
        for metric in RECORDED
        if metric in measurement.metrics
        and (metric not in GATED or session.counts(measurement, metric))
    }
