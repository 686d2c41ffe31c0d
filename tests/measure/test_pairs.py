"""Two models in turns on a real Triton, and what the paired gate says of them."""

from __future__ import annotations

import math
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import GaitperfError, MeasurementError
from pytest_gaitperf.gate.pairing import FEWEST_FRESH, paired_verdicts
from pytest_gaitperf.measure.pairs import Pair, Progress, Terms, measure_pairs
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.placement import own_processes
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from tests.power.fake_meter import FakeMeter
from tests.triton.infer import infer
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.results import Verdict
    from pytest_gaitperf.triton.server import TritonServer

ALPHA, TOLERANCE = 0.02, 0.5
"""What a busy machine makes of equal models is within it, three times as slow beyond it."""

pytestmark = pytest.mark.slow  # each block loads both models


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short visits: these models differ by a factor, or in nothing."""
    monkeypatch.setattr("pytest_gaitperf.measure.pairs.SHORTEST_VISIT_S", 0.3)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def pair_server(repository: Path) -> Iterator[TritonServer]:
    write_model(repository, "steady", sleep_s=0.015)
    write_model(repository, "twin", sleep_s=0.015)
    write_model(repository, "slower", sleep_s=0.045)
    write_model(repository, "flaky", sleep_s=0.005, fail_every=30)
    write_model(repository, "leaving")
    options = ServerOptions(mode="local", repository=repository, controlled=True)
    with open_server(options) as server:
        yield server


def measured(
    server: TritonServer,
    *pairs: tuple[Workload, Workload],
    budget_s: float = 8.0,
    most_s: float = math.inf,
    metering: Metering | None = None,
    progress: Progress | None = None,
    tolerance: float = TOLERANCE,
) -> list[Pair | GaitperfError]:
    def of_metric(_workload: Workload, metric: str) -> float:
        # What little CPU time a sleeping model takes is too noisy to wait for.
        return 1e6 if metric == "server_cpu_per_inference" else tolerance

    terms = Terms(ALPHA, of_metric, budget_s=budget_s * len(pairs), most_s=most_s)
    return measure_pairs(server, pairs, metering or Metering(), terms, progress)


def judged(pair: Pair | GaitperfError, tolerance: float = TOLERANCE) -> dict[str, Verdict]:
    assert isinstance(pair, Pair)
    return paired_verdicts(
        *(pair.candidate, pair.reference, pair.effects),
        *(lambda _metric: tolerance, lambda _metric: 0.25),
        undecided=pair.undecided,
    )


def of(*models: str, batch: int = 1, concurrency: int = 1) -> tuple[Workload, Workload]:
    first, second = (Workload(model, batch, concurrency) for model in models)
    return first, second


def test_a_much_slower_model_is_red_in_every_load_and_by_its_energy(
    pair_server: TritonServer,
) -> None:
    found = measured(
        pair_server,
        of("slower", "steady", batch=2),
        of("slower", "steady", concurrency=3),
        metering=Metering(FakeMeter()),
        budget_s=20,
    )
    for pair in found:
        verdicts = judged(pair)
        assert isinstance(pair, Pair)
        for metric in ("throughput", "latency_p50", "energy_per_inference"):
            verdict = verdicts[metric]
            assert verdict.kind is VerdictKind.REGRESSED
            assert verdict.now == pytest.approx(pair.candidate.metrics[metric].value)
            assert verdict.baseline == pytest.approx(pair.reference.metrics[metric].value)
            assert verdict.now is not None
            assert verdict.baseline is not None
            assert verdict.change == pytest.approx(verdict.now / verdict.baseline - 1)
            assert verdict.blocks >= FEWEST_FRESH
    energy = judged(found[0])["energy_per_inference"]
    # 10 W for a request of two samples in 45 ms and more.
    assert energy.now is not None
    assert energy.now >= 0.99 * 10 * 0.045 / 2


def test_equal_models_pass_and_a_faster_one_is_improved(pair_server: TritonServer) -> None:
    (same,) = measured(pair_server, of("twin", "steady"), budget_s=30)
    assert isinstance(same, Pair)
    assert (same.candidate.invalid, same.reference.invalid) == (None, None)
    kinds = {metric: verdict.kind for metric, verdict in judged(same).items()}
    assert not {VerdictKind.REGRESSED, VerdictKind.IMPROVED} & set(kinds.values())
    assert kinds["latency_p50"] is VerdictKind.PASS
    (faster,) = measured(pair_server, of("steady", "slower"), budget_s=30)
    assert judged(faster)["latency_p50"].kind is VerdictKind.IMPROVED


def test_a_model_that_fails_requests_is_invalid_on_either_side_and_other_loads_go_on(
    pair_server: TritonServer,
) -> None:
    for names, who in ((("flaky", "steady"), "candidate"), (("steady", "flaky"), "reference")):
        # Above its max_batch_size in the second load: that one has no answer at all.
        pair, error = measured(pair_server, of(*names), of(*names, batch=64), most_s=6.0)
        assert isinstance(pair, Pair)
        assert f"of the {who} failed: HTTP 500: " in (pair.candidate.invalid or "")
        assert judged(pair) == {}
        assert isinstance(error, MeasurementError)
        assert "failed" in str(error)


def test_another_client_of_the_reference_makes_the_cell_invalid(pair_server: TritonServer) -> None:
    class Asking(FakeMeter):
        """A meter that asks the reference for an inference when it begins: inside a block."""

        def start(self) -> None:
            assert infer(pair_server.url, "steady")[0] == 200

    (pair,) = measured(pair_server, of("slower", "steady"), most_s=6.0, metering=Metering(Asking()))
    assert isinstance(pair, Pair)
    assert "another client uses the server" in (pair.candidate.invalid or "")


def test_a_block_has_fresh_processes_and_too_few_blocks_are_undecided(
    pair_server: TritonServer,
) -> None:
    pids, cpus = set(own_processes(pair_server.server_pid, "steady")), os.sched_getaffinity(0)
    lines: list[str] = []
    (pair,) = measured(
        pair_server, of("slower", "steady"), most_s=1.0, progress=Progress(say=lines.append)
    )
    found = judged(pair)
    assert {verdict.kind for verdict in found.values()} == {VerdictKind.INCONCLUSIVE}
    reason = found["throughput"].reason
    assert "and 10 are needed to call it worse" in reason
    assert "raise --gaitperf-run-budget" in reason
    assert not pids & set(own_processes(pair_server.server_pid, "steady"))
    assert os.sched_getaffinity(0) == cpus
    assert any("1 cell in blocks of about" in line for line in lines)
    # Sleeping takes hardly any CPU time, but what it takes is known by model.
    assert isinstance(pair, Pair)
    assert pair.candidate.metrics["server_cpu_per_inference"].value < 0.045


def test_a_model_that_does_not_load_again_is_named(
    pair_server: TritonServer, repository: Path
) -> None:
    shutil.rmtree(repository / "leaving")
    (error,) = measured(pair_server, of("leaving", "steady"))
    assert isinstance(error, GaitperfError)
    assert "leaving" in str(error)
    assert pair_server.model("steady").versions == ("1",)


def test_a_server_that_renews_no_models_is_one_life_and_says_what_that_costs(
    tmp_path: Path,
) -> None:
    write_model(tmp_path, "steady", sleep_s=0.005)
    write_model(tmp_path, "slower", sleep_s=0.0053)
    write_model(tmp_path, "far", sleep_s=0.05)
    with open_server(ServerOptions(mode="local", repository=tmp_path)) as server:
        pids = own_processes(server.server_pid, "slower")
        (near,) = measured(server, of("slower", "steady"), budget_s=3, tolerance=0.02)
        (far,) = measured(server, of("far", "steady"), budget_s=10)
        assert own_processes(server.server_pid, "slower") == pids
    verdict = judged(near, tolerance=0.02)["latency_p50"]
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "--model-control-mode=explicit" in verdict.reason
    assert isinstance(near, Pair)
    assert any("equal models may differ by" in note for note in near.notes)
    assert judged(far)["latency_p50"].kind is VerdictKind.REGRESSED
