"""What the blocks show of a cell in pairs where the meter or the CPU clocks lose some of them."""

from __future__ import annotations

import math
import time
from array import array
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from pytest_gaitperf.gate.pairing import BlockTest, paired_verdicts
from pytest_gaitperf.measure.turns import Visit, evaluate_pair
from pytest_gaitperf.measure.visits import paired_cell
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import START_NS, steady
from tests.power.fake_meter import FakeMeter

if TYPE_CHECKING:
    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.measure.visits import PairedCell, Placement
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.triton.server import TritonServer

ENERGY, CPU = "energy_per_inference", "server_cpu_per_inference"
NOTHING = ModelStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0)
SERVER = cast("TritonServer", SimpleNamespace(cpu_absent_reason=None))
WORKLOAD = Workload("model", 1, 1)


class SteadyLoad:
    """Is answered one request after the other, and does not wait for it."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s

    def run(self, _observer: object, seconds: float) -> LoadRecord:
        record, later_ns = steady(1, self._latency_s, seconds), time.monotonic_ns() - START_NS
        return replace(
            record,
            starts_ns=array("q", [at + later_ns for at in record.starts_ns]),
            ends_ns=array("q", [at + later_ns for at in record.ends_ns]),
            first_send_ns=record.first_send_ns + later_ns,
            stopped_ns=record.stopped_ns + later_ns,
            drained_ns=record.drained_ns + later_ns,
        )


class Clocks:
    """The CPU time of both models, which each look finds risen, and no look while ``lost``."""

    apart = True

    def __init__(self) -> None:
        self.lost = False
        self._spent_s = [0.0, 0.0]

    def cpu_seconds(self, side: int) -> float | None:
        self._spent_s[side] += (0.02, 0.01)[side]
        return None if self.lost else self._spent_s[side]


def cell_of(metering: Metering) -> PairedCell:
    return paired_cell(
        SERVER,
        (WORKLOAD, WORKLOAD),
        metering,
        np.random.default_rng(1),
        lambda _metric: BlockTest(0.01, 0.05),
        data="random",
    )


def block(cell: PairedCell, clocks: Clocks) -> None:
    """Measure another block: requests of the candidate take 20 ms, of the reference 10."""
    visits = [Visit(cast("Load", SteadyLoad(seconds)), NOTHING) for seconds in (0.02, 0.01)]
    for side, visit in zip(cell.sides, visits, strict=True):
        side.visits.append(visit)
    cell._short_turns(visits, cast("Placement", clocks), 0.01, 0.0)
    if cell.open_long:
        cell._long_turns(visits, 0.01, 0.0)
    for visit in visits:
        visit.sent = replace(NOTHING, inference_count=visit.requests, success_count=visit.requests)
    cell._learn(visits)


def measured(cell: PairedCell) -> tuple[Measurement, Measurement]:
    effects = cell.effects({})
    return evaluate_pair(*cell.sides, effects, power=cell.power, uncompared=cell.uncompared)


def test_a_block_that_the_meter_lost_is_left_out_and_voids_no_other() -> None:
    meter, clocks = FakeMeter(), Clocks()
    cell = cell_of(Metering(meter))
    for number in range(5):
        meter.fail_at = "trace" if number in (2, 4) else ""
        block(cell, clocks)
    effect = cell.effects({})[ENERGY]
    assert effect.blocks == 3
    assert effect.change == pytest.approx(math.log(2))
    candidate, reference = measured(cell)
    assert candidate.metrics[ENERGY].value == pytest.approx(10 * 0.02)
    assert reference.metrics[ENERGY].value == pytest.approx(10 * 0.01)
    assert candidate.energy_rails == ("IN",)
    assert not candidate.energy_failed


def test_after_two_lost_blocks_in_a_row_no_more_is_measured_and_the_others_have_a_verdict() -> None:
    meter, clocks = FakeMeter(), Clocks()
    cell = cell_of(Metering(meter))
    for number in range(5):
        meter.fail_at = "trace" if number > 1 else ""
        block(cell, clocks)
    assert meter.calls.count("trace") == 4
    assert cell.uncompared[ENERGY] == "the fake sensor fails at trace"
    verdict = paired_verdicts(
        *measured(cell),
        cell.effects({}),
        lambda _metric: 0.05,
        lambda _metric: 0.25,
        undecided=cell.uncompared,
    )[ENERGY]
    assert (verdict.kind, verdict.blocks) == (VerdictKind.INCONCLUSIVE, 2)
    assert "undecided: the fake sensor fails at trace" in verdict.reason
    assert verdict.unheard, "so that it is unmeasured"


@pytest.mark.parametrize(
    ("metering", "failed"),
    [
        (Metering(FakeMeter(fail_at="trace")), "the fake sensor fails at trace"),
        (Metering(None, "it cannot be read", sick=True), "it cannot be read"),
        (Metering(None, "there is none"), ""),
    ],
)
def test_energy_that_no_block_has_is_missed_where_there_is_a_sensor(
    metering: Metering, failed: str
) -> None:
    cell, clocks = cell_of(metering), Clocks()
    for _ in range(2):
        block(cell, clocks)
    assert ENERGY not in cell.effects({})
    candidate, _ = measured(cell)
    assert candidate.failed("energy") == failed
    assert candidate.absent[ENERGY] == cell.uncompared[ENERGY]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_block_whose_cpu_time_nobody_could_read_is_left_out(lost: int) -> None:
    cell, clocks = cell_of(Metering()), Clocks()
    for number in range(3):
        clocks.lost = number == lost
        block(cell, clocks)
    effect = cell.effects({})[CPU]
    assert effect.blocks == 2
    assert effect.change == pytest.approx(math.log(4)), "twice as much, of half as many requests"
    assert CPU not in cell.uncompared


def test_a_regression_of_the_cpu_time_stays_where_later_blocks_lack_it() -> None:
    cell, clocks = cell_of(Metering()), Clocks()
    block(cell, clocks)
    cell.tests[CPU].decided = replace(cell.tests[CPU].effect(), kind=VerdictKind.REGRESSED)
    clocks.lost = True
    for _ in range(2):
        block(cell, clocks)
    assert cell.uncompared[CPU] == "the model's processes changed meanwhile"
    assert cell.effects({})[CPU].kind is VerdictKind.REGRESSED
    assert measured(cell)[0].metrics[CPU].value > 0
