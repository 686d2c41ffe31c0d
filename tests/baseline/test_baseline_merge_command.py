"""``gaitperf baseline merge``: on real files, and as the driver of a real ``git merge``."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from pytest_gaitperf.baseline.store import MAX_SESSIONS, BaselineStore
from pytest_gaitperf.cli import main
from tests.baseline.recording import commit, git, record

FILE = Path("baselines/orin/3D.json")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)


def merge(*arguments: str) -> int:
    return main(["baseline", "merge", *arguments])


def days(profile: str = "orin", model: str = "3D", key: str = "b1-c1") -> list[int]:
    cell = BaselineStore(Path("baselines"), profile, {}).cell(model, key)
    return [] if cell is None else [int(session.time[8:10]) for session in cell.sessions]


def test_two_boards_sessions_come_together(capsys: pytest.CaptureFixture[str]) -> None:
    record(1, 40.0)
    record(1, 40.0, root=Path("other"))
    record(2, 41.0, root=Path("other"), models=("3D", "2D"))
    record(3, 41.0, root=Path("other"), profile="agx")
    assert merge("other") == 0
    assert capsys.readouterr().out.splitlines() == [
        "agx/3D: 1 session added, 2 new cells",
        "orin/2D: 1 session added, 2 new cells",
        "orin/3D: 1 session added",
    ]
    assert (days(), days(model="2D"), days("agx")) == ([1, 2], [2], [3])
    before = FILE.read_bytes()
    assert merge("other") == 0
    assert "orin/3D: nothing new" in capsys.readouterr().out
    assert FILE.read_bytes() == before


def test_files_and_one_profiles_directory_do_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    record(1, 40.0)
    for day, root in ((2, Path("b")), (3, Path("c"))):
        record(day, 40.0, root=root)
    assert merge("b/orin/3D.json", "c/orin", "--json=-") == 0
    (merged,) = json.loads(capsys.readouterr().out)["merged"]
    assert merged == {
        "profile": "orin",
        "model": "3D",
        "changed": True,
        "sessions_added": ["20261102T100000Z", "20261103T100000Z"],
        "sessions_dropped": [],
        "cells_added": [],
    }
    assert days() == [1, 2, 3]


def test_beyond_the_maximum_the_oldest_go(capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(1, MAX_SESSIONS + 1):
        record(2 * day, 40.0)
        record(2 * day - 1, 40.0, root=Path("other"))
    assert merge("other") == 0
    assert days() == list(range(MAX_SESSIONS + 1, 2 * MAX_SESSIONS + 1))
    assert "5 sessions added, 5 older ones dropped (10 are kept)" in capsys.readouterr().out


def test_a_conflict_writes_nothing_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    record(1, 40.0)
    record(1, 50.0, root=Path("other"))
    record(2, 50.0, root=Path("other"), profile="agx")
    before = FILE.read_bytes()
    assert merge("other") == 1
    error = capsys.readouterr().err
    assert "baselines/orin/3D.json and other/orin/3D.json: $.cells['b1-c1'].sessions" in error
    assert "nothing was written" in error
    assert len(error.splitlines()) == 1
    assert FILE.read_bytes() == before
    assert [path.name for path in Path("baselines").iterdir()] == ["orin"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to merge"),
        (["nowhere"], "nowhere: there is no such file or directory"),
        (["empty"], "empty: there are no baselines in it"),
        (["moved/3D.json"], "$.profile.id is 'orin', but the directory is 'moved'"),
        (["moved/traces.csv"], "moved/traces.csv: not a baseline: give the profile's directory"),
        (["baselines", "--driver", "a", "b", "c", "d"], "--driver stands alone"),
        (["--driver", "a", "b", "c", "d"], "a: "),
    ],
)
def test_a_mistake_gives_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    record(1, 40.0)
    for name in ("empty", "moved"):
        Path(name).mkdir()
    shutil.copy(FILE, "moved")
    Path("moved/traces.csv").write_text("cell,joules\n")
    assert merge(*arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("gaitperf: ")
    assert len(error.splitlines()) == 1


def test_a_file_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    record(1, 40.0, root=Path("other"))
    Path("baselines").write_text("in the way")
    assert merge("other") == 1
    assert "baselines" in capsys.readouterr().err


@pytest.fixture
def _branches() -> None:
    """A repository with the driver, on ``main`` with two sessions, and a branch ``theirs``."""
    record(1, 40.0)
    record(2, 40.0)
    Path(".gitattributes").write_text("baselines/**/*.json merge=gaitperf\n")
    commit()
    program = shlex.join([sys.executable, "-m", "pytest_gaitperf.cli"])
    git("config", "merge.gaitperf.driver", f"{program} baseline merge --driver %O %A %B %P")
    git("branch", "theirs")


def on_both(ours: float, theirs: float, *, theirs_day: int = 4, ours_day: int = 3) -> None:
    git("checkout", "--quiet", "theirs")
    record(theirs_day, theirs)
    commit()
    git("checkout", "--quiet", "main")
    record(ours_day, ours)
    commit()


@pytest.mark.usefixtures("_branches")
def test_git_merges_two_branches_that_each_recorded_a_session() -> None:
    on_both(41.0, 42.0)
    git("merge", "--quiet", "--no-edit", "theirs")
    assert days() == [1, 2, 3, 4]
    assert git("status", "--porcelain") == ""
    git("reset", "--quiet", "--hard", "HEAD~1")
    git("config", "--unset", "merge.gaitperf.driver")
    git("merge", "--quiet", "--no-edit", "theirs", check=False)
    assert "<<<<<<<" in FILE.read_text(), "without the driver the same merge conflicts"


@pytest.mark.usefixtures("_branches")
def test_git_merges_files_that_both_branches_made() -> None:
    git("checkout", "--quiet", "theirs")
    record(4, 40.0, models=("new",))
    commit()
    git("checkout", "--quiet", "main")
    record(3, 40.0, models=("new",))
    commit()
    git("merge", "--quiet", "--no-edit", "theirs")
    assert days(model="new") == [3, 4]


@pytest.mark.usefixtures("_branches")
@pytest.mark.parametrize("collide", [True, False])
def test_git_leaves_a_conflict_in_the_usual_way(*, collide: bool) -> None:
    """The same session twice; its lines collide, or each side edited another line of it."""
    if collide:
        on_both(41.0, 42.0, theirs_day=3)
    else:
        for branch, old, new in (("theirs", "2.51.0", "2.52.0"), ("main", "false", "true")):
            git("checkout", "--quiet", branch)
            text = FILE.read_text()
            assert old in text
            FILE.write_text(text.replace(old, new, 1))
            commit()
    ours = FILE.read_text()
    git("merge", "--no-edit", "theirs", check=False)
    assert git("status", "--porcelain").startswith("UU baselines/orin/3D.json")
    text = FILE.read_text()
    if collide:
        assert "<<<<<<< ours" in text
        assert ">>>>>>> theirs" in text
    else:
        assert text == ours or "<<<<<<< ours" in text, "half of each side would be nobody's"


@pytest.mark.usefixtures("_branches")
def test_git_keeps_out_what_one_branch_pruned() -> None:
    git("checkout", "--quiet", "theirs")
    assert main(["baseline", "prune", "--cells=b8-*", "--yes"]) == 0
    commit()
    git("checkout", "--quiet", "main")
    record(3, 41.0, cells=("b1-c1",))
    commit()
    git("merge", "--quiet", "--no-edit", "theirs")
    assert (days(), days(key="b8-c4")) == ([1, 2, 3], [])


@pytest.mark.usefixtures("_branches")
def test_a_damaged_side_is_left_for_a_person() -> None:
    git("checkout", "--quiet", "theirs")
    FILE.write_text(FILE.read_text().replace('"schema": ', '"schema": ,'))
    commit()
    git("checkout", "--quiet", "main")
    record(3, 41.0)
    commit()
    ours = FILE.read_text()
    git("merge", "--no-edit", "theirs", check=False)
    assert git("status", "--porcelain").startswith("UU")
    assert FILE.read_text() == ours


def test_help_tells_how_to_set_up_the_driver(capsys: pytest.CaptureFixture[str]) -> None:
    assert merge("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "git config merge.gaitperf.driver 'gaitperf baseline merge --driver %O %A %B %P'" in text
    assert "baselines/**/*.json merge=gaitperf" in text
