"""Where an ensemble's time goes: into the models that it is made of, and not into the network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from tests.load.driving import counted_since, until
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer

CHAIN = """
platform: "ensemble"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
ensemble_scheduling { step [
  { model_name: "first" model_version: -1
    input_map { key: "INPUT0" value: "INPUT0" } output_map { key: "OUTPUT0" value: "between" } },
  { model_name: "%s" model_version: 1
    input_map { key: "INPUT0" value: "between" } output_map { key: "OUTPUT0" value: "OUTPUT0" } }
] }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Two models of 20 and 10 ms in a chain, the chain in another, and one model twice."""
    repository = tmp_path_factory.mktemp("ensembles")
    write_model(repository, "first", sleep_s=0.02)
    write_model(repository, "second", sleep_s=0.01)
    for name, last in (("chain", "second"), ("twice", "first"), ("nested", "chain")):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(CHAIN % last)
    with open_server(ServerOptions(mode="local", repository=repository)) as running:
        yield running


def load(server: TritonServer, name: str, answered: int) -> LoadRecord:
    model, workload = server.model(name), Workload(name, 2, 1)
    data = input_data(model, workload)
    with open_load(server, model, workload, data) as opened:
        return opened.run(until(answered), 0.01)


@pytest.mark.parametrize(("name", "sleeps_s"), [("chain", 0.03), ("twice", 0.04), ("nested", 0.05)])
def test_the_parts_of_an_ensemble_are_its_models(
    server: TritonServer, name: str, sleeps_s: float
) -> None:
    before = server.statistics(name)
    record = load(server, name, 5)
    counted_since(server, name, before.inference_count, 2 * record.requests)
    parts = server.statistics(name).minus(before).parts_s()
    starts, ends = record.times()
    # The server's own time is never longer than what the client saw of it.
    assert sum(parts.values()) <= float((ends - starts).mean()) / 1e9
    assert 0.98 * sleeps_s <= parts["compute_infer"] <= sum(parts.values())


def old(counters: ModelStatistics) -> ModelStatistics:
    """Return counters as of a Triton that does not add up the computing of the steps."""
    return replace(counters, compute_input_ns=0, compute_infer_ns=0, compute_output_ns=0)


ENSEMBLE = ModelStatistics(2, 2, 2, 0, 1000, 1, 30, 880, 20)
STEPS = [
    ModelStatistics(2, 2, 2, 0, 500, 20, 10, 450, 10),
    ModelStatistics(2, 2, 2, 0, 490, 10, 20, 430, 10),
]


@pytest.mark.parametrize("ensemble", [ENSEMBLE, old(ENSEMBLE)])
def test_old_and_new_servers_tell_the_same(ensemble: ModelStatistics) -> None:
    parts = ensemble.with_steps(STEPS).parts_s()
    assert {name: round(seconds * 2e9) for name, seconds in parts.items()} == {
        "queue": 30,
        "compute_input": 30,
        "compute_infer": 880,
        "compute_output": 20,
        "server_other": 40,
    }


def test_steps_that_overlap_a_little_take_no_more_than_the_whole() -> None:
    parts = replace(old(ENSEMBLE), success_ns=950).with_steps(STEPS).parts_s()
    assert sum(parts.values()) == pytest.approx(950 / 2e9)
    assert "server_other" not in parts


def test_what_others_take_of_a_step_is_not_told_apart() -> None:
    busy = replace(STEPS[0], compute_infer_ns=900)
    assert old(ENSEMBLE).with_steps([busy, STEPS[1]]).parts_s() == {"server": pytest.approx(500e-9)}


def test_what_is_in_no_part_is_named() -> None:
    counters = ModelStatistics(2, 1, 2, 0, 1000, 100, 100, 600, 100)
    assert counters.parts_s()["server_other"] == pytest.approx(50e-9)
