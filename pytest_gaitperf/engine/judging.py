"""The verdicts of a run: its cells against their baselines, and what a second look confirms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msgspec import structs

from pytest_gaitperf.baseline.admission import percentile_margin
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.gate.joint import Judgement, confirm_jointly, judge_jointly
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import SessionValue
from pytest_gaitperf.metrics import GATED, PEAKS, QUANTITIES, quantity_of
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.stats import PERCENTILE_MARGIN

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.baseline.store import BaselineStore
    from pytest_gaitperf.config.policy import Policies
    from pytest_gaitperf.engine.cells import CellState
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload

_SERVER_GONE = "the server could not be asked afterwards what it had served"
_CLEARLY_MORE = 3.0
_SEVERAL = 2
_ONLY_PAIRS = (
    "all models changed alike, as they do where the machine did: only pairs can tell "
    "(--gaitperf-against, --gaitperf-reference)"
)


@dataclass(frozen=True, slots=True)
class Case:
    """Cells that are judged together: what was compared, and what came of it."""

    compared: Sequence[tuple[CellState, str]]
    comparisons: Sequence[Comparison]
    judgement: Judgement
    alpha: float

    def suspects(self, known: Container[int] = ()) -> list[tuple[CellState, str]]:
        """Return the cells that seem to have regressed, each once, with the reason.

        For more than the comparisons in ``known``. Answers are no suspects: they hang on the model
        alone, and a second look shows the same.
        """
        found: dict[int, tuple[CellState, str]] = {}
        for i in self.judgement.suspects:
            cell = self.compared[i][0]
            if i not in known and self.compared[i][1] not in QUANTITIES["accuracy"]:
                found.setdefault(id(cell), (cell, self.judgement.verdicts[i].reason))
        return list(found.values())


def judge(
    cells: Iterable[CellState],
    store: BaselineStore,
    policies: Policies,
    *,
    alpha: float,
    estimates: bool,
) -> Case:
    """Judge measured cells jointly; each has a verdict on every gated metric afterwards.

    An invalid measurement is not judged. ``alpha`` is the false-alarm probability of all of them
    together; ``estimates``: energy that is only estimated is judged too.
    """
    compared: list[tuple[CellState, str]] = []
    comparisons: list[Comparison] = []
    for cell in cells:
        cell.judged = {}
        for metric, comparison in _comparisons(cell, store, policies, estimates=estimates):
            if isinstance(comparison, Verdict):
                cell.judged[metric] = comparison
            else:
                compared.append((cell, metric))
                comparisons.append(comparison)
    return _kept(Case(compared, comparisons, judge_jointly(comparisons, alpha), alpha))


def confirm(case: Case, known: Container[int] = ()) -> Case:
    """Keep the regressions that the second measurements of the suspects' cells show too.

    A cell whose second measurement lacks what was red in the first is unconfirmed, unless something
    else of it is red again. The suspects in ``known`` are decided elsewhere.
    """
    again = {
        i: session_value(cell.again, metric)
        for i, (cell, metric) in enumerate(case.compared)
        if cell.again is not None and not cell.again.invalid and not _lost(cell, metric)
    }
    judgement = confirm_jointly(case.comparisons, case.judgement, again, case.alpha)
    red = {id(case.compared[i][0]) for i in again if i in judgement.suspects}
    for i in judgement.suspects:
        cell, metric = case.compared[i]
        if i in again or i in known or id(cell) in red or metric in QUANTITIES["accuracy"]:
            continue
        if cell.unconfirmed is None:
            cell.unconfirmed = MeasurementError(_lost(cell, metric))
    return _kept(Case(case.compared, case.comparisons, judgement, case.alpha))


def _lost(cell: CellState, metric: str) -> str:
    """Say why the second measurement does not tell of a metric, "" where it does."""
    first, again = cell.measurement, cell.again
    if again is None or metric not in again.metrics:
        why = "it was not measured" if again is None else again.why_absent(metric)
        return f"{metric} was not measured again: {why}"
    if metric in PEAKS and first is not None and again.loads != first.loads:
        return f"{metric} was measured again under {', '.join(again.loads) or 'no load'} only"
    return ""


def confirm_in_pairs(case: Case, first: Case, found: Mapping[int, Verdict], reference: str) -> Case:
    """Keep the regressions of ``first`` that a comparison in pairs shows too.

    ``found`` has the verdicts in pairs on some of its suspects, by index; ``case`` has the rest. A
    confirmed regression has the numbers of the pairs. Of one that is not, those of the stored
    comparison stay, so that a level that only the machine moved is not recorded. Where the pairs
    decide nothing, the cell is ``unconfirmed``.
    """
    verdicts = list(case.judgement.verdicts)
    for i, pair in found.items():
        stored = first.judgement.verdicts[i]
        if pair.kind is VerdictKind.REGRESSED:
            reason = f"{pair.reason}; at first, beside the baseline: {stored.reason}"
            verdicts[i] = structs.replace(pair, reason=reason)
        elif pair.kind is VerdictKind.INCONCLUSIVE:
            verdicts[i] = stored
            cell = case.compared[i][0]
            cell.unconfirmed = MeasurementError(f"in pairs with {reference}: {pair.reason}")
        else:
            verdicts[i] = structs.replace(
                stored,
                kind=VerdictKind.INCONCLUSIVE,
                reason=f"a regression that pairs with {reference} did not confirm: first "
                f"{stored.reason}; then {pair.kind.value}: {pair.reason}",
            )
    for i, pair in found.items():
        if pair.kind is VerdictKind.REGRESSED:  # one confirmed metric is enough
            case.compared[i][0].unconfirmed = None
    red = {i for i, verdict in enumerate(verdicts) if verdict.kind is VerdictKind.REGRESSED}
    worse = tuple(
        claim
        if red & set(claim.shift.cells) or not found.keys() & set(claim.shift.cells)
        else claim._replace(finding=None)
        for claim in case.judgement.worse
    )
    judgement = replace(case.judgement, verdicts=tuple(verdicts), worse=worse)
    return _kept(replace(case, judgement=judgement))


def doubt(case: Case) -> None:
    """Leave unconfirmed what is red for a change of the whole run alone, where models are several.

    Nothing beside them cancels what the machine does: a shared one is a quarter slower from one
    minute to the next, and a second measurement in the same minutes finds that again. So it may be
    a regression of all models, and is never green; but red are only those that did worse than the
    others, and those that pairs confirm.
    """
    if len({one.model for one in case.comparisons}) < _SEVERAL:
        return
    for cell, _ in case.compared:
        verdicts = (cell.judged or {}).values()
        red = [one for one in verdicts if one.kind is VerdictKind.REGRESSED]
        if red and all(one.scope == "run" for one in red):
            cell.unconfirmed = cell.unconfirmed or MeasurementError(_ONLY_PAIRS)


def counts(workload: Workload, measurement: Measurement, metric: str, *, estimates: bool) -> bool:
    """Return whether a gated metric of a measurement is to be judged, and recorded."""
    if quantity_of(metric) not in workload.quantities:
        return False
    return estimates or not measurement.estimates(metric)


def session_value(measurement: Measurement, metric: str) -> SessionValue:
    """Return what the gate needs of one metric."""
    value = measurement.metrics[metric].value
    return SessionValue(value, measurement.spread.get(metric), measurement.lives)


def _kept(case: Case) -> Case:
    for (cell, metric), verdict in zip(case.compared, case.judgement.verdicts, strict=True):
        if cell.judged is not None:
            cell.judged[metric] = verdict
    return case


def _comparisons(
    cell: CellState, store: BaselineStore, policies: Policies, *, estimates: bool
) -> Iterator[tuple[str, Comparison | Verdict]]:
    """Yield what each metric is to be compared with, or its verdict where it cannot be."""
    workload, measurement, fingerprint = cell.workload, cell.measurement, cell.fingerprint
    if measurement is None or measurement.invalid:
        return
    gated = [
        metric
        for metric in GATED
        if metric in measurement.metrics
        and counts(workload, measurement, metric, estimates=estimates)
    ]
    if fingerprint is None:
        cell.lacking |= dict.fromkeys(filter(None, map(quantity_of, gated)), _SERVER_GONE)
        return
    cell.baseline = store.cell_of(workload, fingerprint)
    if cell.baseline is not None:
        cell.model_change = cell.baseline.content_change(fingerprint)
    for metric in gated:
        if _too_few_requests(cell.baseline, measurement, metric):
            continue
        value = session_value(measurement, metric)
        if wrong := measurement.wrong(metric):
            yield metric, Verdict(metric, VerdictKind.REGRESSED, wrong, now=value.value)
            continue
        sessions: Mapping[str, SessionValue] = {}
        if cell.baseline is not None:
            sessions, differing = cell.baseline.comparable(fingerprint, metric)
            if differing is not None:
                yield metric, Verdict(metric, VerdictKind.INCOMPARABLE, differing, now=value.value)
                continue
        tolerance = policies.tolerance(workload, metric)
        must_hear = policies.must_hear(workload, metric)
        yield (
            metric,
            Comparison(workload.model, metric, value, sessions, tolerance, must_hear, workload.id),
        )


def _too_few_requests(baseline: CellBaseline | None, measurement: Measurement, metric: str) -> bool:
    """Return whether a percentile is not expected yet, since the next session may not have it.

    Where no session has it, a run that has clearly more requests than they had is to be recorded:
    three times as many, since a model that is merely faster today has some more.
    """
    if baseline is not None and baseline.having(metric):
        return False
    clearly = 1.0 if baseline is None else _CLEARLY_MORE
    return percentile_margin(measurement, metric) < PERCENTILE_MARGIN * clearly
