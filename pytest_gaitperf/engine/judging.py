"""The verdicts of a run: its cells against their baselines, suspects measured once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.gate.verdict import SessionValue, variance_prior
from pytest_gaitperf.metrics import GATED
from pytest_gaitperf.report.progress import Place
from pytest_gaitperf.results import Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.engine.session import CellResult
    from pytest_gaitperf.gate.joint import Comparison, Finding, Judgement
    from pytest_gaitperf.gate.prediction import VariancePrior
    from pytest_gaitperf.gate.verdict import Recorded
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class Judging:
    """Judges measured cells together, and says what it found beyond single cells.

    ``measure`` measures a cell once more, ``counts`` tells whether a metric of a measurement is
    to be gated, ``tolerance`` the relative change that does not matter.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        measure: Callable[[Workload], Measurement],
        counts: Callable[[Measurement, str], bool],
        tolerance: Callable[[Workload, str], float],
    ) -> None:
        self.findings: list[Finding] = []
        self.again: Place | None = None
        """Which suspect is being measured once more, None while none is."""
        self._resources = resources
        self._measure = measure
        self._counts = counts
        self._tolerance = tolerance
        self._priors: dict[str, VariancePrior | None] = {}
        self._unplanned = 0

    def judge(self, results: Iterable[CellResult], *, planned: bool) -> None:
        """Judge cells jointly; each then has a verdict on every metric that was measured.

        The ``planned`` cells of a run are judged in one call. A cell that a test measures by hand
        comes by itself, when it comes: the k-th of these gets 1 / (k (k + 1)) of an alpha, all
        alpha where nothing was planned, else half of it, so that the run keeps its alpha in all.
        """
        from pytest_gaitperf.gate.joint import confirm_jointly, judge_jointly  # noqa: PLC0415 - numpy

        chosen: list[tuple[CellResult, str]] = []
        comparisons: list[Comparison] = []
        for result in results:
            result.judged = {}
            for metric, comparison in self._comparisons(result):
                if isinstance(comparison, Verdict):
                    result.judged[metric] = comparison
                else:
                    chosen.append((result, metric))
                    comparisons.append(comparison)
        alpha = self._share(planned=planned)
        priors = _Priors(self._prior)
        judgement = judge_jointly(comparisons, alpha, priors)
        if judgement.suspects:
            again = self._again(chosen, judgement)
            judgement = confirm_jointly(comparisons, judgement, again, alpha, priors)
        for (result, metric), verdict in zip(chosen, judgement.verdicts, strict=True):
            disturbed = result.again.invalid if result.again is not None else None
            if disturbed and verdict.state is VerdictKind.REGRESSED:
                # A disturbed re-measurement acquits nobody.
                verdict = Verdict(metric, VerdictKind.INVALID, disturbed, now=verdict.now)  # noqa: PLW2901
            assert result.judged is not None  # noqa: S101 - made above
            result.judged[metric] = verdict
        self.findings += judgement.findings

    def _share(self, *, planned: bool) -> float:
        alpha = self._resources.settings.alpha
        if planned:
            return alpha / 2 if self._resources.by_hand else alpha
        self._unplanned += 1
        rest = alpha / 2 if self._resources.planned else alpha
        return rest / (self._unplanned * (self._unplanned + 1))

    def _comparisons(self, result: CellResult) -> Iterator[tuple[str, Comparison | Verdict]]:
        """Yield what each metric is to be compared with, or its verdict where it cannot be."""
        from pytest_gaitperf.gate.joint import Comparison  # noqa: PLC0415 - as above

        workload, measurement, facts = result.workload, result.measurement, result.facts
        if measurement is None or facts is None:
            return
        metrics = [
            metric
            for metric in GATED
            if metric in measurement.metrics and self._counts(measurement, metric)
        ]
        if measurement.invalid:
            for metric in metrics:
                now = measurement.metrics[metric].value
                yield metric, Verdict(metric, VerdictKind.INVALID, measurement.invalid, now=now)
            return
        if not metrics:
            return
        baseline = result.baseline = self._resources.store.cell(workload.model, workload.key)
        if baseline is not None:
            result.model_change = baseline.content_change(facts)
        for metric in metrics:
            value = session_value(measurement, metric)
            sessions: Mapping[str, Recorded] = {}
            if baseline is not None:
                sessions, differing = baseline.comparable(facts, metric)
                if differing is not None:
                    yield (
                        metric,
                        Verdict(metric, VerdictKind.INCOMPARABLE, differing, now=value.value),
                    )
                    continue
            tolerance = self._tolerance(workload, metric)
            yield metric, Comparison(workload.model, metric, value, sessions, tolerance)

    def _prior(self, metric: str) -> VariancePrior | None:
        """Return what the profile's cells say of this metric's variance between sessions."""
        if metric not in self._priors:
            self._priors[metric] = variance_prior(
                [
                    value
                    for session in cell.sessions
                    if (value := session.values.get(metric)) is not None
                ]
                for cell in self._resources.store.cells()
            )
        return self._priors[metric]

    def _again(
        self, chosen: Sequence[tuple[CellResult, str]], judgement: Judgement
    ) -> dict[int, SessionValue]:
        """Measure the suspects once more, on a server started anew where it is ours."""
        progress = self._resources.progress
        why: dict[Workload, tuple[CellResult, str]] = {}
        for i in judgement.suspects:
            result, _ = chosen[i]
            why.setdefault(result.workload, (result, judgement.verdicts[i].reason))
        failed: GaitperfError | None = None
        try:
            self._resources.restart_server()
        except GaitperfError as error:
            failed = error
        for number, (workload, (result, reason)) in enumerate(why.items()):
            result.unconfirmed = failed
            if failed is not None:
                continue
            progress.say(f"{workload.id}: {reason}; measuring it once more")
            self.again = Place(number + 1, len(why), 0, len(why) - number, again=True)
            try:
                result.again = self._measure(workload)
            except GaitperfError as error:
                result.unconfirmed = error
        self.again = None
        values = {}
        for i in judgement.suspects:
            result, metric = chosen[i]
            if result.again is None or result.again.invalid or metric not in result.again.metrics:
                continue
            values[i] = session_value(result.again, metric)
        return values


class _Priors(Mapping[str, "VariancePrior | None"]):
    """The priors by metric, each learnt when it is asked for: most runs need none."""

    def __init__(self, learn: Callable[[str], VariancePrior | None]) -> None:
        self._learn = learn

    def __getitem__(self, metric: str) -> VariancePrior | None:
        return self._learn(metric)

    def __iter__(self) -> Iterator[str]:
        return iter(GATED)

    def __len__(self) -> int:
        return len(GATED)


def session_value(measurement: Measurement, metric: str) -> SessionValue:
    """Return what the gate needs of one metric."""
    return SessionValue(
        measurement.metrics[metric].value,
        measurement.spread.get(metric),
        measurement.spread_windows.get(metric, 0),
    )
