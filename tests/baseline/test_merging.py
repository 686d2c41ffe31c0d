"""Joining two baseline files, with Hypothesis and by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.baseline.merging import MergeConflictError, merge
from pytest_gaitperf.baseline.rewriting import without
from pytest_gaitperf.baseline.schema import (
    SCHEMA,
    BaselineFile,
    Cell,
    CellWorkload,
    Profile,
    Recording,
    Value,
    encode,
)
from pytest_gaitperf.baseline.store import MAX_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = ("b1-c1", "b8-c4", "b32-c1")


def content(
    cells: Mapping[str, Mapping[int, float]],
    *,
    version: str = "",
    protocol: str = "http",
    mode: str = "15W",
) -> BaselineFile:
    """A file whose sessions are days: by cell, the throughput of each day."""
    days = sorted({day for sessions in cells.values() for day in sessions})
    return BaselineFile(
        schema=SCHEMA,
        model="3D",
        profile=Profile("orin", {"mode": mode}),
        sessions={
            f"s{day:02}": Recording(
                time=f"2026-11-{day:02}T10:00:00Z",
                triton="2.51",
                signature="x",
                environment=f"e{day % 3}",
            )
            for day in days
        },
        environments={f"e{day % 3}": {"kernel": f"6.{day % 3}"} for day in days},
        cells={
            key: Cell(
                CellWorkload(protocol, "inline", version),
                {f"s{day:02}": {"throughput": Value(rate)} for day, rate in sessions.items()},
            )
            for key, sessions in cells.items()
            if sessions
        },
    )


def days(merged: BaselineFile, key: str = "b1-c1") -> list[int]:
    return [int(session[1:]) for session in merged.cells[key].sessions]


def one(*recorded: int, rate: float = 40.0) -> BaselineFile:
    return content({"b1-c1": dict.fromkeys(recorded, rate)})


# What a day measured is the same wherever it is kept, so that nothing conflicts.
FILES = st.fixed_dictionaries(
    {
        key: st.sets(st.integers(1, 28), max_size=MAX_SESSIONS).map(
            lambda chosen: {day: 40.0 + day for day in chosen}
        )
        for key in KEYS
    }
).map(content)


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_the_order_of_the_sides_does_not_matter(ours: BaselineFile, theirs: BaselineFile) -> None:
    assert encode(merge(None, ours, theirs)) == encode(merge(None, theirs, ours))


@settings(max_examples=60, deadline=None)
@given(FILES, FILES, FILES)
def test_three_ways_too_the_order_of_the_sides_does_not_matter(
    base: BaselineFile, ours: BaselineFile, theirs: BaselineFile
) -> None:
    assert encode(merge(base, ours, theirs)) == encode(merge(base, theirs, ours))


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_what_is_merged_already_merges_into_itself(
    ours: BaselineFile, theirs: BaselineFile
) -> None:
    merged = merge(None, ours, theirs)
    assert encode(merge(None, ours, ours)) == encode(ours)
    assert encode(merge(None, merged, theirs)) == encode(merged)
    assert encode(merge(ours, merged, merged)) == encode(merged)


@settings(max_examples=60, deadline=None)
@given(FILES, FILES, FILES)
def test_three_boards_give_the_same_in_any_order(
    a: BaselineFile, b: BaselineFile, c: BaselineFile
) -> None:
    assert encode(merge(None, merge(None, a, b), c)) == encode(merge(None, a, merge(None, b, c)))


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_a_side_that_did_nothing_does_not_matter(base: BaselineFile, ours: BaselineFile) -> None:
    assert encode(merge(base, ours, base)) == encode(ours)


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_the_newest_sessions_of_both_are_kept(ours: BaselineFile, theirs: BaselineFile) -> None:
    merged = merge(None, ours, theirs)
    for key in KEYS:
        both: set[str] = set()
        for side in (ours, theirs):
            both |= set(side.cells[key].sessions) if key in side.cells else set()
        kept = set(merged.cells[key].sessions) if key in merged.cells else set()
        assert kept == set(sorted(both)[-MAX_SESSIONS:])
    assert set(merged.sessions) == {s for cell in merged.cells.values() for s in cell.sessions}
    assert set(merged.environments) == {one.environment for one in merged.sessions.values()}


def test_what_one_side_removed_stays_removed_and_what_either_added_is_added() -> None:
    assert days(merge(one(1, 2, 3), one(2, 3, 4), one(1, 2, 3, 5))) == [2, 3, 4, 5]


def test_a_cell_that_one_side_pruned_is_gone_and_one_that_it_recorded_again_is_not() -> None:
    base = content({"b1-c1": {1: 40.0}, "b8-c4": {1: 40.0}})
    pruned = content({"b1-c1": {1: 40.0}})
    assert list(merge(base, pruned, base).cells) == ["b1-c1"]
    again = content({"b1-c1": {1: 40.0}, "b8-c4": {1: 40.0, 2: 41.0}})
    merged = merge(base, pruned, again)
    assert days(merged, "b8-c4") == [2]
    assert set(merged.sessions) == {"s01", "s02"}


@pytest.mark.parametrize("base", [None, one(1), one(2)])
def test_one_session_with_two_values_is_a_conflict(base: BaselineFile | None) -> None:
    with pytest.raises(MergeConflictError, match=r"\$\.cells\['b1-c1'\]\.sessions\['s02'\] "):
        merge(base, one(2, rate=41.0), one(2, rate=42.0))


def test_a_session_removed_here_and_changed_there_is_a_conflict() -> None:
    base = one(1, 2)
    with pytest.raises(MergeConflictError, match="removed on one side and changed on the other"):
        merge(base, one(1), content({"b1-c1": {1: 40.0, 2: 50.0}}))


def test_one_session_with_two_provenances_is_a_conflict() -> None:
    other = one(1)
    recording = msgspec.structs.replace(other.sessions["s01"], recorder="another board")
    other = msgspec.structs.replace(other, sessions={"s01": recording})
    with pytest.raises(MergeConflictError, match=r"\$\.sessions\['s01'\] differs"):
        merge(None, one(1), other)
    assert merge(one(1), other, one(1)).sessions["s01"].recorder == "another board"


def test_a_value_changed_on_one_side_is_that_sides() -> None:
    merged = merge(one(1), one(1, rate=50.0), one(1))
    assert merged.cells["b1-c1"].sessions["s01"]["throughput"].value == 50.0


def test_the_version_and_the_profiles_facts_are_those_of_the_newest_session() -> None:
    old = content({"b1-c1": {1: 40.0}}, version="1", mode="old")
    new = content({"b1-c1": {2: 40.0}}, version="2", mode="new")
    merged = merge(None, new, old)
    assert merged.cells["b1-c1"].workload.version == "2"
    assert merged.profile.fields == {"mode": "new"}


def test_what_only_one_side_changed_of_them_is_taken_though_the_other_is_newer() -> None:
    base = content({"b1-c1": {1: 40.0}}, mode="old")
    mended = content({"b1-c1": {1: 40.0}}, mode="mended")
    newer = content({"b1-c1": {1: 40.0, 2: 40.0}}, mode="old")
    assert merge(base, mended, newer).profile.fields == {"mode": "mended"}


def test_sessions_over_two_protocols_do_not_mix() -> None:
    base = content({"b1-c1": {1: 40.0}})
    grpc = content({"b1-c1": {2: 40.0}}, protocol="grpc")
    assert days(merge(base, grpc, base)) == [2]
    with pytest.raises(MergeConflictError, match="loaded in two ways: http/inline and grpc/inline"):
        merge(base, grpc, one(1, 2 + 1))


@given(FILES)
def test_taking_nothing_out_changes_no_byte(file: BaselineFile) -> None:
    assert encode(without(file, ())) == encode(file)
    assert encode(without(file, ("b9-c9",))) == encode(file)


@given(FILES, st.sets(st.sampled_from(KEYS)))
def test_what_is_taken_out_is_gone_with_its_sessions_and_the_rest_stays(
    file: BaselineFile, keys: set[str]
) -> None:
    left = without(file, keys)
    assert left.cells == {key: cell for key, cell in file.cells.items() if key not in keys}
    assert set(left.sessions) == {s for cell in left.cells.values() for s in cell.sessions}
    assert set(left.environments) == {one.environment for one in left.sessions.values()}
