"""Writing baselines while disks, signals and other writers interfere: every file stays whole."""

from __future__ import annotations

import os
import re
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.baseline import directory
from pytest_gaitperf.baseline.cells import Provenance
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.files import replace_files
from tests.baseline.stores import FINGERPRINT, VALUES, record, session, store
from tests.campaigns.baseline_kills import AFTER, BEFORE, at_once, kills

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(BaselineError, match=r"cannot write the baseline \(File too large\)"):
            record(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
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
