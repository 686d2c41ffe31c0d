"""One run: its phases in their order, and what tests read of it.

It knows nothing of pytest: hooks and fixtures drive it, and show what it says.
"""

from __future__ import annotations

from dataclasses import replace
from textwrap import shorten
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.admission import refusal
from pytest_gaitperf.config.policy import Policies, Rules
from pytest_gaitperf.config.settings import read_accuracy
from pytest_gaitperf.engine.expectation import Expectation, expand
from pytest_gaitperf.engine.fingerprint import Fingerprints
from pytest_gaitperf.engine.judging import confirm, confirm_in_pairs, counts, doubt, judge
from pytest_gaitperf.engine.limits import ESTIMATED, checked
from pytest_gaitperf.engine.measuring import Measuring
from pytest_gaitperf.engine.neighbours import in_time
from pytest_gaitperf.engine.paired import Paired
from pytest_gaitperf.engine.reference import Reference
from pytest_gaitperf.engine.usage import check_ids, check_models, check_outputs, check_planned
from pytest_gaitperf.errors import (
    ConfigurationError,
    GaitperfError,
    LeftOut,
    MeasurementError,
    first_line,
)
from pytest_gaitperf.metrics import METRICS, QUANTITIES, of_energy
from pytest_gaitperf.outcomes import verdict_outcome
from pytest_gaitperf.results import Outcome, Policy, Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_gaitperf.baseline.cells import Session
    from pytest_gaitperf.config.grid import Grid
    from pytest_gaitperf.config.policy import Limit
    from pytest_gaitperf.engine.cells import CellState
    from pytest_gaitperf.engine.judging import Case
    from pytest_gaitperf.engine.requests import Offer
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.results import Finding, LimitCheck, Sensitivity
    from pytest_gaitperf.workload import Workload

    Review = Callable[[Workload, Verdict], Verdict | None]
    """Sees a final verdict, and may put another one in its place."""

_MOST_NAMED = 5
_LINE = 100


class Engine:
    """The state of one run, on the ``resources`` that it works with.

    ``failed_tests`` and ``unmeasured_tests`` are those whose reason no cell of the record tells.
    ``gates`` counts what tests wanted judged, ``skipped_gates`` what of it was not there to be.
    """

    def __init__(self, resources: Resources, review: Review) -> None:
        self.resources = resources
        self._review = review
        self.settings = resources.settings
        self.policies = Policies(
            Rules(self.settings.tolerance, self.settings.limits, self.settings.must_hear),
            self.settings.model,
        )
        self.policy = Policy(
            update=self.settings.update,
            accept_regressions=self.settings.accept_regressions,
            strict=self.settings.strict,
            no_energy=self.settings.power == "none",
        )
        self.accuracy = (
            {} if self.settings.accuracy is None else read_accuracy(self.settings.accuracy)
        )
        self.paired: Paired | None = None
        if self.settings.against is not None:
            self.paired = Paired(resources, self.policies.tolerance, self.policies.must_hear)
        self.reference: Reference | None = None
        self.expectation = Expectation()
        self.fingerprints = Fingerprints(resources)
        made = (resources, self.fingerprints, self.paired, self.expectation, self.policies)
        self.measuring = Measuring(*made)
        self.findings: list[Finding] = []
        self.sensitivity: list[Sensitivity] = []
        self.failed_tests: list[str] = []
        self.unmeasured_tests: list[str] = []
        self.gates = self.skipped_gates = self.without_cells = 0
        self._unplanned = 0
        self._told: set[str] = set()

    # Phases

    def plan(self, grid: Grid, offers: Mapping[str, Offer], quantity: str = "") -> list[Workload]:
        """Return the cells of a grid to be measured. Raises ConfigurationError as ``expand``."""
        settings = self.settings
        self.expectation.recorded = self.expectation.recorded or self.resources.recorded
        cells = expand(
            grid,
            offers,
            settings.models,
            self.expectation,
            protocol=settings.protocol,
            transport=settings.transport,
            frame_rate=settings.frame_rate,
            deadline_s=settings.deadline,
            data_of=self.resources.data_of,
            quantity=quantity if self.paired is None else "",
        )
        self.measuring.alone.plan(grid, cells, quantity)
        return cells

    def completed(self, workload: Workload) -> Workload:
        """Return a workload with the data that this run sends.

        Raises ConfigurationError where it names others, and for a file that is not there.
        """
        data = self.resources.data_of(workload.model)
        if workload.data not in ("", data):
            raise ConfigurationError(
                f"it is to send {workload.data}, and this run sends {data or 'random data'}: give "
                "the data with --gaitperf-data"
            )
        return replace(workload, data=data)

    def check_settings(self) -> None:
        """Refuse what is planned where a setting of it is wrong; GaitperfError with what to do."""
        check_ids([*self.resources.planned, *self.resources.loaded])
        if self.resources.planned:
            check_models(self.policies, {*self.resources.offers, *self.expectation.recorded})
        check_planned(self.policies, self.resources.planned, self.settings)
        check_outputs(self.settings)
        given = self.settings.reference
        if given is not None and self.paired is None and self.reference is None:
            self.reference = Reference(given, self.settings.triton_repository)

    def run_planned(self) -> None:
        """Measure what is planned, judge it together, and confirm what looks bad.

        What keeps a cell from being measured is kept with it, for its tests to say.
        """
        known = self.measuring.cells
        planned = [
            one
            for one in self.resources.planned
            if one not in known or (known[one].judged is None and known[one].error is None)
        ]
        if not planned:
            return
        try:
            self.resources.take_device()
            if self.paired is None:
                self.resources.store.check(update=self.settings.update != "none")
        except GaitperfError as error:
            self.measuring.fail(planned, error)
            return
        self.measuring.first_session(planned)
        cells = [self.measuring.cells[one] for one in planned if one in self.measuring.cells]
        if self.paired is not None:
            for cell in cells:
                self._judge_paired(cell)
            self._reviewed(cells)
            return
        self._judge(cells, self._share(planned=True))
        if self.measuring.sessions > 1:
            self._measure_further(cells)

    def judge_rest(self) -> None:
        """Judge the measured cells that no test has asked about: they may be recorded too."""
        for cell in self.measuring.cells.values():
            if cell.judged is None and cell.measurement is not None:
                self._judge([cell], self._share(planned=False))

    def _measure_further(self, cells: Sequence[CellState]) -> None:
        """Measure the further sessions of what may be recorded; none after a red cell."""
        outcomes = {cell.workload.id: self._outcome(cell) for cell in cells}
        red = [name for name, outcome in outcomes.items() if outcome is Outcome.RED]
        unfit = red or [name for name, outcome in outcomes.items() if outcome is Outcome.UNMEASURED]
        more = f" and {len(unfit) - _MOST_NAMED} more" if len(unfit) > _MOST_NAMED else ""
        named = ", ".join(unfit[:_MOST_NAMED]) + more
        if red or len(unfit) == len(cells):
            self.measuring.stop(
                f"only the first of {self.measuring.sessions} sessions was measured, since it "
                f"cannot be recorded: {named}"
            )
            return
        if unfit:
            self.resources.progress.say(f"measured in one session only, and not recorded: {named}")
        self.measuring.further_sessions(
            [cell for cell in cells if cell.workload.id not in unfit and self._is_recorded(cell)]
        )

    def _is_recorded(self, cell: CellState) -> bool:
        """Return whether a cell is to become a baseline, as far as ``--gaitperf-update`` goes."""
        kinds = {verdict.kind for verdict in (cell.judged or {}).values()}
        return self.policy.update == "all" or VerdictKind.MISSING in kinds

    def _outcome(self, cell: CellState) -> Outcome:
        """Return what a judged cell comes to as far as recording it goes."""
        measurement = cell.measurement
        if measurement is None or measurement.invalid or measurement.energy_failed:
            return Outcome.UNMEASURED
        verdicts = (cell.judged or {}).values()
        if any(self.verdict_outcome(cell, one) is Outcome.RED for one in verdicts):
            return Outcome.RED
        refused = any(
            refusal(one, self.policy, self.policies.tolerance(cell.workload, one.metric))
            for one in verdicts
        )
        return Outcome.UNMEASURED if refused else Outcome.GREEN

    def _judge(self, cells: Sequence[CellState], alpha: float) -> None:
        case = judge(
            cells,
            self.resources.store,
            self.policies,
            alpha=alpha,
            estimates=self.settings.accept_estimates,
        )
        if case.suspects():
            case = self._confirmed(case)
            doubt(case)
        self.findings += case.judgement.findings
        self.sensitivity += case.judgement.sensitivity
        self._reviewed(cells)

    def _confirmed(self, case: Case) -> Case:
        """Look again at what seems to have regressed: in pairs with the reference where it can."""
        first, found = case, dict[int, Verdict]()
        if self.reference is not None:
            found = self.reference.verdicts(
                case, self.resources, self.policies.tolerance, self.measuring.left_s()
            )
        if again := case.suspects(found):
            self.measuring.measure_again(again)
            case = confirm(case, found)
        if self.reference is not None:
            case = confirm_in_pairs(case, first, found, self.reference.description)
        return case

    def _reviewed(self, cells: Iterable[CellState]) -> None:
        for cell in cells:
            for metric, verdict in (cell.judged or {}).items():
                if (other := self._review(cell.workload, verdict)) is not None:
                    cell.judged = {**(cell.judged or {}), metric: other}

    def _share(self, *, planned: bool) -> float:
        """Return what of alpha one judgement gets.

        The planned cells of a run are judged together. A cell that a test measures by hand comes by
        itself, when it comes: the k-th of these gets 1 / (k (k + 1)) of an alpha, all alpha where
        nothing was planned, else half of it, so that the run keeps its alpha in all.
        """
        alpha = self.settings.alpha
        if planned:
            return alpha / 2 if self.resources.by_hand else alpha
        self._unplanned += 1
        rest = alpha / 2 if self.resources.planned else alpha
        return rest / (self._unplanned * (self._unplanned + 1))

    def _judge_paired(self, cell: CellState) -> None:
        assert self.paired is not None
        measurement = cell.measurement
        if measurement is not None and not measurement.invalid:
            cell.judged = self.paired.verdicts(cell.workload)

    # What tests read

    def measured(self, workload: Workload) -> CellState:
        """Return a measured cell; one that no grid has is measured now.

        Raises GaitperfError, again at each call, when the cell cannot be measured: at first with
        all there is to say, then in one line; LeftOut when it is not to be measured.
        """
        if workload not in self.measuring.cells:
            check_ids([*self.measuring.cells, workload])
            self.resources.take_device()
            if self.paired is None:
                _ = self.resources.store  # a damaged one is said before anything is measured
            self.measuring.by_hand(workload)
        cell = self.measuring.cells[workload]
        if cell.error is not None:
            said = self.once(str(cell.error))
            raise cell.error if said == str(cell.error) else MeasurementError(said)
        return cell

    def once(self, cause: str) -> str:
        """Return a cause as it is the first time, in one short line from then on."""
        line = first_line(cause)
        if line not in self._told:
            self._told.add(line)
            return cause
        return line if len(line) <= _LINE else shorten(line, _LINE, placeholder=" ...")

    def check_served(self, workload: Workload) -> None:
        """Raise LeftOut for a workload that cannot be loaded and is not expected to be."""
        resources = self.resources
        if workload in resources.loaded:
            offers = resources.served({workload.model})
            if why := self.expectation.set_aside([workload], offers).get(workload):
                raise LeftOut(why)

    def verdicts(self, workload: Workload, quantity: str) -> list[Verdict]:
        """Return the verdicts on one quantity of a measured cell, of the metrics it has."""
        cell = self.measured(workload)
        if cell.judged is None:
            if self.paired is not None:
                self._judge_paired(cell)
            else:
                self._judge([cell], self._share(planned=False))
        judged = cell.judged or {}
        metrics = [metric for metric in QUANTITIES[quantity] if metric in judged]
        cell.asked |= dict.fromkeys(metrics)
        return [judged[metric] for metric in metrics]

    def absent(self, workload: Workload, quantity: str) -> str | None:
        """Say why a quantity (a key of ``QUANTITIES``) of a measured cell has no value, else None.

        It has one when any of its metrics could be measured. Where the baseline has one that this
        run lacks, or the meter failed, that is noted with the cell: then something expected was not
        shown.
        """
        cell = self.measured(workload)
        measurement = cell.measurement
        if quantity not in workload.quantities or measurement is None:
            return f"{workload.key} has no {quantity} to gate, but " + " and ".join(
                workload.quantities
            )
        first = measurement.first_of(quantity)
        others = [one for one in QUANTITIES[quantity] if one != first]
        estimates, metrics, why = self.settings.accept_estimates, measurement.metrics, ""
        if first not in metrics:
            why = f"{first}: {measurement.why_absent(first)}"
        elif not counts(workload, measurement, first, estimates=estimates):
            why = ESTIMATED
        sessions = self._sessions(cell)
        lost = [why] if why and any(first in one.values for one in sessions) else []
        there = (one for one in others if one in metrics)
        if not why or any(counts(workload, measurement, one, estimates=estimates) for one in there):
            if self.policy.update != "all":
                lost += [
                    f"{METRICS[one].title}: {measurement.why_absent(one)}"
                    for one in others
                    if one not in metrics
                    and sessions
                    and one in sessions[-1].values
                    and not (self.policy.no_energy and of_energy(one))
                ]
            why = ""
        elif quantity == "energy" and self.policy.no_energy:
            return why
        if why and (failed := measurement.failed(quantity)):
            cell.lacking[quantity] = f"it was not measured: {failed}"
        elif lost:
            cell.lacking[quantity] = f"the baseline has it, and this run not: {'; '.join(lost)}"
        return cell.lacking.get(quantity, why) if why else None

    def _sessions(self, cell: CellState) -> Sequence[Session]:
        """Return what the baseline has of a cell, oldest first."""
        if self.paired is not None or cell.fingerprint is None:
            return ()
        baseline = self.resources.store.cell_of(cell.workload, cell.fingerprint)
        return () if baseline is None else baseline.sessions

    def check(
        self, workload: Workload, limits: Iterable[Limit], quantity: str = ""
    ) -> list[LimitCheck]:
        """Compare a measured cell with limits, its first measurement always.

        Of the ``quantity`` neighbours also with what they are kept to.
        """
        cell = self.measured(workload)
        assert cell.measurement is not None
        checks = checked(cell.measurement, limits, estimates=self.settings.accept_estimates)
        checks += in_time(cell.workload, cell.measurement) if quantity == "neighbours" else []
        cell.limits |= {check.limit: check for check in checks}
        return checks

    def verdict_outcome(self, cell: CellState, verdict: Verdict) -> Outcome:
        """Return what a verdict comes to, as the record will have it."""
        paired = self.paired is not None
        return verdict_outcome(
            verdict, self.policy, paired=paired, confirmed=cell.unconfirmed is None
        )
