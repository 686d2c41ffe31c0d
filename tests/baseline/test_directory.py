"""Joining what two sides recorded, and taking cells out, with Hypothesis and by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.baseline.directory import joined, without
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
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.metrics import ANCHOR_SESSIONS, MAX_SESSIONS

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
@given(FILES, FILES, FILES)
def test_two_boards_give_the_same_in_either_order(
    now: BaselineFile, a: BaselineFile, b: BaselineFile
) -> None:
    both = joined(None, joined(None, now, a), b)
    assert encode(joined(None, joined(None, now, b), a)) == encode(both)


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_what_is_joined_already_changes_nothing(now: BaselineFile, theirs: BaselineFile) -> None:
    both = joined(None, now, theirs)
    assert encode(joined(None, now, now)) == encode(now)
    assert encode(joined(None, both, theirs)) == encode(both)


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_a_board_that_recorded_nothing_does_not_matter(
    given_file: BaselineFile, now: BaselineFile
) -> None:
    assert encode(joined(given_file, now, given_file)) == encode(now)


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_the_first_and_the_newest_sessions_of_both_are_kept(
    now: BaselineFile, theirs: BaselineFile
) -> None:
    both = joined(None, now, theirs)
    for key in KEYS:
        known: set[str] = set()
        for side in (now, theirs):
            known |= set(side.cells[key].sessions) if key in side.cells else set()
        kept = set(both.cells[key].sessions) if key in both.cells else set()
        ordered = sorted(known)
        if len(ordered) > MAX_SESSIONS:
            ordered = ordered[:ANCHOR_SESSIONS] + ordered[ANCHOR_SESSIONS - MAX_SESSIONS :]
        assert kept == set(ordered)
    assert set(both.sessions) == {s for cell in both.cells.values() for s in cell.sessions}
    assert set(both.environments) == {one.environment for one in both.sessions.values()}


def test_a_history_that_they_began_anew_keeps_only_what_came_since() -> None:
    assert days(joined(one(1, 2, 3), one(1, 2, 3, 4), one(5))) == [4, 5]


def test_sessions_over_two_protocols_do_not_mix() -> None:
    grpc = content({"b1-c1": {3: 40.0}}, protocol="grpc")
    assert days(joined(one(1), one(1, 2), grpc)) == [3]


def test_one_session_with_two_values_is_refused() -> None:
    with pytest.raises(BaselineError, match=r"\$\.cells\['b1-c1'\]\.sessions\['s02'\] differs"):
        joined(None, one(2, rate=41.0), one(2, rate=42.0))


def test_one_session_with_two_provenances_is_refused() -> None:
    other = one(1)
    recording = msgspec.structs.replace(other.sessions["s01"], recorder="another board")
    other = msgspec.structs.replace(other, sessions={"s01": recording})
    with pytest.raises(BaselineError, match=r"\$\.sessions\['s01'\] differs"):
        joined(None, one(1), other)


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
