"""``gaitperf baseline diff``: from the command line, on real files in a real git repository."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_gaitperf.cli import main
from tests.baseline.recording import commit, git, record, steady

FILE = Path("baselines/orin/3D.json")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)


def diff(*arguments: str) -> int:
    return main(["baseline", "diff", *arguments])


def document(*arguments: str) -> dict[str, object]:
    assert diff(*arguments, "--json=found.json") == 0
    found: dict[str, object] = json.loads(Path("found.json").read_text())
    return found


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert diff(*arguments) in (1, 2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("gaitperf: ")
    assert len(shown.err.splitlines()) == 1
    return shown.err


def test_the_work_tree_against_head(capsys: pytest.CaptureFixture[str]) -> None:
    steady(models=("3D", "2D"))
    commit()
    assert diff("--exit-code") == 0
    assert "no cell of 4 changed" in capsys.readouterr().out
    record(7, {"3D": 20.0, "2D": 40.2}, models=("3D", "2D"))
    assert diff() == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("HEAD (")
    assert lines[0].endswith(") -> work tree")
    assert lines[1] == "4 of 4 cells changed: 2 worse, 2 within the spread"
    assert lines[2] == "added: 2026-11-07T10:00:00Z by host board on commit c00000000007"
    first = next(line for line in lines if line.startswith("3D/b1-c1"))
    assert first.split() == [
        *("3D/b1-c1", "throughput", "inf/s", "40.08", "35.69", "-10.9%*", "5", "->", "6")
    ]
    assert lines[-1] == "* beyond what the spread between sessions explains"
    assert diff("--exit-code") == 1


def test_two_revisions_and_one_against_the_work_tree() -> None:
    steady()
    commit()
    git("tag", "v1")
    record(7, 41.0)
    commit()
    record(8, 41.0)
    counts = [
        [cell["sessions"] for cell in cells if isinstance(cell, dict)]
        for arguments in (["v1"], ["v1", "HEAD"], ["HEAD", "v1"], ["HEAD"])
        for cells in (document(*arguments)["cells"],)
        if isinstance(cells, list)
    ]
    assert counts == [
        [{"old": 5, "new": 7}] * 2,
        [{"old": 5, "new": 6}] * 2,
        [{"old": 6, "new": 5}] * 2,
        [{"old": 6, "new": 7}] * 2,
    ]


def test_from_a_subdirectory_and_with_baselines_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady()
    repository = tmp_path / "device's baselines"
    (repository / "a b").mkdir(parents=True)
    Path("baselines").rename(repository / "a b" / "kept")
    commit(repository)
    record(7, 20.0, root=repository / "a b" / "kept")
    (repository / "a b" / "sub").mkdir()
    for directory, given in (
        (tmp_path, repository / "a b" / "kept"),
        (repository / "a b" / "sub", Path("../kept")),
        (repository / "a b" / "kept", Path()),
        (repository, Path("a b/kept")),
    ):
        monkeypatch.chdir(directory)
        assert diff("--baselines", str(given), f"--json={tmp_path}/found.json") == 0
        found = json.loads((tmp_path / "found.json").read_text())
        assert [cell["state"] for cell in found["cells"]] == ["worse", "worse"], directory


def test_in_another_repositorys_hook(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steady()
    commit()
    monkeypatch.setenv("GIT_DIR", ".git")
    assert diff() == 0
    assert "no cell of 2 changed" in capsys.readouterr().out


def test_a_repository_whose_root_is_the_directory_of_the_baselines() -> None:
    steady()
    commit(Path("baselines"))
    record(7, 20.0)
    assert len(str(document()["cells"])) > 100


def test_files_that_one_side_lacks_are_new_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("readme").touch()
    commit()
    steady(models=("3D",))
    assert document()["counts"] == dict.fromkeys(("worse", "better", "removed", "within"), 0) | {
        "new": 2
    }
    commit()
    Path("baselines/orin/3D.json").rename("baselines/orin/2D.json")
    text = Path("baselines/orin/2D.json").read_text()
    Path("baselines/orin/2D.json").write_text(text.replace('"3D"', '"2D"'))
    assert diff() == 0
    shown = capsys.readouterr().out
    assert "4 of 4 cells changed: 2 new, 2 removed" in shown
    assert "note: removed model: orin/3D" in shown
    assert "note: new model: orin/2D" in shown


def test_all_removed_is_a_difference_too(capsys: pytest.CaptureFixture[str]) -> None:
    steady()
    commit()
    git("rm", "-r", "--quiet", "baselines")
    assert diff() == 0
    assert "2 of 2 cells changed: 2 removed" in capsys.readouterr().out


def test_profile_and_models_choose() -> None:
    steady(models=("3D", "2D"))
    record(1, 40.0, profile="agx")
    commit()
    record(7, 41.0, models=("3D", "2D"))
    record(7, 41.0, profile="agx")
    for arguments, expected in (
        ([], {("agx", "3D"), ("orin", "2D"), ("orin", "3D")}),
        (["--profile=agx"], {("agx", "3D")}),
        (["--models=2*,x"], {("orin", "2D")}),
    ):
        cells = document(*arguments)["cells"]
        assert isinstance(cells, list)
        assert {(cell["profile"], cell["model"]) for cell in cells} == expected


def test_two_directories_need_no_git(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steady()
    Path("baselines").rename("before")
    steady(last=6)
    monkeypatch.setenv("PATH", "")
    assert diff("--between", "before", "baselines") == 0
    assert capsys.readouterr().out.startswith("before -> baselines\n2 of 2 cells changed: 2 within")
    assert diff("--between", "before/orin", "before/orin", "--exit-code") == 0
    capsys.readouterr()
    assert "cannot be run" in error(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "'nope' is no revision of the git repository of baselines"),
        (["HEAD", "nope"], "'nope' is no revision"),
        (["--", "--all"], "'--all' is no revision"),
        (["HEAD:baselines"], "is no revision"),
        (["a", "b", "c"], "give one revision, or an old and a new one"),
        (["--baselines=nowhere"], "there are no baselines; record one"),
        (["--models=x*"], "no baseline is chosen by --profile and --models; there are: orin/3D"),
        (["HEAD", "--between", "a", "b"], "leave out the revisions"),
        (["--between", "baselines", "b"], "b is not a directory"),
        (["--json=-", "--markdown"], "not allowed with argument"),
    ],
)
def test_a_mistake_gives_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    steady()
    commit()
    assert message in error(capsys, *arguments)


def test_outside_a_repository_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    steady()
    assert "baselines: not in a git repository" in error(capsys)


def test_a_repository_without_a_commit_has_no_head(capsys: pytest.CaptureFixture[str]) -> None:
    steady()
    git("init", "--quiet")
    assert "'HEAD' is no revision" in error(capsys)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:300], "not valid JSON"),
        (lambda text: text.replace('"schema": ', '"schema": 99'), "update pytest-gaitperf"),
        (lambda text: "<<<<<<< ours\n" + text, "a merge conflict was left"),
    ],
)
def test_a_damaged_file_in_a_revision_is_named_with_its_revision(
    capsys: pytest.CaptureFixture[str], damage: object, message: str
) -> None:
    steady(models=("3D", "2D"))
    good = FILE.read_text()
    assert callable(damage)
    FILE.write_text(damage(good))
    commit()
    FILE.write_text(good)
    found = error(capsys)
    assert "HEAD:baselines/orin/3D.json" in found
    assert message in found
    assert "that is the file of the revision" in found
    assert diff("--models=2D") == 0


def test_other_files_beside_the_baselines_are_left_alone() -> None:
    steady()
    for path in ("baselines/readme.json", "baselines/orin/deep/x.json", "baselines/orin/.x.json"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("no baseline")
    Path("baselines/orin/link.json").symlink_to("3D.json")
    commit()
    Path("baselines/orin/link.json").unlink()
    assert diff("HEAD", "HEAD") == 0


def test_markdown_reads_what_matters_first(capsys: pytest.CaptureFixture[str]) -> None:
    steady(models=("3D_x", "2D"))
    commit()
    record(7, {"3D_x": 20.0, "2D": 40.2}, models=("3D_x", "2D"))
    assert diff("--markdown") == 0
    raw = capsys.readouterr().out
    shown = html.unescape(raw)
    assert shown.startswith("**4 of 4 cells changed: 2 worse, 2 within the spread**\n")
    assert "\nProfile orin\n" in shown
    assert "- 2026-11-07T10:00:00Z by host board on commit c00000000007\n" in shown
    assert "| 3D_x/b1-c1 | throughput inf/s | 40.08 | 35.69 | -10.9%* | 5 -> 6 |\n" in shown
    visible, _, folded = shown.partition("<details>")
    assert "2D/b1-c1" not in visible
    assert "| 2D/b1-c1 | within the spread | 40.08 → 40.10 (+0.1%) |" in folded
    assert raw.count("<details>") == raw.count("</details>") == 1
    assert "3D_x" not in raw, "names are escaped"


def test_markdown_of_no_change_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    steady()
    commit()
    assert diff("--markdown") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("**no cell of 2 changed**\n")
    assert "<details>" not in shown


def test_markdown_of_very_much_fits_a_pull_request(capsys: pytest.CaptureFixture[str]) -> None:
    models = [f"{'_' * 100}{number}" for number in range(40)]
    steady(last=3, models=models)
    commit()
    record(7, 20.0, models=models)
    assert diff("--markdown") == 0
    shown = capsys.readouterr().out
    assert 50_000 < len(shown) <= 60_000
    assert shown.count("</details>") == 1
    assert "more rows left out: see `gaitperf baseline diff`" in shown
    assert "more such changes below" in shown


def test_a_name_cannot_format_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    steady()
    commit()
    text = FILE.read_text().replace('"host board"', '"@all <script> | [x](y) **b**"')
    FILE.write_text(text)
    record(7, 20.0)
    FILE.write_text(FILE.read_text().replace('"host board"', '"@all <b> | [x](y) `c`"'))
    assert diff("--markdown") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "on commit" in line)
    assert not set("@<>|[]()*`_") & set(line)


def test_markdown_of_several_profiles_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    steady()
    record(1, 40.0, profile="agx")
    commit()
    record(7, 20.0)
    record(7, 20.0, profile="agx")
    assert diff("--markdown") == 0
    shown = html.unescape(capsys.readouterr().out)
    assert "| orin/3D/b1-c1 | throughput inf/s |" in shown
    assert "| agx/3D/b1-c1 |" in shown
    assert "Profile" not in shown


def test_json_has_the_numbers_unrounded_and_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    steady()
    commit()
    record(7, 20.0)
    assert diff("--json=-") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["new"], found["compared"]) == (1, "work tree", 2)
    assert found["counts"]["worse"] == 2
    cell = found["cells"][0]
    assert (cell["profile"], cell["model"], cell["key"]) == ("orin", "3D", "b1-c1")
    item = cell["metrics"]["throughput"]
    assert item["unit"] == "inf/s"
    assert item["change"] == pytest.approx(item["new"] / item["old"] - 1)
    assert item["beyond"] is item["worse"] is True
    assert found["added"][0]["recorder"] == "host board"


def test_as_a_program_its_exit_code_is_that_of_git(tmp_path: Path) -> None:
    steady()
    commit()
    record(7, 20.0)
    words = [sys.executable, "-m", "pytest_gaitperf.cli", "baseline", "diff", "--exit-code"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "2 worse" in done.stdout
    assert done.stderr == ""


def test_help_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "A * marks a change beyond what the spread between sessions explains (at 1 %" in text
    assert "the old revision, and the new one (HEAD, and the work tree)" in text


def test_all_of_gits_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git_there = tmp_path / "bin" / "git"
    git_there.parent.mkdir()
    git_there.write_text(
        "#!/bin/sh\nprintf 'fatal: not yours\\nto trust it:\\n\\n\\tdo this\\n' >&2; exit 128\n"
    )
    git_there.chmod(0o755)
    monkeypatch.setenv("PATH", str(git_there.parent))
    assert main(["baseline", "diff"]) == 1
    assert "not yours to trust it: do this" in capsys.readouterr().err
