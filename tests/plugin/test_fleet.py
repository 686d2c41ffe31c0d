"""A fleet: every board runs the whole suite, one pytest gathers it.

The boards of these tests are processes on this machine under profiles of their own; they share its
lock, so that they measure in turns.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.fleet import fleet as gathering
from pytest_gaitperf.fleet.board import Board
from pytest_gaitperf.host.lock import DIRECTORY, THIS_DEVICE
from tests.plugin.baselines import UNMEASURED, baseline_files
from tests.report.runs import GOOD, run

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def fleet(project: Project) -> Project:
    """The project without a profile: each board brings its own."""
    options = [option for option in project.options if not option.startswith("--gaitperf-profile")]
    return replace(project, options=(*options, project.grid("steady")))


def board(name: str, profile: str = "") -> str:
    """Return the option that adds a process as a board."""
    profile = f"--gaitperf-profile={profile or name}"
    return f"--gaitperf-board=popen//id={name}//env:PYTEST_ADDOPTS={profile}"


@pytest.mark.slow
def test_boards_are_gathered_and_what_is_wrong_with_others_is_said(
    fleet: Project, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    bare = f"{board('bare')}//chdir={tmp_path / 'elsewhere'}"
    broken = "--gaitperf-board=popen//id=broken//python=/nonexistent/python"
    outputs = (
        "--gaitperf-json=out/r.json",
        "--gaitperf-summary=s.md",
        "--gaitperf-report=out/r.html",
    )
    export = "--gaitperf-export=csv:cells.csv"
    red = f"{board('red')} --gaitperf-limit='latency_p50 <= 1 ms'"
    shown = fleet.run_apart(
        *("test_grid.py", *outputs, export, "--gaitperf-update=missing"),
        *(board("a"), red, broken, bare),
    )
    text = shown.stdout.str()
    assert shown.ret == pytest.ExitCode.TESTS_FAILED, text
    shown.stdout.fnmatch_lines(["[[]broken[]] lost: /nonexistent/python cannot be run: *"])
    for line in ("[a] 1/1 steady-b1-c1: ", "[a] green; exit code 0\n", "gaitperf: red ="):
        assert line in text
    fleet_table = text.partition("= gaitperf fleet =")[2]
    assert fleet_table.index("a       a") < fleet_table.index("red     red")
    said = " ".join(fleet_table.split())
    assert "red; exit code 1: steady-b1-c1: latency_p50 <= 1 ms: violated" in said
    assert "exit code 4: ERROR: file or directory not found: test_g" in said
    assert "3 of 4 boards not green" in fleet_table

    index = fleet.results("out/r.json")
    assert (index["schema"], index["outcome"]) == ("fleet-2", "red")
    by_name = {one["board"]: one for one in index["boards"]}
    assert by_name["a"]["results"] == "r-a.json"
    assert (by_name["broken"]["lost"], by_name["broken"]["results"]) == (True, None)
    assert [by_name[name]["exit_code"] for name in ("a", "red", "broken")] == [0, 1, None]
    outcomes = [by_name[name]["outcome"] for name in ("a", "red", "broken", "bare")]
    assert outcomes == ["green", "red", "unmeasured", "unmeasured"]
    assert by_name["bare"]["why"] == "ERROR: file or directory not found: test_grid.py"
    assert (fleet.results("out/r-red.json")["profile"]["id"], by_name["red"]["profile"]) == (
        "red",
        "red",
    )
    assert fleet.results("out/r-a.json")["board"] == "a"
    assert (fleet.path / "cells-a.csv").exists()
    assert "steady-b1-c1" in (fleet.path / "out" / "r-a.html").read_text()
    assert (fleet.path / "s.md").read_text().startswith("## ❌ gaitperf: 3 boards of 4 not green")

    (recorded,) = baseline_files(fleet)
    assert recorded.relative_to(fleet.path) == Path("baselines/a/steady.json")


@pytest.mark.slow
def test_boards_of_one_profile_record_their_sessions_into_one_baseline(fleet: Project) -> None:
    shown = fleet.run_apart(board("a", "here"), board("b", "here"), "--gaitperf-update=missing")
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    assert "every board is green" in shown.stdout.str()
    (path,) = baseline_files(fleet)
    assert path.parent.name == "here"
    sessions = json.loads(path.read_text())["sessions"]
    assert sorted(session.rpartition("-")[2] for session in sessions) == ["a", "b"]


@pytest.mark.slow
def test_a_board_that_is_killed_does_not_keep_the_others_from_their_end(fleet: Project) -> None:
    note = Path(os.environ[DIRECTORY]) / f"gaitperf-{THIS_DEVICE}.lock"
    command = [sys.executable, "-m", "pytest", *fleet.options, "--gaitperf-json=r.json"]
    command.append("--gaitperf-update=missing")
    with subprocess.Popen(
        [*command, board("a"), board("b")], cwd=fleet.path, stdout=subprocess.PIPE, text=True
    ) as running:
        deadline = time.monotonic() + 60
        while not (note.exists() and note.read_text()):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.02)
        os.kill(json.loads(note.read_text())["pid"], signal.SIGKILL)
        text, _ = running.communicate(timeout=120)
    assert running.returncode == UNMEASURED, text
    assert "lost: its pytest was killed by SIGKILL" in text
    boards = fleet.results("r.json")["boards"]
    assert sorted(one["lost"] for one in boards) == [False, True]
    (left,) = (one for one in boards if not one["lost"])
    assert list(fleet.cells(left["results"])) == ["steady-b1-c1"]


LIAR = r"""
import os, sys
for file in range(3, 20):  # past pytest's capturing
    if os.path.exists(f"/proc/self/fd/{file}") and "pipe" in os.readlink(f"/proc/self/fd/{file}"):
        os.write(file, b"1/1 \x1b[2J::error::pwned ##[group]x" + b"y" * 3000 + b"\n")
path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--gaitperf-json="))
open(path, "w").write("[" * 100_000)
os.kill(os.getpid(), 40) if "die" in os.getcwd() else os._exit(0)
"""


def test_boards_that_lie_drive_no_terminal_and_are_not_green(
    fleet: Project, tmp_path: Path
) -> None:
    boards = []
    for name in ("liar", "dies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "conftest.py").write_text(LIAR)
        boards.append(f"--gaitperf-board=popen//id={name}//chdir={tmp_path / name}")
    shown = fleet.run_apart(*boards, "--gaitperf-json=r.json")
    assert shown.ret == UNMEASURED
    text = shown.stdout.str()
    assert "[liar] 1/1 \\x1b[2J" in text
    assert not {"\x1b", "\x9b"} & set(text)
    assert "##[" not in text
    assert max(map(len, text.splitlines())) < 500
    assert "lost: what it sent cannot be read" in " ".join(text.split())
    assert {one["outcome"] for one in fleet.results("r.json")["boards"]} == {"unmeasured"}


def test_boards_in_addopts_are_refused_by_the_boards_which_read_them_too(
    fleet: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAITPERF_BOARD", "a")
    shown = fleet.run_apart("--gaitperf-board=popen//python=/no/python")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR, shown.stdout.str()
    shown.stderr.fnmatch_lines(["ERROR: --gaitperf-board is in addopts, which boards read too: *"])


def test_where_no_board_can_run_each_is_named_with_its_reason(fleet: Project) -> None:
    shown = fleet.run_apart(
        "--gaitperf-board=popen//id=x//python=/no/python",
        "--gaitperf-board=popen//id=y//python=false",
    )
    assert shown.ret == UNMEASURED
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "x unknown lost: /no/python cannot be run: " in text
    assert "y unknown lost: 'false' is no Python there: exit code 1" in text
    assert "2 of 2 boards not green" in text


def test_its_summary_has_the_columns_that_were_named(tmp_path: Path) -> None:
    path = tmp_path / "s.md"
    of_boards: Any = SimpleNamespace(
        _settings=Settings(summary=path, columns=("watts", "p50")),
        boards={"a": Board("a", "here", code=0, run=run(GOOD))},
    )
    gathering._Fleet._summary(of_boards)
    assert "| cell | verdict | power W | p50 ms |" in path.read_text()
