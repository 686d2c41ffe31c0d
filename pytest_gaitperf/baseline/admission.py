"""Which measurements of a run become baselines, and why the others do not.

A baseline learns only what is precise, and was shown equal or accepted by a person; from a run that
is red, was cut short or could not be judged, nothing. What crept beyond the tolerance from the
anchor, the level accepted last, is not shown equal. An accepted level begins a new history, and so
does an improvement that further sessions confirm: two levels in one would hide half of a change.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from pytest_gaitperf.baseline.outliers import NewCell, outliers
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import ANOTHER_DEVICE
from pytest_gaitperf.metrics import GATED, METRICS, PEAKS, QUANTITIES, quantity_of
from pytest_gaitperf.results import Outcome, VerdictKind
from pytest_gaitperf.stats import PERCENTILE_MARGIN, minimum_count
from pytest_gaitperf.text import count, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
    from pytest_gaitperf.baseline.store import BaselineStore
    from pytest_gaitperf.config.policy import Policies
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Cell, Policy, Run, Verdict
    from pytest_gaitperf.workload import Workload


def percentile_margin(measurement: Measurement, metric: str) -> float:
    """Return how many times the requests a percentile above p50 needs there were; inf of others."""
    quantile = METRICS[metric].quantile or 0.0
    requests, sustained = measurement.requests, measurement.sustained
    if sustained is not None and metric in QUANTITIES["sustained"]:
        requests = sustained.requests
    return requests / minimum_count(quantile) if quantile > _MEDIAN else math.inf


_MEDIAN = 0.5
_BEHIND = (
    "its latency is no baseline, since it grows with the time: lower its rate, or take it out of "
    "the grid"
)


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """What a run writes into the baselines.

    ``sessions`` holds the new values of each session of the run, by cell; ``refused`` says, by what
    was left out, why. ``notes`` are lines for people. ``problem`` is what keeps the run from being
    green: nothing of what there was could be recorded, or a cell regressed that no test looked at.
    """

    run: Run
    sessions: tuple[Mapping[Workload, NewCell], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def recorded(self) -> dict[str, int]:
        """How many sessions the baseline gets of each cell, by the cell's id."""
        return dict(Counter(one.id for session in self.sessions for one in session))

    def apply(self, store: BaselineStore, provenances: Sequence[Provenance]) -> Run:
        """Write the sessions, with their provenances; return the run, to be settled again."""
        for number, session in enumerate(self.sessions):
            for one, new in session.items():
                what = (one.model, one.key, new.fingerprint, new.values)
                store.record(*what, session=number, afresh=new.afresh, former=one.load)
        written = store.write(*provenances)
        run, recorded = self.run, self.recorded
        cells = (
            msgspec.structs.replace(cell, recorded=recorded.get(cell.id, 0)) for cell in run.cells
        )
        return msgspec.structs.replace(
            run,
            cells=tuple(cells),
            notes=(*run.notes, *self.notes),
            problems=run.problems if self.problem is None else (*run.problems, self.problem),
            written=(*run.written, *(path.name for path in written)),
        )


def plan_recording(
    run: Run,
    store: BaselineStore,
    *,
    fingerprints: Mapping[str, Fingerprint],
    judged: Mapping[str, Mapping[str, Verdict]],
    policies: Policies,
    estimates: bool = False,
    accept_command: str = "",
) -> RecordingPlan:
    """Return what a settled run writes into the baselines, as its policy asks.

    ``fingerprints`` are by cell id, and so are the ``judged`` verdicts, also on metrics that no
    test asked for. ``policies`` give tolerances, and what must be heard: half of that is the widest
    interval of a value. ``estimates``: estimated energy is recorded too. ``accept_command`` accepts
    regressions, for the notes.
    """
    verdicts = {cell.id: {**cell.verdicts, **judged.get(cell.id, {})} for cell in run.cells}
    measured = [
        _Candidate(cell, fingerprints[cell.id], verdicts[cell.id], run.policy, policies)
        for cell in run.cells
        if cell.measurement is not None and cell.id in fingerprints
    ]
    chosen = [one for one in measured if one.is_asked_for]
    if not chosen:
        said = tuple(f"no baseline was written: {why}" for why in run.unjudged[:1])
        return RecordingPlan(run, notes=said)
    regressed = {one.cell.id for one in measured if VerdictKind.REGRESSED in one.kinds}
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
        return RecordingPlan(run, notes=(not_green, *how_to_accept))
    if run.unjudged or run.problems:
        why = (*run.unjudged, *run.problems)[0]
        return RecordingPlan(run, notes=(f"no baseline was written: {why}",))
    foreign = f"{store.foreign}; {ANOTHER_DEVICE}" if store.foreign else ""
    if problem := foreign or run.sessions.cut_short:
        return RecordingPlan(run, problem=f"no baseline was written: {problem}")
    new, refused = _new_sessions(chosen, estimates=estimates)
    refused |= _leave_out_outliers(new, store)
    if not any(new):
        told = ["no baseline was written:", *_not_recorded(refused), *how_to_accept]
        return RecordingPlan(run, refused=refused, problem="\n  ".join(told))
    unaccepted = {what: why for what, why in refused.items() if what in regressed}
    problem = "\n  ".join([*_not_recorded(unaccepted), *how_to_accept]) if unaccepted else None
    plan = RecordingPlan(run, tuple(new), refused, problem=problem)
    others = {what: why for what, why in refused.items() if what not in unaccepted}
    return replace(plan, notes=(*_not_recorded(others), *_notes(plan)))


def _not_recorded(refused: Mapping[str, str]) -> list[str]:
    """Say what was left out, with each reason once."""
    alike: dict[str, list[str]] = {}
    for what, why in refused.items():
        alike.setdefault(why, []).append(what)
    return [
        f"{', '.join(names)} {'were' if names[1:] else 'was'} not recorded: {why}"
        for why, names in alike.items()
    ]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A measured cell, with all that decides whether it is recorded."""

    cell: Cell
    fingerprint: Fingerprint
    verdicts: Mapping[str, Verdict]
    policy: Policy
    policies: Policies

    @property
    def kinds(self) -> set[VerdictKind]:
        return {verdict.kind for verdict in self.verdicts.values()}

    @property
    def is_asked_for(self) -> bool:
        """Whether it is to be recorded, as far as ``--gaitperf-update`` goes."""
        if self.policy.update == "missing":
            return VerdictKind.MISSING in self.kinds
        return self.policy.update == "all"

    def refusals(self) -> Iterator[str]:
        """Say why nothing of the cell may be recorded, once for each reason."""
        yield from _faults(self.cell)
        for verdict in self.verdicts.values():
            if reason := refusal(verdict, self.policy, self.tolerance(verdict)):
                yield reason
        if not self.verdicts:
            yield "nothing of it was judged"

    @property
    def begins_anew(self) -> bool:
        """Whether what is recorded begins a new history of the cell."""
        return any(
            verdict.kind is VerdictKind.REGRESSED
            or (self.policy.accept_regressions and _open(verdict, self.tolerance(verdict)))
            or (verdict.kind is VerdictKind.IMPROVED and self._stays_better(verdict))
            for verdict in self.verdicts.values()
        )

    @property
    def measurements(self) -> list[Measurement]:
        """The measurements to be recorded, one for each session.

        Of a confirmed regression the first is the second one: the other was picked for being bad.
        """
        cell = self.cell
        first = cell.latest if VerdictKind.REGRESSED in self.kinds else cell.measurement
        return [one for one in (first, *cell.further) if one is not None]

    def tolerance(self, verdict: Verdict) -> float:
        return self.policies.tolerance(self.cell.workload, verdict.metric)

    def too_wide(self, measurement: Measurement) -> dict[str, str]:
        """Say, by metric, what is not known well enough for a baseline."""
        found = {}
        for metric, estimate in measurement.metrics.items():
            if metric not in GATED:
                continue
            half = estimate.relative_half_width
            most = self.policies.must_hear(self.cell.workload, metric)
            if half is None and metric == "throughput":
                found[metric] = "it was measured in too few windows for an interval"
            elif half is not None and not half <= most:
                found[metric] = (
                    f"it is not known to {most:.0%}, which must be heard: raise --gaitperf-budget, "
                    "or free the machine"
                )
        return found

    def values(self, measurement: Measurement, *, estimates: bool) -> dict[str, Value]:
        """Return what a baseline keeps of a measurement; energy estimates only on request."""
        too_wide = self.too_wide(measurement)
        return {
            metric: Value(
                measurement.metrics[metric].value,
                measurement.spread.get(metric),
                measurement.lives,
                self.fingerprint.rails.get(metric, ""),
            )
            for metric in GATED
            if metric in measurement.metrics
            and measurement.metrics[metric].value > 0
            and metric not in too_wide
            and quantity_of(metric) in self.cell.workload.quantities
            and percentile_margin(measurement, metric) >= PERCENTILE_MARGIN
            and (estimates or not measurement.estimates(metric))
            and (metric not in PEAKS or measurement.loads == self._loads)
        }

    @property
    def _loads(self) -> tuple[str, ...]:
        """The loads that its peaks of memory are said to be of."""
        return () if self.cell.measurement is None else self.cell.measurement.loads

    def _stays_better(self, verdict: Verdict) -> bool:
        """Return whether the run's further sessions, if it has any, confirm an improvement."""
        metric = verdict.metric
        values = [one.metrics[metric].value for one in self.cell.further if metric in one.metrics]
        if not values or verdict.baseline is None:
            return True
        if min(values) <= 0:
            return False
        change = math.fsum(map(math.log, values)) / len(values) - math.log(verdict.baseline)
        better = -METRICS[metric].worse_sign * change
        return better > math.log1p(self.tolerance(verdict))


def refusal(verdict: Verdict, policy: Policy, tolerance: float) -> str | None:
    """Say why a verdict keeps its cell out of the baseline, None where it does not.

    ``tolerance`` is the relative change that does not matter. That a change could have gone unheard
    keeps nothing out: further sessions are what sharpens.
    """
    accepted = policy.accept_regressions
    if verdict.kind is VerdictKind.REGRESSED:
        return None if accepted else verdict.reason
    if verdict.kind is VerdictKind.INCOMPARABLE:
        return None if policy.update == "all" else verdict.reason
    if not accepted and _open(verdict, tolerance):
        anchor, crept = verdict.anchor, ""
        if anchor is not None and verdict.kind is not VerdictKind.INCONCLUSIVE:
            level = f"{shown(verdict.metric, anchor)}, the level that was accepted last"
            crept = f"; beyond the tolerance from {level}"
        return f"{verdict.reason}{crept}; neither shown equal nor accepted"
    return None


def _open(verdict: Verdict, tolerance: float) -> bool:
    """Return whether a verdict leaves open a change beyond the tolerance, or since the anchor."""
    least = math.log1p(tolerance)
    if verdict.kind is VerdictKind.INCONCLUSIVE:
        change = verdict.change
        return change is None or change <= -1 or abs(math.log1p(change)) > least
    if verdict.anchor is None or verdict.now is None or verdict.kind is VerdictKind.REGRESSED:
        return False
    up = METRICS[verdict.metric].worse_sign
    return up * (math.log(verdict.now) - math.log(verdict.anchor)) > least


def _faults(cell: Cell) -> Iterator[str]:
    """Say what was not as it should be when a cell was measured."""
    if cell.unmeasured is not None:
        yield cell.unmeasured
    for quantity, why in cell.lacking.items():
        yield f"{quantity}: {why}"
    if cell.measurement is not None and cell.measurement.energy_failed:
        yield "energy was not measured"
    if cell.measurement is not None and (unusable := _unusable(cell.measurement)):
        yield unusable
    if cell.unconfirmed is not None:
        yield f"it could not be measured again: {cell.unconfirmed}"


def _unusable(measurement: Measurement) -> str | None:
    """Say why a measurement's level is none that a baseline could keep, None where it is."""
    if measurement.invalid is not None:
        return measurement.invalid
    if measurement.capacity is not None and not measurement.capacity.settled:
        return "its search did not settle: raise --gaitperf-budget, or free the machine"
    if measurement.sustained is not None and measurement.sustained.ended:
        return measurement.sustained.ended
    behind = measurement.kept_behind
    return None if behind is None else f"{behind}; {_BEHIND}"


def _new_sessions(
    chosen: Sequence[_Candidate], *, estimates: bool
) -> tuple[list[dict[Workload, NewCell]], dict[str, str]]:
    """Return the values of each session by cell, and why others are left out."""
    new: list[dict[Workload, NewCell]] = []
    refused: dict[str, str] = {}
    for one in chosen:
        if reason := next(one.refusals(), None):
            refused[one.cell.id] = reason
            continue
        for number, measurement in enumerate(one.measurements):
            if reason := _unusable(measurement):
                refused[f"session {number + 1} of {one.cell.id}"] = reason
                continue
            new += [{} for _ in range(number + 1 - len(new))]
            for metric, why in one.too_wide(measurement).items():
                session = f"session {number + 1} of " if one.cell.further else ""
                refused[f"{METRICS[metric].title} of {session}{one.cell.id}"] = why
            values = one.values(measurement, estimates=estimates)
            if not values:
                continue
            new[number][one.cell.workload] = NewCell(one.fingerprint, values, one.begins_anew)
    return new, refused


def _leave_out_outliers(
    new: Sequence[dict[Workload, NewCell]], store: BaselineStore
) -> dict[str, str]:
    """Take the outliers out of the new sessions, and return the reasons."""
    by_key = [{(one.model, one.key): cell for one, cell in session.items()} for session in new]
    stored = {
        (one.model, one.key): known
        for session in new
        for one, cell in session.items()
        if (known := store.cell_of(one, cell.fingerprint)) is not None
    }
    reasons = {}
    for outlier in outliers(stored, by_key):
        session = new[outlier.session]
        for workload in [one for one in session if outlier.model in (None, one.model)]:
            del session[workload]
        whose = "" if outlier.model is None else f" of {outlier.model}"
        reasons[f"session {outlier.session + 1}{whose}"] = outlier.reason
    return reasons


def _notes(plan: RecordingPlan) -> Iterator[str]:
    run, recorded = plan.run, plan.recorded
    if len(plan.sessions) > 1:
        most = count(max(recorded.values()), "session")
        yield f"{most} recorded; the table shows the first"
    alone = sum(cell.id in recorded and not cell.further for cell in run.cells)
    if alone and run.sessions.asked > 1:
        cells = count(alone, "cell")
        yield f"{cells} that no grid has, and a test measures itself: one session only"
    anew = {one.id: 0 for session in plan.sessions for one, new in session.items() if new.afresh}
    if anew:
        fewest = min(recorded[cell] for cell in anew)
        yield (
            f"{', '.join(anew)}: a new history of "
            f"{count(fewest, 'session')} begins, the old one is left to git"
        )
