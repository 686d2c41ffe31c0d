"""What is left of a comparison in pairs that something ends: a reload, a request, a file."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeasurementError, ServerError
from pytest_gaitperf.measure.pairs import Pair, Terms, measure_pairs
from pytest_gaitperf.measure.turns import Visit
from pytest_gaitperf.measure.visits import PairedCell
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import steady

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.triton.server import TritonServer

    Block = Callable[[PairedCell], None]

NOTHING = ModelStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0)
TENSOR = TensorSpec("X", "FP32", (4,))
LOADS = [(Workload("new", 1, count), Workload("old", 1, count)) for count in (1, 2)]


class Server:
    """A server that gives its models new processes so many times."""

    server_pid = None
    cpu_absent_reason = "the server runs on another host"
    api = SimpleNamespace(controls_models=lambda: True)

    def __init__(self, reloads: int) -> None:
        self._reloads = reloads

    def model(self, name: str, _version: str = "") -> ModelInfo:
        return ModelInfo(name, ("1",), 8, (TENSOR,), (TENSOR,))

    def reload(self, _names: object) -> None:
        self._reloads -= 1
        if self._reloads < 0:
            raise ServerError("the model does not load again")

    def check_alive(self) -> None:
        """It is."""


def begin(cell: PairedCell) -> None:
    """Send both models some requests; those of the candidate take twice as long."""
    for side, latency_s in zip(cell.sides, (0.02, 0.01), strict=True):
        load = cast("Load", None)  # nothing is sent
        side.visits.append(Visit(load, NOTHING, turns=[steady(1, latency_s, 0.1)]))


def finish(cell: PairedCell, kind: VerdictKind) -> None:
    """End a block that decides the throughput."""
    visits = [side.visits[-1] for side in cell.sides]
    for visit in visits:
        visit.sent = replace(NOTHING, inference_count=visit.requests, success_count=visit.requests)
    cell._learn(visits)
    test = cell.tests["throughput"]
    test.decided = replace(test.effect(), kind=kind)


def found(
    monkeypatch: pytest.MonkeyPatch,
    block: Block,
    reloads: int,
    loads: int = 1,
    most_s: float = math.inf,
) -> list[Pair | GaitperfError]:
    """Measure pairs on a server that is none, block by block."""
    monkeypatch.setattr(PairedCell, "visit", lambda cell, *_: block(cell))
    terms = Terms(0.02, lambda *_: 0.5, budget_s=100.0, most_s=most_s)
    server = cast("TritonServer", Server(reloads))
    return measure_pairs(server, LOADS[:loads], Metering(), terms)


def ending(kind: VerdictKind) -> Callable[[PairedCell], None]:
    """Return a block after which the cell's throughput is decided."""

    def block(cell: PairedCell) -> None:
        begin(cell)
        finish(cell, kind)

    return block


def test_a_confirmed_regression_stays_where_the_models_do_not_load_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (pair,) = found(monkeypatch, ending(VerdictKind.REGRESSED), reloads=1)
    assert isinstance(pair, Pair)
    assert pair.candidate.invalid is None
    assert pair.effects["throughput"].kind is VerdictKind.REGRESSED
    assert pair.undecided["latency_p50"] == "the model does not load again"
    assert pair.notes[-1] == "new-b1-c1 was not measured to its end: the model does not load again"


def test_a_model_that_passed_in_part_and_does_not_load_again_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (error,) = found(monkeypatch, ending(VerdictKind.PASS), reloads=1)
    assert isinstance(error, MeasurementError)


@pytest.mark.parametrize(
    "error", [MeasurementError("no response for 60 s"), ConfigurationError("the file is gone")]
)
def test_a_block_that_is_cut_short_leaves_those_before_it(
    monkeypatch: pytest.MonkeyPatch, error: GaitperfError
) -> None:
    def block(cell: PairedCell) -> None:
        begin(cell)
        if len(cell.sides[0].visits) > 1:
            raise error
        finish(cell, VerdictKind.REGRESSED)

    (pair,) = found(monkeypatch, block, reloads=9)
    assert isinstance(pair, Pair)
    assert pair.candidate.invalid is None
    assert pair.candidate.requests == 5
    assert pair.effects["throughput"].kind is VerdictKind.REGRESSED


def test_a_load_that_cannot_be_made_keeps_no_other_from_being_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def block(cell: PairedCell) -> None:
        if cell.workload.concurrency == 2:
            raise ConfigurationError("the file is gone")
        begin(cell)
        finish(cell, VerdictKind.REGRESSED)

    pair, error = found(monkeypatch, block, reloads=2, loads=2)
    assert isinstance(pair, Pair)
    assert isinstance(error, ConfigurationError)


def test_models_that_do_not_load_before_the_time_is_over_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (error,) = found(monkeypatch, begin, reloads=0, most_s=0.0)
    assert isinstance(error, MeasurementError)
    assert str(error) == "the model does not load again"
