"""One pytest run: what it opened, what it measured and what it found.

It knows nothing of pytest: hooks and fixtures drive it, and show what it says.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import (
    GaitperfError,
    LeftOut,
    MeasurementError,
    ServerError,
    first_line,
)
from pytest_gaitperf.judging import Judging
from pytest_gaitperf.metrics import QUANTITIES, quantity_of
from pytest_gaitperf.policy import LimitState, Policies, Rules
from pytest_gaitperf.subjects.search import LEAST_SEARCH_S, SEARCH_S
from pytest_gaitperf.verdict import State, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_gaitperf.baseline.compare import Facts
    from pytest_gaitperf.baseline.store import CellBaseline
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.paired.gate import Paired
    from pytest_gaitperf.policy import Limit, LimitCheck
    from pytest_gaitperf.resources import Resources
    from pytest_gaitperf.runner import Effort
    from pytest_gaitperf.workload import Workload

_COOLDOWN_S = 300.0
_LEAST_S = 2.5
"""Warm-up and six windows of a fast model, in seconds; a power meter needs more."""
_ESTIMATED = (
    "the energy is an estimate, which is shown but not gated: use a real power meter, or give "
    "--gaitperf-accept-estimates"
)


@dataclass(slots=True)
class CellResult:
    """What is known of one cell so far.

    ``error`` is why it could not be measured, ``told`` whether a test has said so at length,
    ``unconfirmed`` why a suspect could not be measured again. ``judged`` holds the verdicts on all
    metrics, None before they are known, ``verdicts`` those that a test asked for.
    """

    workload: Workload
    measurement: Measurement | None = None
    again: Measurement | None = None
    error: GaitperfError | None = None
    told: bool = False
    facts: Facts | None = None
    judged: dict[str, Verdict] | None = None
    unconfirmed: GaitperfError | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    limits: dict[Limit, LimitCheck] = field(default_factory=dict)
    baseline: CellBaseline | None = None
    model_change: str | None = None


class Session:
    """The state of one run, on the ``resources`` that it works with."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.settings = resources.settings
        self.progress = resources.progress
        self.results: dict[Workload, CellResult] = {}
        self.written: list[Path] = []
        self.remark = ""
        self.problems: list[str] = []
        self._began_s = time.monotonic()
        self.policies = Policies(
            Rules(self.settings.tolerance, self.settings.limits), self.settings.model
        )
        self.paired: Paired | None = None
        if self.settings.against is not None:
            from pytest_gaitperf.paired.gate import Paired  # noqa: PLC0415 - rarely asked for

            self.paired = Paired(resources, self.policies.tolerance)
        self.judging = Judging(
            resources,
            measure=self._measured,
            counts=self.counts,
            tolerance=self.policies.tolerance,
        )
        self._hashes: dict[str, str] = {}

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
            together = planned if workload in planned and self.paired is None else [workload]
            for one in sorted(together, key=lambda one: not one.most_subjects):
                if one not in self.results and self._left_out(one) is None:
                    self._measure_first(one)
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
        from pytest_gaitperf.report.results import check_writable  # noqa: PLC0415

        interrupted = MeasurementError("the run was interrupted while this cell was measured")
        result = self.results[workload] = CellResult(workload, error=interrupted)
        try:
            # What would be lost, or cannot be judged, is found before time is spent on it.
            if self.paired is None:
                _ = self.resources.store
            if self.settings.json is not None:
                check_writable(self.settings.json)
            result.measurement = self._measured(workload)
            result.facts = self.facts(workload, result.measurement)
        except GaitperfError as error:
            result.error = error
            self.progress.say(f"{workload.id} not measured: {first_line(error)}")
            return
        result.error = None
        self.progress.cell_done(result.measurement)

    def _left_out(self, workload: Workload) -> str | None:
        """Say why a cell is not to be measured, None where it is."""
        pairs = "searching for the most subjects has no pairs"
        if workload.most_subjects:
            return f"{pairs}: leave --gaitperf-against out" if self.paired is not None else None
        if not workload.subjects:
            return None

        def is_its_search(one: Workload) -> bool:
            at = replace(
                workload,
                subjects=0,
                most_subjects=True,
                deadline_s=one.deadline_s,
                percentile=one.percentile,
            )
            return one == at

        searches = list(filter(is_its_search, self.resources.planned))
        if searches and self.paired is not None:
            return f"{pairs}, so that nothing tells whether so many are served"
        for search in searches:
            result = self.results.get(search)
            found = result.measurement if result is not None else None
            if found is None or found.invalid:
                continue
            capacity = found.metrics["subjects"].value
            if workload.subjects > capacity:
                return f"{search.key} found {capacity:.3g} subjects served: more are not measured"
        return None

    def _measured(self, workload: Workload) -> Measurement:
        from pytest_gaitperf.runner import measure  # noqa: PLC0415 - numpy, scipy

        server, metering = self.resources.server, self.resources.metering
        planned = len(self.resources.planned)
        self.progress.cell_starts(workload, len(self.results), planned, self._at_most_s(workload))
        effort = self._effort(workload)
        self._cool_down()
        try:
            server.check_alive()  # it may have died since the last cell: that has a log's end
            if self.paired is not None and (reference := self.paired.reference(workload)):
                return self.paired.measure(workload, reference, effort)
            if workload.most_subjects:
                from pytest_gaitperf.subjects.driver import measure_most_subjects  # noqa: PLC0415

                return measure_most_subjects(
                    server,
                    workload,
                    metering,
                    effort,
                    data=self.settings.data,
                    progress=self.progress.search_goes_on,
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

    @property
    def _after_s(self) -> float:
        """How long the cells may take that are still to be measured, but for the present one."""
        return sum(
            self._budget_s(workload)
            for workload in self.resources.planned
            if workload not in self.results and self._left_out(workload) is None
        )

    def _budget_s(self, workload: Workload) -> float:
        """How long a cell may take."""
        budget_s = self.settings.budget
        return max(budget_s, SEARCH_S) if workload.most_subjects else budget_s

    def _time_left_s(self) -> float:
        """How much of the run's budget is left; it began with the collection of the tests."""
        run_budget = self.settings.run_budget
        if run_budget is None:
            return math.inf
        return run_budget - (time.monotonic() - self._began_s)

    def _at_most_s(self, workload: Workload) -> float:
        """How long this cell and those left may take."""
        return max(min(self._budget_s(workload) + self._after_s, self._time_left_s()), 0.0)

    def _least_s(self, workload: Workload) -> float:
        """Return the shortest time in which a fast cell can be measured."""
        least_s = LEAST_SEARCH_S if workload.most_subjects else _LEAST_S
        return least_s + self.resources.metering.minimum_span_s

    def _effort(self, workload: Workload) -> Effort:
        """Return what a cell may cost: its budget, and no more than its share of the run's.

        What a cell does not need is shared among those that follow. Raises MeasurementError when
        too little is left for any.
        """
        from pytest_gaitperf.runner import Effort  # noqa: PLC0415 - numpy, scipy

        left_s, least_s = self._time_left_s(), self._least_s(workload)
        budget_s = self._budget_s(workload)
        if left_s < least_s:
            raise MeasurementError(
                f"of the run's budget {max(left_s, 0.0):.1f} s are left, and a cell needs "
                f"{least_s:.1f} s: raise --gaitperf-run-budget, or measure fewer cells"
            )
        share_s = max(left_s * (budget_s / (budget_s + self._after_s)), least_s)
        return Effort(self.settings.precision, min(budget_s, share_s), share_s)

    def _cool_down(self) -> None:
        """Wait for the temperature that was asked for; MeasurementError when it stays above."""
        limit_c = self.settings.cooldown
        if limit_c is None:
            return
        from pytest_gaitperf.device.cooldown import wait_for_temperature  # noqa: PLC0415

        ended = wait_for_temperature(
            limit_c,
            _COOLDOWN_S,
            progress=lambda hottest_c: self.progress.live(f"cooling down: {hottest_c:.1f} C"),
        )
        if not ended.reached:
            raise MeasurementError(
                f"the device still had {ended.hottest_c:.1f} C after {ended.waited_s:.0f} s of "
                f"cooling down to {limit_c:g} C: improve its cooling or raise --gaitperf-cooldown"
            )

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
            verdict.state is State.REGRESSED for verdict in verdicts
        ):
            regression = next(v for v in verdicts if v.state is State.REGRESSED)
            raise MeasurementError(
                f"{regression.reason}; not confirmed: {result.unconfirmed}"
            ) from result.unconfirmed
        result.verdicts |= {verdict.metric: verdict for verdict in verdicts}
        return verdicts

    def is_red(self, verdict: Verdict) -> bool:
        """Return whether a verdict fails its test."""
        # Nothing that a user could record would help a model that has no counterpart: a new one
        # must not turn every later run red.
        if verdict.state is State.MISSING:
            return self.settings.update == "none" and self.paired is None
        if verdict.state is State.INCOMPARABLE and self.paired is None:
            return self.settings.update != "all"
        if verdict.state in (State.REGRESSED, State.INVALID):
            return True
        return self.settings.strict and (verdict.provisional or verdict.state is State.INCONCLUSIVE)

    @property
    def has_errors(self) -> bool:
        """Whether a cell could not be measured, or its measurement is invalid."""
        return any(
            result.error is not None
            or (result.measurement is not None and result.measurement.invalid is not None)
            for result in self.results.values()
        )

    def facts(self, workload: Workload, measurement: Measurement) -> Facts:
        """Return what a cell's values depend on besides the device, to compare with the past."""
        from pytest_gaitperf.baseline.compare import Facts  # noqa: PLC0415
        from pytest_gaitperf.load.data import DEFAULT_DATA  # noqa: PLC0415 - numpy

        model = self.resources.server.model(workload.model, workload.version)
        return Facts(
            triton=self.resources.server.version,
            signature=model.signature,
            protocol=workload.protocol,
            transport=workload.transport,
            data="" if measurement.data == DEFAULT_DATA else measurement.data,
            rails={"energy_per_inference": self._rails(measurement)}
            if measurement.energy_rails
            else {},
            content=self._content_hash(workload.model),
        )

    def _rails(self, measurement: Measurement) -> str:
        """Name the rails of the total; an estimate also by its watts, so that they never mix."""
        return self.settings.power if measurement.estimated else "+".join(measurement.energy_rails)

    def _content_hash(self, model: str) -> str:
        from pytest_gaitperf.gait.repository import content_hash  # noqa: PLC0415

        if model not in self._hashes:
            directory = self.settings.triton_repository / model
            ours = self.resources.server.mode != "attach" and directory.is_dir()
            self._hashes[model] = content_hash(directory) if ours else ""
        return self._hashes[model]
