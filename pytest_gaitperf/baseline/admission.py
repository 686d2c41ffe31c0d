"""Which measurements of a run become baselines, and why the others do not.

A baseline learns only what was shown equal or was accepted by a person:

- a run that is red, was cut short or could not be judged records nothing;
- a cell is left out, by name, where it is invalid or lacks something expected, where its search did
  not settle or its server fell behind, where a suspect was not confirmed, and where a verdict on it
  is neither green nor accepted;
- a session that is an outlier among the sessions is left out, or what it has of one model
  (``baseline.outliers``);
- all other cells are recorded.

An accepted regression begins a new history of its cell, and so does an improvement that the run's
further sessions confirm: old and new in one history would be a noise that hides half of the next
change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.outliers import NewCell, outliers
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.config.grid import FULL
from pytest_gaitperf.metrics import GATED, METRICS, quantity_of
from pytest_gaitperf.results import Outcome, VerdictKind, verdict_outcome
from pytest_gaitperf.stats import ENOUGH_SESSIONS
from pytest_gaitperf.text import count
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_gaitperf.baseline.cells import Fingerprint
    from pytest_gaitperf.baseline.store import BaselineStore, Provenance
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Cell, Policy, Run, Verdict

RECORDED = (
    "throughput",
    "latency_p50",
    "latency_p99",
    "energy_per_inference",
    "server_cpu_per_inference",
    "subjects",
)
"""The metrics that a baseline keeps."""

_BEHIND = (
    "its latency is no baseline, since it grows with the time: lower its rate, or take it out of "
    "the grid"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellContext:
    """What recording needs of a cell that the run's record does not have.

    ``verdicts`` are those on all metrics, also of those that no test asked for. ``tolerances`` are
    relative changes that do not matter, by metric.
    """

    fingerprint: Fingerprint
    verdicts: Mapping[str, Verdict]
    tolerances: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """What a run writes into the baselines.

    ``sessions`` holds the new values of each session of the run, by cell; ``refused`` says, by what
    was left out, why. ``notes`` are lines for people. ``problem`` is what keeps the run from being
    green: nothing of what there was could be recorded, or a cell regressed that no test looked at.
    """

    sessions: tuple[Mapping[Workload, NewCell], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def recorded(self) -> dict[str, int]:
        """How many sessions the baseline gets of each cell, by the cell's id."""
        ids = [workload.id for session in self.sessions for workload in session]
        return {one: ids.count(one) for one in dict.fromkeys(ids)}

    def apply(self, store: BaselineStore, provenances: Sequence[Provenance]) -> list[Path]:
        """Write the sessions, whose provenances are given in order; return the files that changed.

        Raises BaselineError where they cannot be written.
        """
        for number, session in enumerate(self.sessions):
            for workload, cell in session.items():
                store.record(
                    workload.model,
                    workload.key,
                    cell.fingerprint,
                    cell.values,
                    workload.version,
                    session=number,
                    afresh=cell.afresh,
                )
        return store.write(*provenances)


def plan_recording(
    run: Run,
    store: BaselineStore,
    cells: Mapping[str, CellContext],
    *,
    accept_estimates: bool = False,
    accept_command: str = "",
) -> RecordingPlan:
    """Return what a settled run writes into the baselines, as its policy asks.

    ``cells`` are by id. ``accept_estimates``: energy that is an estimate is recorded too.
    ``accept_command`` is the command line that accepts regressions, for the notes.
    """
    measured = [(one, cells[one.id]) for one in run.cells if one.measurement and one.id in cells]
    chosen = [pair for pair in measured if _is_asked_for(pair[1], run.policy)]
    if not chosen:
        return RecordingPlan()
    regressed = {cell.id for cell, context in measured if VerdictKind.REGRESSED in _kinds(context)}
    how_to_accept: tuple[str, ...] = ()
    if regressed and not run.policy.accept_regressions:
        how_to_accept = (
            f"{count(len(regressed), 'cell')} regressed; to accept that as the new level:",
            f"  {accept_command}",
        )
    if run.outcome is Outcome.RED:
        not_green = (
            "no baseline was written, since the run was not green: only a clean run becomes a "
            "baseline"
        )
        return RecordingPlan(notes=(not_green, *how_to_accept))
    if stopped := run.sessions.cut_short or next(iter(run.problems), None):
        return RecordingPlan(problem=f"no baseline was written: {stopped}")
    refused: dict[str, str] = {}
    new: list[dict[Workload, NewCell]] = []
    for cell, context in chosen:
        if reason := next(_refusals(cell, context, run.policy), None):
            refused[cell.id] = reason
            continue
        afresh = _begins_anew(cell, context, run.policy)
        for number, measurement in enumerate(_measurements(cell, context)):
            if why := _unusable(measurement):
                refused[f"session {number + 1} of {cell.id}"] = why
                continue
            values = _values(
                measurement, cell.workload, context.fingerprint, accept_estimates=accept_estimates
            )
            new += [{} for _ in range(number + 1 - len(new))]
            new[number][cell.workload] = NewCell(context.fingerprint, values, afresh)
    refused |= _leave_out_outliers(new, store)
    lines = [f"{what} was not recorded: {why}" for what, why in refused.items()]
    if not any(new):
        told = ["no baseline was written:", *lines, *how_to_accept]
        return RecordingPlan(refused=refused, problem="\n  ".join(told))
    unaccepted = [f"{one} was not recorded: {refused[one]}" for one in refused if one in regressed]
    problem = "\n  ".join([*unaccepted, *how_to_accept]) if unaccepted else None
    plan = RecordingPlan(tuple(new), refused, problem=problem)
    notes = [line for line in lines if line not in unaccepted]
    return replace(plan, notes=(*notes, *_notes(plan, run)))


def orphans(run: Run, store: BaselineStore, *, quick_grid: bool) -> dict[str, tuple[str, ...]]:
    """Return the keys of the recorded cells that a run of the whole suite did not have, by model.

    A cell over a protocol or transport that this run did not use is none: another run's options ask
    for it. Nor is, where the ``quick_grid`` was run, a cell of the full one, whose part that is.
    """
    ran = [cell.workload for cell in run.cells]
    covered = {(workload.model, workload.key) for workload in ran}
    ways = {(workload.protocol, workload.transport) for workload in ran}
    if quick_grid:
        covered |= {
            (model, Workload(model, batch, load, protocol=protocol, transport=transport).key)
            for model in {workload.model for workload in ran}
            for batch in FULL
            for load in FULL
            for protocol, transport in ways
        }
    found: dict[str, tuple[str, ...]] = {}
    for cell in store.cells():
        newest = cell.sessions[-1].fingerprint
        if (newest.protocol, newest.transport) in ways and (cell.model, cell.key) not in covered:
            found[cell.model] = (*found.get(cell.model, ()), cell.key)
    return found


def _is_asked_for(context: CellContext, policy: Policy) -> bool:
    """Return whether a measured cell is to be recorded, as far as ``--gaitperf-update`` goes."""
    if policy.update == "missing":
        return VerdictKind.MISSING in _kinds(context)
    return policy.update == "all"


def _kinds(context: CellContext) -> set[VerdictKind]:
    return {verdict.kind for verdict in context.verdicts.values()}


def _refusals(cell: Cell, context: CellContext, policy: Policy) -> Iterator[str]:
    """Say why nothing of a cell may be recorded, once for each reason."""
    if cell.unmeasured is not None:
        yield cell.unmeasured
    for quantity, why in cell.lacking.items():
        yield f"{quantity}: {why}"
    if cell.measurement is not None:
        if cell.measurement.energy_failed:
            yield "the power meter failed"
        if unusable := _unusable(cell.measurement):
            yield unusable
    if cell.unconfirmed is not None:
        yield f"it could not be measured again: {cell.unconfirmed}"
    for verdict in context.verdicts.values():
        if verdict_outcome(verdict, policy, paired=False) is not Outcome.GREEN:
            yield verdict.reason
        elif _is_open(verdict, context) and not policy.accept_regressions:
            yield f"{verdict.reason}; neither shown equal nor accepted"


def _is_open(verdict: Verdict, context: CellContext) -> bool:
    """Return whether a verdict leaves open a change beyond the tolerance."""
    if verdict.kind is not VerdictKind.INCONCLUSIVE or verdict.change is None:
        return verdict.kind is VerdictKind.INCONCLUSIVE
    tolerance = math.log1p(context.tolerances.get(verdict.metric, 0.0))
    return verdict.change <= -1 or abs(math.log1p(verdict.change)) > tolerance


def _unusable(measurement: Measurement) -> str | None:
    """Say why a measurement's level is none that a baseline could keep, None where it is."""
    if measurement.invalid is not None:
        return measurement.invalid
    if measurement.capacity is not None and not measurement.capacity.settled:
        return "its search did not settle: raise --gaitperf-budget, or free the machine"
    return None if measurement.behind is None else f"{measurement.behind}; {_BEHIND}"


def _begins_anew(cell: Cell, context: CellContext, policy: Policy) -> bool:
    """Return whether what is recorded of a cell begins a new history of it."""
    return any(
        verdict.kind is VerdictKind.REGRESSED
        or (policy.accept_regressions and _is_open(verdict, context))
        or (verdict.kind is VerdictKind.IMPROVED and _stays_better(verdict, cell, context))
        for verdict in context.verdicts.values()
    )


def _stays_better(verdict: Verdict, cell: Cell, context: CellContext) -> bool:
    """Return whether the run's further sessions, if it has any, confirm an improvement."""
    metric = verdict.metric
    values = [one.metrics[metric].value for one in cell.further if metric in one.metrics]
    if not values or verdict.baseline is None:
        return True
    change = math.fsum(map(math.log, values)) / len(values) - math.log(verdict.baseline)
    return -METRICS[metric].worse_sign * change > math.log1p(context.tolerances.get(metric, 0.0))


def _measurements(cell: Cell, context: CellContext) -> list[Measurement]:
    """Return a cell's measurements to be recorded, one for each session.

    Of a confirmed regression the first session has the second measurement: the first one was
    picked for being bad.
    """
    first = cell.latest if VerdictKind.REGRESSED in _kinds(context) else cell.measurement
    assert first is not None  # noqa: S101 - asked only of measured cells
    return [first, *cell.further]


def _values(
    measurement: Measurement,
    workload: Workload,
    fingerprint: Fingerprint,
    *,
    accept_estimates: bool,
) -> dict[str, Value]:
    values = {}
    for metric in RECORDED:
        if metric not in measurement.metrics:
            continue
        if metric in GATED and quantity_of(metric) not in workload.quantities:
            continue
        if measurement.estimates(metric) and not accept_estimates:
            continue
        values[metric] = Value(
            measurement.metrics[metric].value,
            measurement.spread.get(metric),
            measurement.spread_windows.get(metric, 0),
            fingerprint.rails.get(metric, ""),
        )
    return values


def _leave_out_outliers(
    new: Sequence[dict[Workload, NewCell]], store: BaselineStore
) -> dict[str, str]:
    """Take the outliers out of the new sessions, and return the reasons."""
    by_key = [{(one.model, one.key): cell for one, cell in session.items()} for session in new]
    keys = {key for session in by_key for key in session}
    stored = {key: known for key in keys if (known := store.cell(*key)) is not None}
    reasons = {}
    for outlier in outliers(stored, by_key):
        session = new[outlier.session]
        for workload in [one for one in session if outlier.model in (None, one.model)]:
            del session[workload]
        whose = "" if outlier.model is None else f" of {outlier.model}"
        reasons[f"session {outlier.session + 1}{whose}"] = outlier.reason
    return reasons


def _notes(plan: RecordingPlan, run: Run) -> Iterator[str]:
    recorded = plan.recorded
    if len(plan.sessions) > 1:
        most = count(max(recorded.values()), "session")
        yield f"{most} recorded; the table shows the first"
    alone = sum(cell.id in recorded and not cell.further for cell in run.cells)
    if alone and run.sessions.asked > 1:
        cells = count(alone, "cell")
        yield f"{cells} that no grid has, and a test measures itself: one session only"
    anew = [
        one
        for one in dict.fromkeys(workload for session in plan.sessions for workload in session)
        if any(session[one].afresh for session in plan.sessions if one in session)
    ]
    if anew:
        fewest = min(recorded[workload.id] for workload in anew)
        more = f"; record {ENOUGH_SESSIONS - fewest} more" if fewest < ENOUGH_SESSIONS else ""
        yield (
            f"{', '.join(workload.id for workload in anew)}: a new history of "
            f"{count(fewest, 'session')} begins, the old one is left to git{more}"
        )
