"""One pytest run: what it opened, what it measured, what it found, and what it records.

It knows nothing of pytest: hooks and fixtures drive it, and show what it says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError, MeasurementError, ServerError, first_line
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.verdict import Policy, SessionValue, State, Verdict, confirm, judge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_gaitperf.baseline.compare import Facts
    from pytest_gaitperf.baseline.store import CellBaseline
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.paired.gate import Paired
    from pytest_gaitperf.resources import Resources
    from pytest_gaitperf.stats.prediction import VariancePrior
    from pytest_gaitperf.workload import Workload

RECORDED = (
    "throughput",
    "latency_p50",
    "latency_p99",
    "energy_per_inference",
    "server_cpu_per_inference",
)
"""The metrics that a baseline keeps."""

_COOLDOWN_S = 300.0
_METRICS_PER_CELL = sum(len(metrics) for metrics in QUANTITIES.values())


@dataclass(slots=True)
class CellResult:
    """What is known of one cell so far; ``error`` is why it could not be measured."""

    workload: Workload
    measurement: Measurement | None = None
    again: Measurement | None = None
    error: GaitperfError | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
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
        self.paired: Paired | None = None
        if self.settings.against is not None:
            from pytest_gaitperf.paired.gate import Paired  # noqa: PLC0415 - rarely asked for

            self.paired = Paired(resources)
        self._priors: dict[str, VariancePrior | None] = {}
        self._hashes: dict[str, str] = {}

    # Measuring

    def measure(self, workload: Workload) -> CellResult:
        """Measure a cell once; later calls give the same result.

        Raises GaitperfError, again at each call, when the cell cannot be measured: at first with
        all there is to say, then in one line.
        """
        from pytest_gaitperf.report.results import check_writable  # noqa: PLC0415

        result = self.results.get(workload)
        if result is None:
            interrupted = MeasurementError("the run was interrupted while this cell was measured")
            result = self.results[workload] = CellResult(workload, error=interrupted)
            try:
                # What would be lost, or cannot be judged, is found before time is spent on it.
                if self.paired is None:
                    _ = self.resources.store
                if self.settings.json is not None:
                    check_writable(self.settings.json)
                result.measurement = self._measured(workload)
            except GaitperfError as error:
                result.error = error
                raise
            result.error = None
            self.progress.cell_done(result.measurement)
        if result.error is not None:
            raise MeasurementError(first_line(result.error))
        return result

    def _measured(self, workload: Workload) -> Measurement:
        from pytest_gaitperf.runner import Effort, measure  # noqa: PLC0415 - numpy, scipy

        server, metering = self.resources.server, self.resources.metering
        self.progress.cell_starts(workload, len(self.results), len(self.resources.planned))
        self._cool_down()
        try:
            server.check_alive()  # it may have died since the last cell: that has a log's end
            if self.paired is not None and (reference := self.paired.reference(workload)):
                return self.paired.measure(workload, reference)
            return measure(
                server,
                workload,
                metering,
                Effort(self.settings.precision, self.settings.budget),
                progress=self.progress.cell_goes_on,
            )
        except ServerError as error:
            self.resources.lose_server(
                f"the server was lost during {workload.id} ({first_line(error)})"
            )
            raise

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
        measurement = self.measure(workload).measurement
        assert measurement is not None  # noqa: S101 - measure() raised otherwise
        metric = QUANTITIES[quantity][0]
        if metric not in measurement.metrics:
            return f"{metric}: {measurement.absent[metric]}"
        if quantity == "energy" and not self._counts_as_energy(measurement):
            return (
                "the energy is an estimate, which is shown but not gated: use a real power meter, "
                "or give --gaitperf-accept-estimates"
            )
        return None

    def _counts_as_energy(self, measurement: Measurement) -> bool:
        return not measurement.estimated or self.settings.accept_estimates

    def judge(self, workload: Workload, quantity: str) -> list[Verdict]:
        """Judge the metrics of one quantity of a measured cell: those that could be measured.

        A regression is measured once more, and stands only if that confirms it. Raises
        GaitperfError when the cell cannot be measured again.
        """
        result = self.measure(workload)
        measurement = result.measurement
        assert measurement is not None  # noqa: S101 - measure() raised otherwise
        if self.paired is not None:
            verdicts = self.paired.judge(workload, quantity)
            result.verdicts |= {verdict.metric: verdict for verdict in verdicts}
            return verdicts
        verdicts = []
        for metric in QUANTITIES[quantity]:
            if metric not in measurement.metrics:
                continue
            verdict = self._judged(result, measurement, metric)
            if verdict.state is State.REGRESSED:
                verdict = self._confirmed(result, verdict)
            result.verdicts[metric] = verdict
            verdicts.append(verdict)
        return verdicts

    def _judged(self, result: CellResult, measurement: Measurement, metric: str) -> Verdict:
        workload = result.workload
        baseline = result.baseline = self.resources.store.cell(workload.model, workload.key)
        now = session_value(measurement, metric)
        if measurement.invalid:
            return Verdict(metric, State.INVALID, measurement.invalid, now=now.value)
        sessions: Sequence[SessionValue] = ()
        if baseline is not None:
            facts = self.facts(workload, measurement)
            result.model_change = baseline.content_change(facts)
            values, differing = baseline.comparable(facts, metric)
            if differing is not None:
                return Verdict(metric, State.INCOMPARABLE, differing, now=now.value)
            sessions = [SessionValue(item.value, item.spread, item.n) for item in values]
        policy = Policy(
            tolerance=self.settings.tolerance,
            alpha=self.settings.alpha,
            comparisons=max(1, len(self.resources.planned) * _METRICS_PER_CELL),
        )
        return judge(metric, now, sessions, policy, self._prior(metric))

    def _prior(self, metric: str) -> VariancePrior | None:
        """Return what the profile's other cells say of this metric's variance between sessions."""
        if metric not in self._priors:
            from pytest_gaitperf.verdict import variance_prior  # noqa: PLC0415

            self._priors[metric] = variance_prior(
                [
                    SessionValue(value.value, value.spread, value.n)
                    for session in cell.sessions
                    if (value := session.values.get(metric)) is not None
                ]
                for cell in self.resources.store.cells()
            )
        return self._priors[metric]

    def _confirmed(self, result: CellResult, first: Verdict) -> Verdict:
        """Measure a suspect once more and let that decide."""
        if result.again is None:
            self.progress.say(f"{result.workload.id}: {first.reason}; measuring it once more")
            result.again = self._measured(result.workload)
        if first.metric not in result.again.metrics:
            return first
        second = self._judged(result, result.again, first.metric)
        # A disturbed re-measurement acquits nobody.
        return second if second.state is State.INVALID else confirm(first, second)

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

        model = self.resources.server.model(workload.model, workload.version)
        return Facts(
            triton=self.resources.server.version,
            signature=model.signature,
            protocol=workload.protocol,
            transport=workload.transport,
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

    # Ending

    def record(self, *, clean: bool) -> None:
        """Write the baselines that were asked for; ``clean`` is whether nothing failed.

        Raises BaselineError when they cannot be written.
        """
        update = self.settings.update
        if update == "none" or not self.results:
            return
        chosen = [
            result
            for result in self.results.values()
            if result.measurement is not None
            and (
                update == "all"
                or any(verdict.state is State.MISSING for verdict in result.verdicts.values())
            )
        ]
        if not chosen:
            return
        if not clean:
            self.remark = (
                "no baseline was written, since the run was not green: only a clean run becomes "
                "a baseline"
            )
            return
        from pytest_gaitperf.baseline.store import Value  # noqa: PLC0415
        from pytest_gaitperf.report.environment import provenance  # noqa: PLC0415

        for result in chosen:
            measurement = result.measurement
            assert measurement is not None  # noqa: S101 - chosen so
            facts = self.facts(result.workload, measurement)
            values = {
                metric: Value(
                    measurement.metrics[metric].value,
                    measurement.spread.get(metric),
                    measurement.spread_windows.get(metric, 0),
                    facts.rails.get(metric, ""),
                )
                for metric in RECORDED
                if metric in measurement.metrics
                and (metric != "energy_per_inference" or self._counts_as_energy(measurement))
            }
            workload = result.workload
            self.resources.store.record(
                workload.model, workload.key, facts, values, workload.version
            )
        self.written = self.resources.store.write(provenance(time.time()))


def session_value(measurement: Measurement, metric: str) -> SessionValue:
    """Return what the gate needs of one metric."""
    return SessionValue(
        measurement.metrics[metric].value,
        measurement.spread.get(metric),
        measurement.spread_windows.get(metric, 0),
    )
