"""What the starts of a model come to: one value a life, and a peak under its loads."""

from __future__ import annotations

import pytest

from pytest_gaitperf.host.counters import Seen
from pytest_gaitperf.host.watch import Watched, Window
from pytest_gaitperf.measure.memory import ModelMemory
from pytest_gaitperf.measure.starts import Start, evaluate_starts, largest
from pytest_gaitperf.triton.memory import Memory
from pytest_gaitperf.workload import Workload

MIB = 1 << 20
LOADED = ModelMemory(Memory(50 * MIB, 60 * MIB))
SMALL, LARGE = Workload("m", 1, 1), Workload("m", 4, 4)


def memory(mebibytes: int, gpu: int | None = None) -> ModelMemory:
    return ModelMemory(Memory(mebibytes * MIB, mebibytes * MIB), gpu)


def start(
    load_s: float = 1.0,
    loads: dict[Workload, ModelMemory] | None = None,
    loaded: ModelMemory = LOADED,
    first_absent: str = "",
    disturbed: str | None = None,
) -> Start:
    first_s = None if first_absent else load_s / 10
    watched = Watched((Window(Seen(0.0, 1.0, {}), None),), cpus=2)
    return Start(
        *(load_s, loaded, first_s, first_absent, 12 * MIB, "random", "", watched, disturbed),
        loads={SMALL: memory(80)} if loads is None else loads,
    )


def test_a_value_is_the_mean_of_the_lives_with_their_spread() -> None:
    found = evaluate_starts([start(1.0), start(1.1), start(1.2)], "")
    load = found.metrics["model_load_time"]
    assert (found.lives, found.invalid) == (3, None)
    assert load.value == pytest.approx(1.1)
    assert load.low is not None
    assert load.high is not None
    assert load.low < 1.0, "three lives leave much open"
    assert load.high > 1.2
    assert found.spread["model_load_time"] == pytest.approx(0.0913, abs=0.001)
    assert found.metrics["first_inference_latency"].value == pytest.approx(0.11)
    assert found.metrics["server_memory_loaded"].value == 50 * MIB
    assert found.metrics["server_memory_peak"].value == 80 * MIB
    assert found.metrics["model_file_size"].value == 12 * MIB
    assert found.loads == ("b1-c1",)


def test_loading_may_be_the_peak() -> None:
    found = evaluate_starts([start(loads={SMALL: memory(55)})], "")
    assert found.metrics["server_memory_peak"].value == 60 * MIB


def test_a_peak_is_that_of_lives_with_the_largest_loads() -> None:
    """Slow cells have fewer lives: what fewer loads made is no smaller peak of the model."""
    whole = {SMALL: memory(80), LARGE: memory(300)}
    found = evaluate_starts([start(loads=whole), start(), start()], "")
    assert found.metrics["server_memory_peak"].value == 300 * MIB
    assert "server_memory_peak" not in found.spread
    assert found.loads == ("b4-c4",)


def test_without_a_load_there_is_no_peak_and_all_else() -> None:
    found = evaluate_starts([start(loads={}), start(loads={})], "")
    assert "no load of the model" in found.absent["server_memory_peak"]
    assert found.loads == ()
    assert found.metrics["server_memory_loaded"].value == 50 * MIB


def test_what_cannot_be_seen_is_absent_with_the_reason() -> None:
    hidden = ModelMemory(absent="another user's")
    found = evaluate_starts([start(loaded=hidden, first_absent="it failed"), start()], "")
    assert found.absent["server_memory_loaded"] == "another user's"
    assert found.absent["first_inference_latency"] == "it failed"
    assert found.metrics["server_memory_peak"].value == 80 * MIB, "the other life knows it"


def test_without_a_start_all_is_absent() -> None:
    found = evaluate_starts([], "it was loaded before")
    assert not found.metrics
    assert set(found.absent.values()) == {"it was loaded before"}
    assert {"model_load_time", "server_memory_peak"} <= set(found.absent)


def test_gpu_memory_is_the_most_that_any_load_had() -> None:
    loads = {SMALL: memory(80, 7 * MIB), LARGE: memory(70, 9 * MIB)}
    found = evaluate_starts([start(loads=loads)], "")
    assert found.metrics["gpu_memory_peak"].value == 9 * MIB


def test_a_disturbed_start_is_left_out_of_three_and_spoils_two() -> None:
    busy = start(9.0, disturbed="`spin` used 1.00 of 2 CPUs")
    found = evaluate_starts([start(1.0), busy, start(1.0)], "")
    assert (found.lives, found.metrics["model_load_time"].value) == (2, 1.0)
    assert found.notes == ("life 2 was left out: `spin` used 1.00 of 2 CPUs",)
    assert evaluate_starts([start(), busy], "").invalid == "life 2: `spin` used 1.00 of 2 CPUs"


def test_the_largest_loads_are_those_that_none_exceeds() -> None:
    rate = Workload("m", 1, request_rate=5.0)
    loads = [SMALL, LARGE, Workload("m", 1, 8), Workload("m", 8, 1), Workload("m", 4, 1), rate]
    assert largest(loads) == ("b1-c8", "b1-r5", "b4-c4", "b8-c1")
