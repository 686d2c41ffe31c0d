"""Two models in turns on a real Triton, and what the paired gate says of them."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.gate.pairing import paired_verdicts
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.measure.pairs import measure_pair
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.power.trace import Trace
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from tests.triton.infer import infer
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_gaitperf.gate.pairing import Effect
    from pytest_gaitperf.measure.pairs import Pair
    from pytest_gaitperf.results import Verdict
    from pytest_gaitperf.triton.server import TritonServer

ALPHA = 0.02


@pytest.fixture(scope="module")
def pair_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("pairs")
    write_model(repository, "steady", sleep_s=0.015)
    write_model(repository, "slower", sleep_s=0.045)
    write_model(repository, "flaky", sleep_s=0.005, fail_every=30)
    write_model(repository, "slow", sleep_s=0.5)
    write_model(repository, "slow_too", sleep_s=0.5)
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server


class ConstantPower:
    """A meter of 10 W: joules per inference follow the time that an inference takes."""

    name = "constant"
    description = "a fake meter of constant power"
    rails = total_rails = ("IN",)
    gpu_rails = ()
    minimum_window_s = 0.05
    update_period_s = 0.005
    estimated = False

    def start(self) -> None:
        """Do nothing."""

    stop = close = start

    def trace(self, start_ns: int, end_ns: int) -> Trace:
        """Give 200 readings a second around the span."""
        count = max(3, (end_ns - start_ns) // 5_000_000)
        times = np.linspace(start_ns - 10**6, end_ns + 10**6, count).astype(np.int64)
        return Trace(self.rails, times, np.full((count, 1), 10.0), "power")


def measured(
    server: TritonServer,
    candidate: Workload,
    reference: Workload,
    *,
    budget_s: float = 2.0,
    metering: Metering | None = None,
    progress: Callable[[Effect], None] = lambda _effect: None,
) -> Pair:
    return measure_pair(
        server,
        candidate,
        reference,
        metering or Metering(),
        Budget(budget_s=budget_s),
        alpha=ALPHA,
        tolerance=lambda _metric: 0.1,
        progress=progress,
    )


def judged(pair: Pair) -> dict[str, Verdict]:
    """The verdicts at a tolerance of 10 %."""
    return paired_verdicts(
        pair.candidate, pair.reference, pair.effects, lambda _metric: 0.1, pair.undecided
    )


def compared(
    server: TritonServer,
    candidate: str,
    reference: str,
    *,
    metering: Metering | None = None,
    concurrency: int = 1,
    budget_s: float = 3.0,
) -> dict[str, Verdict]:
    """The verdicts on one model against another, at a tolerance of 10 %."""
    first, second = (Workload(model, 2, concurrency) for model in (candidate, reference))
    pair = measured(server, first, second, budget_s=budget_s, metering=metering)
    found = judged(pair)
    for metric, verdict in found.items():
        assert verdict.now == pytest.approx(pair.candidate.metrics[metric].value)
        assert verdict.baseline == pytest.approx(pair.reference.metrics[metric].value)
    return found


@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_much_slower_model_is_red_in_every_metric_and_better_when_swapped(
    pair_server: TritonServer, concurrency: int
) -> None:
    # The meter's margins of 0.25 s on both sides make a pair of long turns take 1.2 s.
    metering = Metering(ConstantPower()) if concurrency == 1 else None
    found = compared(
        pair_server,
        "slower",
        "steady",
        metering=metering,
        concurrency=concurrency,
        budget_s=6 if metering else 3,
    )
    judged = {"throughput", "latency_p50"} | ({"energy_per_inference"} if metering else set())
    assert {name: verdict.kind for name, verdict in found.items()} == dict.fromkeys(
        judged, VerdictKind.REGRESSED
    )
    slower = found["latency_p50"]
    assert slower.change is not None
    assert slower.low is not None
    assert 0.1 < slower.low <= slower.change
    assert found["throughput"].high is not None
    assert found["throughput"].high < -0.09
    assert "beside the reference's" in slower.reason
    if metering:
        energy = found["energy_per_inference"]
        assert energy.change is not None
        assert energy.change > 0.5
        # 10 W for a request of two samples in 45 ms and more.
        assert energy.now is not None
        assert energy.now >= 0.99 * 10 * 0.045 / 2
        return
    swapped = compared(pair_server, "steady", "slower", concurrency=concurrency)
    assert {verdict.kind for verdict in swapped.values()} == {VerdictKind.IMPROVED}


def test_a_model_that_fails_requests_is_invalid_on_either_side(pair_server: TritonServer) -> None:
    for pair, who in ((("flaky", "steady"), "candidate"), (("steady", "flaky"), "reference")):
        found = measured(pair_server, Workload(pair[0], 1, 1), Workload(pair[1], 1, 1))
        assert f"of the {who} failed: HTTP 500: " in (found.candidate.invalid or "")
        assert judged(found) == {}


def test_another_client_of_the_reference_makes_the_cell_invalid(pair_server: TritonServer) -> None:
    asked = threading.Event()

    def ask_once(_effect: Effect) -> None:
        if not asked.is_set():
            asked.set()
            assert infer(pair_server.url, "steady")[0] == 200

    pair = measured(
        pair_server, Workload("slower", 1, 1), Workload("steady", 1, 1), progress=ask_once
    )
    assert "another client uses the server" in (pair.candidate.invalid or "")


@pytest.mark.slow
def test_too_slow_requests_are_undecided_and_the_needed_budget_is_told(
    pair_server: TritonServer,
) -> None:
    found = compared(pair_server, "slow", "slow_too", budget_s=1.0)
    assert {verdict.kind for verdict in found.values()} == {VerdictKind.INCONCLUSIVE}
    reason = found["throughput"].reason
    assert "fit the budget, and 7 are needed" in reason
    told = float(reason.rpartition("--gaitperf-budget=")[2].split()[0])
    # 7 pairs of two requests of 0.5 s, in three times the budget.
    assert told >= math.floor(7 / 3)


def test_a_model_that_answers_nothing_cannot_be_compared(pair_server: TritonServer) -> None:
    with pytest.raises(MeasurementError, match="failed"):
        # Above its max_batch_size.
        measured(pair_server, Workload("steady", 1, 1), Workload("steady", 64, 1))
