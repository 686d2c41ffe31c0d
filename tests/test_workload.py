"""A workload: its load, and its id, one for each work, wherever and whenever it is asked for."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.commands.export import load_named
from pytest_gaitperf.engine.usage import check_ids
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.naming import is_sustained
from pytest_gaitperf.workload import Workload

LOADS = (
    *("concurrency", "request_rate", "subjects", "most_subjects", "best_rate", "trace", "alone"),
    *("sustained_s", "think_s"),
)
positive = st.floats(min_value=0, exclude_min=True, max_value=1e300)
names = st.sampled_from(["A", "B", "grpc", "v2", "b1", "data", "shapes", "a-b", "x=3"]) | st.text()
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["m", "m-b1-c1", "m-b1", "m-b1-c1-grpc"]),
    "batch_size": st.integers(1, 64),
    "version": st.sampled_from(["", "1", "2"]),
    "protocol": st.sampled_from(["http", "grpc"]),
    "transport": st.sampled_from(["inline", "shm"]),
    "shapes": st.dictionaries(
        names, st.lists(st.integers(1, 10**12), max_size=3).map(tuple), max_size=3
    ).map(lambda found: tuple(found.items())),
    "arrival": st.sampled_from(["constant", "poisson"]),
    "frame_rate": st.sampled_from([25.0, 30.0]) | positive,
    "ranges": st.dictionaries(names, st.tuples(numbers, numbers), max_size=2).map(
        lambda found: tuple(found.items())
    ),
    "deadline_s": st.sampled_from([0.0, 0.04, 0.02]) | positive,
    "percentile": st.sampled_from([99.0, 95.0]) | st.floats(50, 99.9),
    "sequence_length": st.sampled_from([(0, 0), (1, 1), (16, 24), (16, 25)]),
    "sequences": st.integers(0, 5),
    "streaming": st.booleans(),
    "data": st.sampled_from(["", "zeros", "sha256:0123456789ab", "sha256:123456789012"]),
    "beside": st.lists(
        st.builds(
            Workload,
            st.sampled_from(["d", "d-b4", "d+e", "e", "h93dce702"]),
            st.sampled_from([1, 4]),
            request_rate=st.sampled_from([5.0, 25.0, 0.5]),
            version=st.sampled_from(["", "2"]),
            shapes=st.sampled_from([(), (("A", (2,)), ("B", (2,)))]),
            # What is sent in which way is the cell's own affair.
        ),
        max_size=2,
        unique_by=lambda one: (one.model, one.version),
    ).map(tuple),
}
load = st.one_of(
    st.integers(1, 50).map(lambda count: {"concurrency": count}),
    positive.map(lambda rate: {"request_rate": rate}),
    st.integers(1, 9).map(lambda count: {"subjects": count * math.lcm(*range(1, 65))}),
    st.tuples(st.integers(1, 50), st.sampled_from([10.0, 60.0, 90.5, 1800.0, 7200.0])).map(
        lambda found: {"concurrency": found[0], "sustained_s": found[1]}
    ),
    st.tuples(st.integers(1, 50), st.sampled_from([0.02, 1.5, 60.0]) | positive).map(
        lambda found: {"concurrency": found[0], "think_s": found[1]}
    ),
    st.just({"most_subjects": True}),
    st.just({"concurrency": 1, "alone": True}),
    positive.map(lambda deadline_s: {"best_rate": True, "deadline_s": deadline_s}),
    st.tuples(positive, st.sampled_from(["sha256:0123456789ab", "sha256:123456789012"])).map(
        lambda found: {"request_rate": found[0], "arrival": "trace", "trace": found[1]}
    ),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Workload, Workload]:
    """Draw two workloads that differ in a few fields."""
    given_, other = (draw(st.fixed_dictionaries(FIELDS)) for _ in range(2))
    loads = draw(st.tuples(load, load))
    differing = draw(st.sets(st.sampled_from([*FIELDS, "load"]), max_size=2))
    mixed = {name: (other if name in differing else given_)[name] for name in FIELDS}
    return made(given_, loads[0]), made(mixed, loads["load" in differing])


def made(sent: dict[str, Any], load: dict[str, Any]) -> Workload:
    """Return a workload; a search, a long load and a model by itself have no neighbours."""
    lonely = {"most_subjects", "best_rate", "alone", "sustained_s"}
    none = {"beside": ()} if lonely & load.keys() else {}
    return Workload(**{**sent, **load, **none})


def test_every_field_is_drawn() -> None:
    compared = {one.name for one in fields(Workload) if one.compare}
    assert compared == {*FIELDS, *LOADS}


@given(pairs())
def test_an_id_is_of_one_work(both: tuple[Workload, Workload]) -> None:
    one, other = both
    assert (one.id == other.id) is (one == other)


@given(pairs())
def test_a_stored_workload_is_the_same_with_the_same_id(both: tuple[Workload, Workload]) -> None:
    for one in both:
        read = msgspec.json.decode(msgspec.json.encode(one), type=Workload)
        assert (read, read.id) == (one, one.id)
        assert replace(one, shapes=one.shapes[::-1], ranges=one.ranges[::-1]) == one


@given(pairs())
def test_a_key_tells_how_its_cell_is_loaded(both: tuple[Workload, Workload]) -> None:
    for one in both:
        named = load_named(one.key)
        assert named is not None
        ways: dict[str, Any] = {"protocol": one.protocol, "transport": one.transport}
        assert Workload(one.model, **named, **ways).load == replace(one, beside=()).load


def test_a_cell_is_named_by_model_batch_and_concurrency() -> None:
    workload = Workload("3D_fp32_0_batchd", 8, 4)
    assert (workload.key, workload.id) == ("b8-c4", "3D_fp32_0_batchd-b8-c4")


def test_an_open_loop_is_named_by_its_rate_or_its_subjects() -> None:
    assert Workload("m", 1, request_rate=100).key == "b1-r100"
    assert Workload("m", 1, request_rate=0.5, arrival="poisson").key == "b1-r0.5-poisson"
    assert Workload("m", 2, subjects=42, transport="shm").key == "b2-s42-shm"
    assert Workload("m", 1, subjects=4, frame_rate=12.5, protocol="grpc").key == (
        "b1-s4-fps12.5-grpc"
    )


def test_a_sustained_load_is_named_by_its_time() -> None:
    for seconds, name in ((1800, "30min"), (7200, "2h"), (90, "90sec"), (3660, "61min")):
        one = Workload("m", 1, 4, sustained_s=seconds, protocol="grpc")
        assert one.key == f"b1-c4-{name}-grpc"
        assert is_sustained(one.key)
        assert one.quantities == ("sustained",)
        assert one.closed(4).key == "b1-c4-grpc"
    assert not is_sustained(Workload("m", 1, 4, deadline_s=90.5).key)


def test_only_clients_think() -> None:
    one = Workload("m", 1, 8, think_s=0.02, deadline_s=0.04)
    assert one.key == "b1-c8-think20ms-40ms"
    assert one.closed(4).key == "b1-c4-40ms"
    assert Workload("m", 1, 1, alone=True, think_s=0.02).key == "model"
    with pytest.raises(ConfigurationError, match="only the clients of a concurrency think"):
        Workload("m", 1, request_rate=8, think_s=0.02)
    with pytest.raises(ConfigurationError, match=r"a think time of -0\.02 s"):
        Workload("m", 1, 8, think_s=-0.02)


@pytest.mark.parametrize(
    "load", [{"most_subjects": True}, {"best_rate": True, "deadline_s": 0.04}, {"concurrency": 1}]
)
def test_what_has_no_given_load_cannot_be_sustained(load: dict[str, Any]) -> None:
    alone = "concurrency" in load
    with pytest.raises(ConfigurationError, match="cannot be sustained"):
        Workload("m", 1, **load, alone=alone, sustained_s=60)


def test_subjects_share_the_requests_of_a_batch() -> None:
    assert Workload("m", 1, subjects=42).sends_per_s == 42 * 25
    assert Workload("m", 6, subjects=42, frame_rate=10).sends_per_s == 70
    assert Workload("m", 6, request_rate=3).sends_per_s == 3
    assert Workload("m", 6, 4).sends_per_s == 0
    with pytest.raises(
        ConfigurationError, match="42 subjects do not fill batches of 4 of model 'm'"
    ):
        Workload("m", 4, subjects=42)


def test_a_search_is_named_by_what_differs_from_25_frames_each_within_its_own_time() -> None:
    assert Workload("m", 1, most_subjects=True).key == "b1-most"
    assert Workload("m", 1, most_subjects=True, frame_rate=30).key == "b1-most-fps30"
    assert Workload("m", 1, most_subjects=True, deadline_s=0.04).key == "b1-most"
    assert Workload("m", 1, most_subjects=True, deadline_s=0.02, percentile=95).key == (
        "b1-most-p95-20ms"
    )


def test_the_load_of_a_search_is_no_quantity_of_its_own() -> None:
    assert Workload("m", 1, most_subjects=True).quantities == ("energy", "subjects")
    assert "subjects" not in Workload("m", 1, subjects=4).quantities


@pytest.mark.parametrize(
    "load",
    [
        {},
        {"concurrency": 1, "subjects": 1},
        {"concurrency": 1, "most_subjects": True},
        {"concurrency": -1},
        {"request_rate": -0.5},
    ],
)
def test_a_workload_is_loaded_in_one_way(load: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give one of concurrency, request_rate and sub"):
        Workload("m", 1, **load)


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ({}, "b1-c1"),
        ({"shapes": (("INPUT", (3, 224, 224)),)}, "b1-c1-INPUT=3x224x224"),
        ({"shapes": (("B", (2,)), ("A", (3, 2)))}, "b1-c1-A=3x2-B=2"),
        ({"shapes": (("mask", (128,)), ("ids", (128,)))}, "b1-c1-ids+mask=128"),
        ({"shapes": (("sr", ()),)}, "b1-c1-sr=scalar"),
        ({"shapes": (("onnx::X-1", (2,)),)}, "b1-c1-shapes=h9c518fc1"),
        ({"shapes": (("t" * 60, (2,)),)}, "b1-c1-shapes=h12bcba0f"),
        ({"ranges": (("X", (-1.0, 0.5)),)}, "b1-c1-X=-1..0.5"),
        ({"data": "zeros", "ranges": (("X", (0, 1)),)}, "b1-c1-zeros"),
        ({"data": "sha256:0123456789ab"}, "b1-c1-data=h01234567"),
        ({"version": "2", "protocol": "grpc", "shapes": (("X", (2,)),)}, "b1-c1-grpc-v2-X=2"),
    ],
)
def test_what_is_sent_stands_behind_the_load(sent: dict[str, Any], key: str) -> None:
    assert Workload("m", 1, 1, **sent).key == key


def test_equal_work_is_an_equal_workload() -> None:
    assert Workload("m", 1, 1, frame_rate=30, percentile=90, arrival="poisson") == Workload(
        "m", 1, 1
    )
    assert Workload("m", 1, most_subjects=True, deadline_s=0.04) == Workload(
        "m", 1, most_subjects=True
    )


@pytest.mark.parametrize("size", [0, -1, -(10**12)])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"shape \[2, {size}\] of 'X' has a size below 1"):
        Workload("m", 1, 1, shapes=(("X", (2, size)),))


@pytest.mark.parametrize("version", ["latest", "-1", "1-grpc", "\N{SUPERSCRIPT TWO}"])
def test_a_version_is_a_whole_number(version: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a whole number"):
        Workload("m", 1, 1, version=version)


def test_two_workloads_with_one_id_are_refused() -> None:
    """Of the 2^32 hashes two of these sizes have the same."""
    one, other = (Workload("m", 1, 1, shapes=(("onnx::X", (n,)),)) for n in (68255, 106153))
    assert one.id == other.id == "m-b1-c1-shapes=h9127dda6"
    check_ids([one, one, Workload("m", 1, 2)])
    with pytest.raises(
        ConfigurationError, match=r"two workloads have the id m-b1-c1-shapes=.*68255"
    ):
        check_ids([one, other])


def test_alone_is_no_load_under_another_one() -> None:
    with pytest.raises(ConfigurationError, match="give one of concurrency"):
        Workload("m", 1, request_rate=5, alone=True)
    assert not Workload("m", 1, 1, alone=True).closed(2).alone
