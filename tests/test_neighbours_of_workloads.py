"""Neighbours in a workload: they are part of its id, and what no load can have is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_gaitperf.commands.export import load_named
from pytest_gaitperf.engine.usage import check_ids
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.workload import Workload, models_of


def other(model: str = "detector", rate: float = 25, **how: Any) -> Workload:
    return Workload(model, how.pop("batch_size", 1), request_rate=rate, **how)


@pytest.mark.parametrize(
    ("beside", "key"),
    [
        ([], "b1-c1"),
        ([other()], "b1-c1-beside=detector-r25"),
        ([other(protocol="grpc", transport="shm", deadline_s=0.04)], "b1-c1-beside=detector-r25"),
        (
            [other("pose", 10, batch_size=4, version="2"), other(rate=12.5)],
            "b1-c1-beside=detector-r12.5+pose-b4-r10-v2",
        ),
        ([other("x" * 60)], "b1-c1-beside=h2a2976b9"),
        ([other("a-b4", 10)], "b1-c1-beside=h44fa09e4"),
        ([other("a", 10, batch_size=4)], "b1-c1-beside=a-b4-r10"),
    ],
)
def test_neighbours_stand_behind_the_load(beside: list[Workload], key: str) -> None:
    workload = Workload("m", 1, 1, beside=tuple(beside))
    assert workload.key == key
    assert workload == Workload("m", 1, 1, beside=tuple(reversed(beside)))
    assert ("neighbours" in workload.quantities) is bool(beside)
    assert msgspec.json.decode(msgspec.json.encode(workload), type=Workload) == workload
    assert load_named(key) is not None


@pytest.mark.parametrize(
    ("load", "beside", "why"),
    [
        ({"most_subjects": True}, [other()], "a search has no neighbours"),
        ({"concurrency": 1, "alone": True}, [other()], "a model by itself has no neighbours"),
        ({"concurrency": 1}, [other("m")], "it cannot be its own neighbour"),
        ({"concurrency": 1}, [Workload("d", 1, 1)], "is no constant rate"),
        ({"concurrency": 1}, [other(arrival="poisson")], "is no constant rate"),
        ({"concurrency": 1}, [other(streaming=True)], "is no constant rate"),
        ({"concurrency": 1}, [other(beside=(other("d"),))], "is no constant rate"),
        ({"concurrency": 1}, [other(), other(rate=5)], "a neighbour is named twice"),
    ],
)
def test_what_cannot_be_is_refused(load: dict[str, Any], beside: list[Workload], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Workload("m", 1, **load, beside=tuple(beside))


def test_one_mix_with_two_deadlines_is_refused_and_both_are_named() -> None:
    """A cell is measured once: its neighbour has one deadline."""
    cells = [Workload("m", 1, 1, beside=(other(deadline_s=limit),)) for limit in (0.04, 0.05)]
    with pytest.raises(ConfigurationError, match="detector within 40 ms and detector within 50 ms"):
        check_ids(cells)


def test_the_models_of_all_neighbours_are_needed() -> None:
    cells = [Workload("m", 1, 1, beside=(other(),)), Workload("n", 1, 1, beside=(other("m"),))]
    assert models_of(cells) == ("m", "detector", "n")
