from __future__ import annotations

import difflib
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.baseline import directory
from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.files import replace_files
from pytest_gaitperf.metrics import MAX_SESSIONS
from tests.campaigns.baseline_kills import AFTER, BEFORE, at_once, kills

if TYPE_CHECKING:
    from collections.abc import Mapping

FINGERPRINT = Fingerprint(
    "2.51.0", "in FP32[8] -> out FP32[4]", "http", "inline", content="sha256:aa"
)
VALUES = {"throughput": Value(41.2, 0.021, 12), "latency_p50": Value(0.024, 0.03, 12)}


def store(root: Path) -> BaselineStore:
    return BaselineStore(root, "orin", {"mode": "15W"})


def session(number: int) -> Provenance:
    return Provenance(
        id=f"20261122T{number:06d}Z",
        time=f"2026-11-22T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
        commit="abc123",
        dirty=False,
        plugin="0.1.0",
        recorder="host board-1",
    )


def record(root: Path, number: int, key: str = "b8-c4", model: str = "3D") -> list[Path]:
    writer = store(root)
    writer.record(model, key, FINGERPRINT, VALUES)
    return writer.write(session(number))


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


def test_only_the_newest_sessions_are_kept(tmp_path: Path) -> None:
    record(tmp_path, 0, key="b1-c1")
    for number in (*range(5, 15), 3, 2, 20):
        record(tmp_path, number)
    cell = store(tmp_path).cell("3D", "b8-c4")
    assert cell is not None
    assert len(cell.sessions) == MAX_SESSIONS
    assert [s.time for s in cell.sessions] == [session(n).time for n in (*range(6, 15), 20)]
    text = (tmp_path / "orin" / "3D.json").read_text()
    assert session(5).id not in text  # the provenance of dropped sessions goes with them
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


def test_every_file_is_checked_before_anything_is_measured(tmp_path: Path) -> None:
    record(tmp_path, 1)
    (tmp_path / "orin" / "2D.json").write_text("{}")
    with pytest.raises(BaselineError, match=r"2D\.json: \$: .*missing"):
        store(tmp_path).check()


def test_a_file_damaged_since_is_not_overwritten(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    writer = store(tmp_path)
    writer.check()
    path.write_text("damaged")
    writer.record("3D", "b8-c4", FINGERPRINT, VALUES)
    writer.record("2D", "b8-c4", FINGERPRINT, VALUES)
    with pytest.raises(BaselineError, match="not valid JSON"):
        writer.write(session(2))
    assert [p.name for p in path.parent.iterdir()] == ["3D.json"]
    assert path.read_text() == "damaged"


def test_a_time_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    writer = store(tmp_path)
    writer.record("3D", "b8-c4", FINGERPRINT, VALUES)
    with pytest.raises(BaselineError, match=r"sessions\['s'\]\.time"):
        writer.write(Provenance(id="s", time="today"))
    assert list((tmp_path / "orin").iterdir()) == []


def test_a_path_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    root = tmp_path / "baselines"
    root.write_text("a file")
    writer = store(root)
    writer.record("3D", "b8-c4", FINGERPRINT, VALUES)
    with pytest.raises(BaselineError, match="no baseline was changed") as late:
        writer.write(session(1))
    with pytest.raises(BaselineError, match="nothing was measured") as early:
        writer.check(update=True)
    for caught in (late, early):
        assert str(root) in str(caught.value)
        assert "--gaitperf-baselines" in str(caught.value)
    assert root.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    store(tmp_path).check()
    with pytest.raises(BaselineError, match="nothing was measured"):
        store(tmp_path).check(update=True)
    writer = store(tmp_path)
    writer.record("3D", "b8-c4", FINGERPRINT, VALUES)
    with pytest.raises(BaselineError, match=re.escape(str(tmp_path))):
        writer.write(session(1))
    tmp_path.chmod(0o755)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "orin" / "3D.json").mkdir(parents=True)
    with pytest.raises(BaselineError, match=r"3D\.json: cannot read the baseline"):
        store(tmp_path).check()


def test_a_failure_between_temp_and_rename_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = record(tmp_path, 1)
    old = path.read_bytes()
    writer = store(tmp_path)
    writer.record("3D", "b8-c4", FINGERPRINT, VALUES)
    writer.record("4D", "b8-c4", FINGERPRINT, VALUES)

    def no_rename(self: Path, target: Path) -> Path:
        assert path.read_bytes() == old
        assert len(list(path.parent.glob(".*.tmp"))) == 2  # every new content is on the disk
        raise OSError(5, "Input/output error", str(target))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", no_rename)
        with pytest.raises(BaselineError, match=r"3D\.json: cannot write.*Input/output error"):
            writer.write(session(2))
    assert [p.name for p in path.parent.iterdir()] == ["3D.json"]
    assert path.read_bytes() == old
    assert len(writer.write(session(2))) == 2  # what was queued is not lost


def test_a_failure_between_two_renames_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = store(tmp_path)
    writer.record("2D", "b8-c4", FINGERPRINT, VALUES)
    writer.record("3D", "b8-c4", FINGERPRINT, VALUES)
    rename = Path.replace

    def second_fails(self: Path, target: Path) -> Path:
        if target.name == "3D.json":
            raise OSError(5, "Input/output error", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(
        BaselineError, match=r"after 1 of 2 files were replaced.*each file is whole"
    ):
        writer.write(session(1))
    assert [p.name for p in (tmp_path / "orin").iterdir()] == ["2D.json"]
    store(tmp_path).check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_until_all_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    class Ended(BaseException):
        pass

    def end(*_: object) -> None:
        raise Ended

    def disturbed(contents: Mapping[Path, bytes]) -> None:
        signal.raise_signal(number)
        replace_files(contents)

    writer = store(tmp_path)
    for model in ("2D", "3D"):
        writer.record(model, "b8-c4", FINGERPRINT, VALUES)
    monkeypatch.setattr(directory, "replace_files", disturbed)
    before = signal.signal(number, end)
    try:
        with pytest.raises(Ended):
            writer.write(session(1))
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)
    assert [cell.model for cell in store(tmp_path).cells()] == ["2D", "3D"]


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    old = path.read_bytes()
    # A limit on the size of files stands for the full disk: write() fails in the same place.
    code = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from test_store import record
from pytest_gaitperf.errors import BaselineError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    record(Path(sys.argv[1]), 2)
except BaselineError as error:
    print(error)
"""
    done = run(code, tmp_path)
    assert "cannot write the baseline (File too large)" in done
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == ["3D.json"]


def test_a_killed_writers_leftovers_go_with_the_next_write(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    (path.parent / ".3D.json.99999.tmp").write_text("half of a fi")
    store(tmp_path).check()
    record(tmp_path, 2)
    assert [p.name for p in path.parent.iterdir()] == ["3D.json"]


def test_a_writer_that_never_ends_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = record(tmp_path, 1)
    old = path.read_bytes()
    monkeypatch.setattr(directory, "LOCK_WAIT_S", 0.1)
    with (
        directory.locked(path.parent),
        pytest.raises(BaselineError, match="another session has been writing"),
    ):
        record(tmp_path, 2)
    assert path.read_bytes() == old


HERE = [str(Path(__file__).parent), str(Path(directory.__file__).parents[2])]


def run(code: str, root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), *HERE], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    hit = list(kills(tmp_path, 10, seed=1, calibrations=2))
    assert [kill for kill in hit if kill.damaged or kill.locked or kill.repair] == []
    during = [kill for kill in hit if kill.moment not in (BEFORE, AFTER)]
    assert during, "no kill hit a write: the test shows nothing"


@pytest.mark.parametrize("same_second", [False, True])
def test_two_writers_at_once_lose_nothing(tmp_path: Path, *, same_second: bool) -> None:
    together = at_once(tmp_path, 2, same_second=same_second)
    assert (together.written, together.refusals, together.lost) == (2, [], [])


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
