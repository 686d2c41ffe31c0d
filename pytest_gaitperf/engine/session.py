"""One pytest run: what it opened, what it measured and what it found.

It knows nothing of pytest: hooks and fixtures drive it, and show what it says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_gaitperf.config.policy import Policies, Rules
from pytest_gaitperf.engine.fingerprint import FactsOf
from pytest_gaitperf.engine.judging import Judging
from pytest_gaitperf.engine.pacing import Pacing
from pytest_gaitperf.engine.repetition import Repetition
from pytest_gaitperf.errors import (
    GaitperfError,
    LeftOut,
    MeasurementError,
    ServerError,
    first_line,
)
from pytest_gaitperf.measure.capacity.left_out import left_out
from pytest_gaitperf.metrics import QUANTITIES, quantity_of
from pytest_gaitperf.results import LimitState, Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_gaitperf.baseline.cells import Fingerprint
    from pytest_gaitperf.baseline.store import CellBaseline
    from pytest_gaitperf.config.policy import Limit
    from pytest_gaitperf.engine.paired import Paired
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import LimitCheck
    from pytest_gaitperf.workload import Workload

_MOST_NAMED = 5
_ESTIMATED = (
    "the energy is an estimate, which is shown but not gated: use a real power meter, or give "
    "--gaitperf-accept-estimates"
)


@dataclass(slots=True)
class CellResult:
    """What is known of one cell so far.

    ``error`` is why it could not be measured, ``told`` whether a test has said so at length,
    ``unconfirmed`` why a suspect could not be measured again. ``judged`` holds the verdicts on all
    metrics, None before they are known, ``verdicts`` those that a test asked for. ``further`` are
    the measurements of the run's second session, its third...; ``recorded`` is how many sessions of
    it the baseline got.
    """

    workload: Workload
    measurement: Measurement | None = None
    again: Measurement | None = None
    error: GaitperfError | None = None
    told: bool = False
    facts: Fingerprint | None = None
    judged: dict[str, Verdict] | None = None
    unconfirmed: GaitperfError | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    limits: dict[Limit, LimitCheck] = field(default_factory=dict)
    baseline: CellBaseline | None = None
    model_change: str | None = None
    further: list[Measurement] = field(default_factory=list)
    recorded: int = 0


class Session:
    """The state of one run, on the ``resources`` that it works with."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.settings = resources.settings
        self.progress = resources.progress
        self.results: dict[Workload, CellResult] = {}
        self.written: list[Path] = []
        self.remarks: list[str] = []
        self.orphans: dict[str, list[str]] | None = None
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.policies = Policies(
            Rules(self.settings.tolerance, self.settings.limits), self.settings.model
        )
        self.paired: Paired | None = None
        if self.settings.against is not None:
            from pytest_gaitperf.engine.paired import Paired  # noqa: PLC0415 - rarely asked for

            self.paired = Paired(resources, self.policies.tolerance)
        self.judging = Judging(
            resources,
            measure=self._measured,
            counts=self.counts,
            tolerance=self.policies.tolerance,
        )
        self.pacing = Pacing(resources, self._ahead)
        self.facts = FactsOf(resources, starts=lambda: len(self.repetition.began_s))
        self.repetition = Repetition(resources, measure=self._measured, facts=self.facts)
        self.accuracy: dict[str, float] = {}
        if self.settings.accuracy is not None:
            from pytest_gaitperf.config.accuracy import read_accuracy  # noqa: PLC0415 - rarely given

            self.accuracy = read_accuracy(self.settings.accuracy)

    # Measuring

    def measure(self, workload: Workload) -> CellResult:
        """Measure a cell once; later calls give the same result.

        With the first planned cell all planned ones are measured, since only together they can be
        judged; one that cannot be measured does not keep the others from it. Searches come first:
        what they find to be too much for a model is not measured. Raises GaitperfError, again at
        each call, when the cell cannot be measured: at first with all there is to say, then in one
        line; LeftOut when it is not to be.
        """
        if workload not in self.results:
            planned = self.resources.planned
            together = workload in planned and self.paired is None
            for one in (
                sorted(planned, key=lambda cell: not cell.most_subjects) if together else [workload]
            ):
                if one not in self.results and self._left_out(one) is None:
                    self._measure_first(one)
            if together and self.repetition.sessions > 1:
                self._measure_further([self.results[one] for one in planned if one in self.results])
        if workload not in self.results:
            raise LeftOut(self._left_out(workload))
        result = self.results[workload]
        if result.error is not None:
            if result.told:
                raise MeasurementError(first_line(result.error))
            result.told = True
            raise result.error
        return result

    def _measure_first(self, workload: Workload) -> None:
        """Measure a cell, and note the result or why there is none."""
        from pytest_gaitperf.files import check_writable  # noqa: PLC0415

        self.repetition.begins()
        interrupted = MeasurementError("the run was interrupted while this cell was measured")
        result = self.results[workload] = CellResult(workload, error=interrupted)
        try:
            # What would be lost, or cannot be judged, is found before time is spent on it.
            if self.paired is None:
                _ = self.resources.store
            settings = self.settings
            traces = settings.power_trace and settings.power_trace / workload.id
            asked = (settings.json, settings.report, traces, *settings.exports.values())
            for path in filter(None, asked):
                check_writable(path)
            if self.settings.report is not None:
                from pytest_gaitperf.report.html.page import require_plotly  # noqa: PLC0415

                require_plotly()
            result.measurement = self._measured(workload)
            result.facts = self.facts(workload, result.measurement)
        except GaitperfError as error:
            result.error = error
            self.progress.say(f"{workload.id} not measured: {first_line(error)}")
            return
        result.error = None
        self.progress.cell_done(result.measurement)

    def _measure_further(self, results: Sequence[CellResult]) -> None:
        """Measure what is to be recorded in the run's further sessions.

        The first is judged before: after a red one nothing can be recorded, and the time is saved.
        """
        from pytest_gaitperf.engine.recording import chosen  # noqa: PLC0415 - only when recording

        unfit = [one.workload.id for one in results if self.is_unfit(one)]
        if not unfit:
            self.judging.judge(results, planned=True)
            unfit = [one.workload.id for one in results if self.is_unfit(one)]
        if unfit:
            more = f" and {len(unfit) - _MOST_NAMED} more" if len(unfit) > _MOST_NAMED else ""
            self.repetition.stop(
                f"only the first of {self.repetition.sessions} sessions was measured, since it "
                f"cannot be recorded: {', '.join(unfit[:_MOST_NAMED])}{more}"
            )
            return
        self.repetition.run(chosen(self.settings.update, results))

    def is_unfit(self, result: CellResult) -> bool:
        """Return whether a cell keeps its run from being recorded, as far as is known."""
        return (
            result.measurement is None
            or result.measurement.invalid is not None
            or result.measurement.energy_failed
            or result.unconfirmed is not None
            or any(self.is_red(verdict) for verdict in (result.judged or {}).values())
        )

    def _left_out(self, workload: Workload) -> str | None:
        """Say why a cell is not to be measured, None where it is."""

        def measured(one: Workload) -> Measurement | None:
            return self.results[one].measurement if one in self.results else None

        planned, paired = self.resources.planned, self.paired is not None
        return left_out(workload, planned, measured, paired=paired)

    def _ahead(self) -> Iterator[Workload]:
        """Yield what is still to be measured after the present cell, once for each time."""
        for workload in self.resources.planned:
            if workload not in self.results and self._left_out(workload) is None:
                yield workload
        yield from self.repetition.ahead()

    def _measured(self, workload: Workload) -> Measurement:
        from pytest_gaitperf.measure.cell import measure  # noqa: PLC0415 - numpy, scipy

        server, metering = self.resources.server, self.resources.metering
        at_most_s = self.pacing.at_most_s(workload)
        if self.judging.again is not None:
            place = self.judging.again
            at_most_s *= place.left
        else:
            place = self.repetition.place(len(self.results), 1 + sum(1 for _ in self._ahead()))
        self.progress.cell_starts(workload, place, at_most_s)
        effort = self.pacing.effort(workload)
        if self.settings.cooldown is not None:
            from pytest_gaitperf.host.cooldown import cool_down  # noqa: PLC0415 - rarely asked for

            cool_down(self.settings.cooldown, self.progress.live)
        try:
            server.check_alive()  # it may have died since the last cell: that has a log's end
            if self.paired is not None and (reference := self.paired.reference(workload)):
                return self.paired.measure(workload, reference, effort)
            if workload.most_subjects:
                from pytest_gaitperf.measure.capacity.driver import measure_most_subjects  # noqa: PLC0415

                return measure_most_subjects(
                    server,
                    workload,
                    metering,
                    effort,
                    data=self.settings.data,
                    progress=self.progress.text_goes_on,
                )
            return measure(
                server,
                workload,
                metering,
                effort,
                data=self.settings.data,
                progress=self.progress.cell_goes_on,
            )
        except ServerError as error:
            self.resources.lose_server(
                f"the server was lost during {workload.id} ({first_line(error)})"
            )
            raise

    # Judging

    def absent(self, workload: Workload, quantity: str) -> str | None:
        """Say why a quantity (a key of ``QUANTITIES``) of a measured cell has no value, else None.

        It has one when its first metric could be measured.
        """
        if quantity not in workload.quantities:
            return f"{workload.key} has no {quantity} to gate, but " + " and ".join(
                workload.quantities
            )
        measurement = self.measure(workload).measurement
        assert measurement is not None  # noqa: S101 - measure() raised otherwise
        metric = QUANTITIES[quantity][0]
        if metric not in measurement.metrics:
            return f"{metric}: {measurement.absent[metric]}"
        if quantity == "energy" and not self.counts_as_energy(measurement):
            return _ESTIMATED
        return None

    def counts(self, measurement: Measurement, metric: str) -> bool:
        """Return whether a gated metric of a measurement is to be judged, and recorded."""
        quantity = quantity_of(metric)
        if quantity not in measurement.workload.quantities:
            return False
        return quantity != "energy" or self.counts_as_energy(measurement)

    def counts_as_energy(self, measurement: Measurement) -> bool:
        """Return whether energy is gated and recorded; that an estimate is must be asked for."""
        return not measurement.estimated or self.settings.accept_estimates

    def check(self, workload: Workload, limits: Iterable[Limit]) -> list[LimitCheck]:
        """Compare a measured cell with limits, its first measurement always."""
        result = self.measure(workload)
        measurement = result.measurement
        assert measurement is not None  # noqa: S101 - measure() raised otherwise
        checks = []
        for limit in limits:
            estimate = measurement.metrics.get(limit.metric)
            absent = measurement.absent.get(limit.metric, f"nothing measures {limit.metric} here")
            if quantity_of(limit.metric) == "energy" and not self.counts_as_energy(measurement):
                estimate, absent = None, _ESTIMATED
            check = result.limits[limit] = limit.check(estimate, absent)
            checks.append(check)
        return checks

    def is_broken(self, check: LimitCheck) -> bool:
        """Return whether a limit fails its test.

        What could not be measured does, except energy where the user said ``--power=none``. With
        ``--gaitperf-strict`` the whole interval must be within.
        """
        if check.state is LimitState.MET:
            return self.settings.strict and not check.sure
        left_out = self.settings.power == "none" and quantity_of(check.limit.metric) == "energy"
        return not (check.state is LimitState.UNMEASURED and left_out)

    def judge(self, workload: Workload, quantity: str) -> list[Verdict]:
        """Return the verdicts on one quantity of a measured cell, of the metrics it has.

        The planned cells are judged together when the first is asked for; suspects are then
        measured once more, and a regression stands only if that confirms it. Raises GaitperfError
        for a suspect that could not be measured again.
        """
        result = self.measure(workload)
        if self.paired is not None:
            verdicts = self.paired.judge(workload, quantity)
            result.verdicts |= {verdict.metric: verdict for verdict in verdicts}
            return verdicts
        if result.judged is None:
            planned = self.resources.planned
            together = planned if workload in planned else [workload]
            known = [self.results[one] for one in together if one in self.results]
            self.judging.judge(known, planned=workload in planned)
        judged = result.judged or {}
        verdicts = [judged[metric] for metric in QUANTITIES[quantity] if metric in judged]
        if result.unconfirmed is not None and any(
            verdict.state is VerdictKind.REGRESSED for verdict in verdicts
        ):
            regression = next(v for v in verdicts if v.state is VerdictKind.REGRESSED)
            raise MeasurementError(
                f"{regression.reason}; not confirmed: {result.unconfirmed}"
            ) from result.unconfirmed
        result.verdicts |= {verdict.metric: verdict for verdict in verdicts}
        return verdicts

    def judge_rest(self) -> None:
        """Judge the measured cells that no test has asked about: they may be recorded too."""
        planned = [self.results[one] for one in self.resources.planned if one in self.results]
        if any(result.judged is None for result in planned):
            self.judging.judge(planned, planned=True)
        for result in self.results.values():
            if result.judged is None:
                self.judging.judge([result], planned=False)

    def is_red(self, verdict: Verdict) -> bool:
        """Return whether a verdict fails its test."""
        # Nothing that a user could record would help a model that has no counterpart: a new one
        # must not turn every later run red.
        if verdict.state is VerdictKind.MISSING:
            return self.settings.update == "none" and self.paired is None
        if verdict.state is VerdictKind.INCOMPARABLE and self.paired is None:
            return self.settings.update != "all"
        if verdict.state is VerdictKind.REGRESSED and self.settings.accept_regressions:
            return False
        if verdict.state in (VerdictKind.REGRESSED, VerdictKind.INVALID):
            return True
        return self.settings.strict and (
            verdict.provisional or verdict.state is VerdictKind.INCONCLUSIVE
        )

    @property
    def has_errors(self) -> bool:
        """Whether a cell could not be measured, or its measurement is invalid."""
        return self.resources.device_refused or any(
            result.error is not None
            or (result.measurement is not None and result.measurement.invalid is not None)
            for result in self.results.values()
        )
