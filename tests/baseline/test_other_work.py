"""Baselines and what was sent: shapes and data in a cell's key, or, in older files, in none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, orphans
from pytest_gaitperf.workload import Workload
from tests.report.runs import cell, run

if TYPE_CHECKING:
    from pathlib import Path

MADE = Fingerprint("2.51.0", "in -> out", "http", "inline")
SHAPED = Workload("m", 1, 1, shapes=(("X", (3, 2)),))
ASKED = replace(MADE, shapes=dict(SHAPED.shapes))
ZEROS = Workload("m", 1, 1, data="zeros")
SECOND = Workload("m", 1, 1, version="2")


def recorded(root: Path, *made: Fingerprint, key: str = "b1-c1") -> BaselineStore:
    """A store with a session of each, as a version without shapes in the key left them."""
    store = BaselineStore(root, "here", {})
    for number, one in enumerate(made, 1):
        store.record("m", key, one, {"throughput": Value(100.0 + number)})
        store.write(Provenance(f"s{number}", f"2026-11-0{number}T00:00:00Z"))
    return BaselineStore(root, "here", {})


@pytest.mark.parametrize(
    ("workload", "now", "before", "found"),
    [
        (SHAPED, ASKED, MADE, True),
        (SHAPED, replace(ASKED, open_shapes=True), MADE, True),
        (SHAPED, ASKED, replace(MADE, data="zeros"), False),
        (ZEROS, replace(MADE, data="zeros"), replace(MADE, data="zeros"), True),
        (ZEROS, replace(MADE, data="zeros"), MADE, False),
        (SECOND, replace(MADE, version="2"), replace(MADE, version="2"), True),
        (SECOND, replace(MADE, version="2"), MADE, False),
    ],
)
def test_a_cell_is_found_under_its_former_key_where_it_may_be_the_same_work(
    tmp_path: Path, workload: Workload, now: Fingerprint, before: Fingerprint, *, found: bool
) -> None:
    store = recorded(tmp_path, before)
    assert (store.cell_of(workload, now) is not None) is found


def test_its_own_key_comes_first(tmp_path: Path) -> None:
    recorded(tmp_path, MADE)
    store = recorded(tmp_path, ASKED, key=SHAPED.key)
    known = store.cell_of(SHAPED, ASKED)
    assert known is not None
    assert known.key == SHAPED.key


@pytest.mark.parametrize("afresh", [False, True])
def test_sessions_of_the_same_work_are_taken_over_once(tmp_path: Path, *, afresh: bool) -> None:
    recorded(tmp_path, MADE, MADE)
    for number in (3, 4):
        store = BaselineStore(tmp_path, "here", {})
        values = {"throughput": Value(100.0 + number)}
        store.record("m", SHAPED.key, ASKED, values, afresh=afresh and number == 3, former="b1-c1")
        store.write(Provenance(f"s{number}", f"2026-11-0{number}T00:00:00Z"))
    known = BaselineStore(tmp_path, "here", {}).cell("m", SHAPED.key)
    assert known is not None
    assert [one.id for one in known.sessions] == (
        ["s3", "s4"] if afresh else ["s1", "s2", "s3", "s4"]
    )
    values_, why = known.comparable(ASKED, "throughput")
    assert (len(values_), why) == (len(known.sessions), None)


def test_of_an_open_shape_nothing_is_taken_over(tmp_path: Path) -> None:
    recorded(tmp_path, MADE)
    store = BaselineStore(tmp_path, "here", {})
    open_ = replace(ASKED, open_shapes=True)
    store.record("m", SHAPED.key, open_, {"throughput": Value(1.0)}, former="b1-c1")
    store.write(Provenance("s2", "2026-11-02T00:00:00Z"))
    known = store.cell("m", SHAPED.key)
    assert known is not None
    assert [one.id for one in known.sessions] == ["s2"]


def test_a_former_key_is_no_orphan_until_the_new_one_is_there(tmp_path: Path) -> None:
    ran = run(cell(SHAPED))
    assert orphans(ran, recorded(tmp_path, MADE), quick=False) == {}
    store = recorded(tmp_path, ASKED, key=SHAPED.key)
    assert orphans(ran, store, quick=False) == {"m": ("b1-c1",)}


def test_after_the_quick_grid_the_full_grid_of_a_shape_is_no_orphan(tmp_path: Path) -> None:
    other = replace(SHAPED, shapes=(("X", (9, 9)),))
    for one in (SHAPED, replace(SHAPED, batch_size=32, concurrency=32), other):
        store = recorded(tmp_path, replace(MADE, shapes=dict(one.shapes)), key=one.key)
    assert orphans(run(cell(SHAPED)), store, quick=True) == {"m": (other.key,)}
