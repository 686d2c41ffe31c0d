from __future__ import annotations

import difflib
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.metrics import ANCHOR_SESSIONS, MAX_SESSIONS
from tests.baseline.stores import FINGERPRINT, VALUES, record, session, store


def test_reading_creates_nothing(tmp_path: Path) -> None:
    empty = store(tmp_path / "baselines")
    empty.check()
    assert empty.cell("3D", "b8-c4") is None
    assert list(empty.cells()) == []
    assert empty.write(session(1)) == []
    assert not (tmp_path / "baselines").exists()


def test_recording_touches_no_file_until_written(tmp_path: Path) -> None:
    writer = store(tmp_path)
    writer.record("3D", "b8-c4", FINGERPRINT, VALUES)
    assert list(tmp_path.iterdir()) == []
    assert writer.cell("3D", "b8-c4") is None
    assert writer.write(session(1)) == [tmp_path / "orin" / "3D.json"]
    assert [path.name for path in (tmp_path / "orin").iterdir()] == ["3D.json"]


def test_what_was_recorded_is_found_again(tmp_path: Path) -> None:
    writer = store(tmp_path)
    rails = {"energy_per_inference": "VDD_IN"}
    fingerprint = replace(FINGERPRINT, rails=rails, version="2", shapes={"X": (3, 2)}, data="zeros")
    values = {**VALUES, "energy_per_inference": Value(0.00631, None, 3, "VDD_IN")}
    writer.record("3D", "b8-c4", fingerprint, values)
    writer.write(session(61))
    for reader in (writer, store(tmp_path)):
        cell = reader.cell("3D", "b8-c4")
        assert cell is not None
        (found,) = cell.sessions
        assert found.values == values
        assert found.fingerprint == fingerprint
        assert (found.id, found.time) == ("20261122T000061Z", "2026-11-22T00:01:01Z")
        assert (found.commit, found.dirty, found.plugin) == ("abc123", False, "0.1.0")
        assert found.recorder == "host board-1"
        assert [c.key for c in reader.cells()] == ["b8-c4"]
        assert reader.cell("3D", "b1-c1") is None
        assert reader.cell("2D", "b8-c4") is None


@given(st.floats(1e-9, 1e9), st.one_of(st.none(), st.just(math.nan), st.floats(0, 1)))
def test_values_come_back_to_five_digits(value: float, spread: float | None) -> None:
    entry = Value(value, spread)
    writer = store(Path("nowhere"))
    writer.record("3D", "b8-c4", FINGERPRINT, {"throughput": entry})
    queued = writer._queue["3D"]["b8-c4"][0].entries["throughput"]
    assert queued.value == pytest.approx(value, rel=5.1e-5)
    if spread is None or math.isnan(spread):
        assert queued.spread is None
    else:
        assert queued.spread == pytest.approx(spread, rel=5.1e-3)


@pytest.mark.parametrize(
    "bad",
    [Value(0.0), Value(-1.0), Value(math.nan), Value(math.inf), Value(1, -0.1), Value(1, math.inf)],
)
def test_a_value_no_baseline_may_hold_is_refused(tmp_path: Path, bad: Value) -> None:
    writer = store(tmp_path)
    with pytest.raises(BaselineError, match="3D-b8-c4: throughput"):
        writer.record("3D", "b8-c4", FINGERPRINT, {"throughput": bad})
    assert writer.write(session(1)) == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a\0b", "-x"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BaselineError, match="model name"):
        store(tmp_path).record(name, "b8-c4", FINGERPRINT, VALUES)
    with pytest.raises(BaselineError, match="profile name"):
        BaselineStore(tmp_path, name, {})


def test_only_the_first_sessions_and_the_newest_are_kept(tmp_path: Path) -> None:
    record(tmp_path, 0, key="b1-c1")
    for number in (*range(5, 15), 16, 18, 20):
        record(tmp_path, number)
    cell = store(tmp_path).cell("3D", "b8-c4")
    assert cell is not None
    assert len(cell.sessions) == MAX_SESSIONS
    kept = (*range(5, 5 + ANCHOR_SESSIONS), 12, 13, 14, 16, 18, 20)
    assert [s.time for s in cell.sessions] == [session(n).time for n in kept]
    text = (tmp_path / "orin" / "3D.json").read_text()
    assert session(10).id not in text  # the provenance of dropped sessions goes with them
    assert session(0).id in text


def test_a_new_session_is_a_few_new_lines_per_cell(tmp_path: Path) -> None:
    record(tmp_path, 1)
    path = tmp_path / "orin" / "3D.json"
    before = path.read_text().splitlines()
    record(tmp_path, 2)
    diff = list(difflib.unified_diff(before, path.read_text().splitlines(), n=0))[2:]
    added = [line for line in diff if line.startswith("+")]
    removed = [line for line in diff if line.startswith("-")]
    # Provenance: 10 lines a file; one for the cell. Nothing else changes.
    assert len(added) <= 10 + 1
    assert removed == []
    assert all(line.strip("+ ,") != "" for line in added)
    assert max(map(len, path.read_text().splitlines())) <= 120


def test_an_unchanged_file_is_untouched(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    record(tmp_path, 1, model="2D")
    os.utime(path, ns=(1, 1))
    assert record(tmp_path, 1) == []
    assert path.stat().st_mtime_ns == 1


def test_another_sessions_update_is_kept(tmp_path: Path) -> None:
    first, second = store(tmp_path), store(tmp_path)
    for reader in (first, second):
        reader.check()
    first.record("3D", "b1-c1", FINGERPRINT, VALUES)
    second.record("3D", "b8-c4", FINGERPRINT, VALUES)
    first.write(session(1))
    second.write(session(2))
    assert {cell.key for cell in store(tmp_path).cells()} == {"b1-c1", "b8-c4"}
    assert {cell.key for cell in second.cells()} == {"b1-c1", "b8-c4"}


def test_another_transport_starts_the_cell_anew(tmp_path: Path) -> None:
    record(tmp_path, 1)
    writer = store(tmp_path)
    writer.record("3D", "b8-c4", replace(FINGERPRINT, transport="shm"), VALUES)
    writer.write(session(2))
    cell = store(tmp_path).cell("3D", "b8-c4")
    assert cell is not None
    assert [s.fingerprint.transport for s in cell.sessions] == ["shm"]


def test_only_comparable_sessions_are_compared(tmp_path: Path) -> None:
    record(tmp_path, 1)
    writer = store(tmp_path)
    newer = replace(FINGERPRINT, triton="2.52.0", content="sha256:bb")
    writer.record("3D", "b8-c4", newer, {"throughput": Value(50.0, 0.01, 9)})
    writer.write(session(2))
    cell = writer.cell("3D", "b8-c4")
    assert cell is not None
    assert cell.comparable(FINGERPRINT, "throughput") == (
        {session(1).id: VALUES["throughput"]},
        None,
    )
    assert cell.comparable(newer, "throughput") == (
        {session(2).id: Value(50.0, 0.01, 9)},
        None,
    )
    assert cell.comparable(FINGERPRINT, "energy_per_inference") == ({}, None)
    values, why = cell.comparable(newer, "latency_p50")
    assert values == {}
    assert why == ("Triton version was 2.51.0, is 2.52.0 (baseline of 2026-11-22T00:00:01Z)")
    assert cell.content_change(FINGERPRINT) == "the model's files changed: sha256:bb -> sha256:aa"
    assert cell.content_change(newer) is None
    assert cell.content_change(replace(newer, content="")) is None


def test_every_file_is_checked_before_anything_is_measured(tmp_path: Path) -> None:
    record(tmp_path, 1)
    (tmp_path / "orin" / "2D.json").write_text("{}")
    with pytest.raises(BaselineError, match=r"2D\.json: \$: .*missing"):
        store(tmp_path).check()


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "orin" / "3D.json").mkdir(parents=True)
    with pytest.raises(BaselineError, match=r"3D\.json: cannot read the baseline"):
        store(tmp_path).check()


def test_sessions_of_one_write_are_all_written_with_their_own_provenance(tmp_path: Path) -> None:
    writer = store(tmp_path)
    for index in range(3):
        writer.record("3D", "b8-c4", FINGERPRINT, VALUES, session=index)
    writer.record("3D", "b1-c1", FINGERPRINT, VALUES, session=2)
    kernel = {"kernel": "5.15"}
    writer.write(session(1), replace(session(2), environment=kernel), session(3))
    cell, late = store(tmp_path).cell("3D", "b8-c4"), store(tmp_path).cell("3D", "b1-c1")
    assert cell is not None
    assert late is not None
    assert [one.time for one in cell.sessions] == [session(n).time for n in (1, 2, 3)]
    assert [one.environment for one in cell.sessions] == [{}, kernel, {}]
    assert [one.time for one in late.sessions] == [session(3).time]


def test_a_cell_recorded_afresh_begins_a_new_history(tmp_path: Path) -> None:
    for number in (1, 2):
        record(tmp_path, number)
        record(tmp_path, number, key="b1-c1")
    writer = store(tmp_path)
    for index in (0, 1):
        writer.record("3D", "b8-c4", FINGERPRINT, VALUES, session=index, afresh=True)
    writer.write(session(3), session(4))
    kept = {cell.key: [one.time for one in cell.sessions] for cell in writer.cells()}
    assert kept == {
        "b1-c1": [session(1).time, session(2).time],
        "b8-c4": [session(3).time, session(4).time],
    }


def test_two_hosts_in_the_same_second_lose_nothing(tmp_path: Path) -> None:
    record(tmp_path, 1)
    writer = store(tmp_path)
    writer.record("3D", "b8-c4", FINGERPRINT, {"throughput": Value(40.0)})
    writer.write(replace(session(1), recorder="host board-2"))
    cell = writer.cell("3D", "b8-c4")
    assert cell is not None
    assert [one.recorder for one in cell.sessions] == ["host board-1", "host board-2"]


@pytest.mark.parametrize(
    ("fields", "foreign"),
    [
        ({"mode": "15W"}, ""),
        ({"mode": "15W", "sku": "p3767-0005"}, ""),
        ({}, ""),
        ({"mode": "MAXN"}, "recorded on another device: mode was 15W, is MAXN"),
        ({"sku": "p3767-0005"}, "recorded on another device: mode was 15W, is unknown"),
    ],
)
def test_baselines_of_another_device_compare_with_nothing_and_stay_as_they_are(
    tmp_path: Path, fields: dict[str, str], foreign: str
) -> None:
    (path,) = record(tmp_path, 1)
    before = path.read_bytes()
    here = BaselineStore(tmp_path, "orin", fields)
    cell = here.cell("3D", "b8-c4")
    assert cell is not None
    assert here.foreign == cell.foreign == foreign
    sessions, why = cell.comparable(FINGERPRINT, "throughput")
    assert (not sessions, why or "") == (bool(foreign), foreign)
    assert cell.comparable(FINGERPRINT, "energy_per_inference") == ({}, None)

    here.record("3D", "b8-c4", FINGERPRINT, VALUES)
    if not foreign:
        assert here.write(session(2)) == [path]
        return
    with pytest.raises(BaselineError, match=r"3D\.json: recorded on another device: mode"):
        here.write(session(2))
    assert path.read_bytes() == before
