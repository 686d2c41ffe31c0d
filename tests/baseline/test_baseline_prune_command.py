"""``gaitperf baseline prune``: from the command line, on real files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.cli import main
from tests.baseline.recording import record, steady


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    steady(last=3, models=("3D", "2D"))


def prune(*arguments: str) -> int:
    return main(["baseline", "prune", *arguments])


def cells(profile: str = "orin") -> list[str]:
    store = BaselineStore(Path("baselines"), profile, {})
    return [f"{cell.model}/{cell.key}" for cell in store.cells()]


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("baselines").rglob("*.json")}


def results(**fields: object) -> str:
    run = {"schema": 2, "profile": {"id": "orin"}, "environment": {"time": "2026-11-22T10:00:00Z"}}
    run |= {"full_run": True, "orphans": {}}
    Path("run.json").write_text(json.dumps(run | fields))
    return "--results=run.json"


def test_cells_go_with_their_sessions_and_the_rest_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record(4, 40.0, cells=("b8-c4",))
    before = contents()
    assert prune("--cells=b8-*", "--models=3D", "--yes") == 0
    assert capsys.readouterr().out.splitlines() == [
        "orin/3D: 1 cell of 2: b8-c4",
        "removed; what was committed stays in git's history",
    ]
    assert cells() == ["2D/b1-c1", "2D/b8-c4", "3D/b1-c1"]
    after = contents()
    assert b"20261104" in before["baselines/orin/3D.json"]
    assert b"20261104" not in after["baselines/orin/3D.json"], "its only cell has gone"
    assert after["baselines/orin/2D.json"] == before["baselines/orin/2D.json"]


def test_an_emptied_file_is_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--models=2D", "--yes") == 0
    assert "orin/2D: all 2 cells, and the file\n" in capsys.readouterr().out
    assert [path.name for path in Path("baselines/orin").iterdir()] == ["3D.json"]


def test_what_lies_beside_the_baselines_is_no_ones_business(
    capsys: pytest.CaptureFixture[str],
) -> None:
    traces = Path("baselines/orin/traces.csv")
    traces.write_text("cell,joules\nb1-c1,12.5\n")
    before = traces.read_bytes()
    record(4, 40.0)
    for action in ("list", "show", "sensitivity", "diff --between baselines baselines"):
        assert main(["baseline", *action.split()]) == 0
    assert prune("--models=2D", "--yes") == 0
    assert "traces" not in capsys.readouterr().out
    assert cells() == ["3D/b1-c1", "3D/b8-c4"]
    assert prune("--models=3D", "--yes") == 0
    assert traces.read_bytes() == before
    capsys.readouterr()
    assert main(["baseline", "list"]) == 1
    assert "there are no baselines" in capsys.readouterr().err


def test_a_full_runs_orphans_go(capsys: pytest.CaptureFixture[str]) -> None:
    orphans = {"2D": ["b1-c1", "b8-c4"], "3D": ["b8-c4", "gone-already"], "unknown": ["b1-c1"]}
    assert prune(results(orphans=orphans), "--yes") == 0
    assert cells() == ["3D/b1-c1"]
    capsys.readouterr()
    before = contents()
    assert prune(results(orphans=orphans), "--yes") == 0
    assert capsys.readouterr().out == "orin: nothing to remove\n"
    assert contents() == before


def test_orphans_may_be_narrowed() -> None:
    given = results(orphans={"2D": ["b1-c1"], "3D": ["b1-c1", "b8-c4"]})
    assert prune(given, "--models=3D", "--cells=b8-*", "--yes") == 0
    assert cells() == ["2D/b1-c1", "2D/b8-c4", "3D/b1-c1"]


def test_results_choose_their_profile() -> None:
    record(1, 40.0, profile="agx")
    given = results(profile={"id": "agx"}, orphans={"3D": ["b1-c1", "b8-c4"]})
    assert prune(given, "--yes") == 0
    assert not list(Path("baselines/agx").iterdir())
    assert len(cells()) == 4


def test_a_dry_run_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = contents()
    assert prune("--models=*", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "orin/2D: all 2 cells" in shown
    assert "nothing was removed (--dry-run)" in shown
    assert prune("--models=*", "--dry-run", "--json=-") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "schema": 1,
        "profile": "orin",
        "dry_run": True,
        "removed": {"2D": ["b1-c1", "b8-c4"], "3D": ["b1-c1", "b8-c4"]},
    }
    assert contents() == before


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("y\n", 2), ("YES\n", 2), ("\n", 4), ("no\n", 4)])
def test_on_a_terminal_it_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(answer))
    assert prune("--models=2D") == (0 if left == 2 else 1)
    assert "remove them? [y/N]" in capsys.readouterr().err
    assert len(cells()) == left


def test_off_a_terminal_it_wants_yes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert prune("--models=2D") == 1
    assert "there is no terminal to ask on; say --yes, or --dry-run" in capsys.readouterr().err
    assert len(cells()) == 4


@pytest.mark.parametrize(
    ("arguments", "fields", "message"),
    [
        ([], {}, "say what is to go: --models PATTERNS, --cells PATTERNS or --results FILE"),
        (["--models=x*"], {}, "no recorded cell matches --models and --cells; the models are: 2D"),
        (["--models=*", "--baselines=nowhere"], {}, "nowhere: there are no baselines"),
        (["--results=none.json"], {}, "none.json: cannot be read"),
        (["--results=run.json"], {"full_run": False}, "measured only some of the cells"),
        (["--results=run.json"], {"full_run": 3}, "run.json: $.full_run: "),
        (["--results=run.json"], {"orphans": ["3D"]}, "run.json: $.orphans: "),
        (["--results=run.json"], {"profile": {"id": "nano"}}, "no baseline of 'nano'"),
        (["--results=run.json", "--profile=agx"], {}, "is of profile 'orin', not of 'agx'"),
    ],
)
def test_a_mistake_gives_one_line_and_removes_nothing(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    fields: dict[str, object],
    message: str,
) -> None:
    results(**fields)
    before = contents()
    assert prune("--yes", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("gaitperf: ")
    assert len(error.splitlines()) == 1
    assert contents() == before


def test_results_that_know_nothing_of_orphans_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = {"schema": 1, "profile": {"id": "orin"}, "environment": {"time": "2026-11-22T10:00:00Z"}}
    Path("old.json").write_text(json.dumps(old))
    assert prune("--results=old.json", "--yes") == 1
    assert "need not be orphans: run the whole suite" in capsys.readouterr().err


def test_help_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Nothing else ever removes a cell." in text
    assert "only say what would go" in text
