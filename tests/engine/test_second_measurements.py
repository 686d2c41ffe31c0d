"""What becomes of a suspect whose second measurement does not tell what the first one did."""

from __future__ import annotations

import pytest

from pytest_gaitperf.engine.cells import CellState
from pytest_gaitperf.engine.judging import Case, confirm
from pytest_gaitperf.gate.joint import judge_jointly
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import Measurement, SessionValue
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.workload import Workload

ALPHA = 0.005
PAST = {f"s{number}": SessionValue(1.0, 0.01, 3) for number in range(3)}
ENERGY, P99, PEAK = "energy_per_inference", "latency_p99", "server_memory_peak"


def measured(values: dict[str, float], loads: str = "", absent: str = "") -> Measurement:
    return Measurement(
        metrics={name: Estimate(METRICS[name].unit, value) for name, value in values.items()},
        absent=dict.fromkeys(METRICS, absent),
        loads=tuple(loads.split()),
    )


def confirmed(first: Measurement, again: Measurement) -> tuple[CellState, dict[str, VerdictKind]]:
    """Judge a cell beside sessions in which all was 1, confirm it, and return the verdicts too."""
    cell = CellState(Workload("a", 1, 1), measurement=first, again=again, judged={})
    comparisons = [
        Comparison("a", name, SessionValue(one.value, 0.01, 3), PAST, cell="a")
        for name, one in first.metrics.items()
    ]
    compared = [(cell, one.metric) for one in comparisons]
    case = Case(compared, comparisons, judge_jointly(comparisons, ALPHA), ALPHA)
    assert len(case.judgement.suspects) == len(comparisons)
    confirm(case)
    return cell, {name: verdict.kind for name, verdict in (cell.judged or {}).items()}


@pytest.mark.parametrize(
    ("metric", "again", "why"),
    [
        (
            ENERGY,
            measured({}, absent="the meter failed"),
            "energy_per_inference was not measured again: the meter failed",
        ),
        (
            P99,
            measured({"latency_p50": 1.0}, absent="662 requests are needed"),
            "latency_p99 was not measured again: 662 requests are needed",
        ),
        (
            PEAK,
            measured({PEAK: 1.0}, "b1-c1"),
            "server_memory_peak was measured again under b1-c1 only",
        ),
    ],
)
def test_what_was_red_and_is_not_measured_again_is_neither_confirmed_nor_acquitted(
    metric: str, again: Measurement, why: str
) -> None:
    cell, kinds = confirmed(measured({metric: 30.0}, "b1-c1 b8-c4"), again)
    assert kinds == {metric: VerdictKind.REGRESSED}
    assert str(cell.unconfirmed) == why


def test_what_else_of_the_cell_is_red_again_confirms_it() -> None:
    first, again = {ENERGY: 3.0, "latency_p50": 3.0}, {"latency_p50": 3.0}
    cell, kinds = confirmed(measured(first), measured(again))
    assert kinds["latency_p50"] is VerdictKind.REGRESSED
    assert cell.unconfirmed is None
