"""--gaitperf-journal: each measured cell is on the disk, however the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import read_results
from pytest_gaitperf.cli import main
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.results import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

KILL_AFTER_FIRST = """
import os, signal

def pytest_configure(config):
    from pytest_gaitperf.journal import Journal
    add = Journal.add
    def then_die(self, *entry):
        add(self, *entry)
        os.kill(os.getpid(), signal.{signal})
    Journal.add = then_die
"""


LEFT: list[bytes] = []
"""The journal that a killed run left, for every test that begins with one."""


def left_by_a_kill(project: Project) -> Path:
    """Write what a run leaves that is killed when its first cell is measured."""
    journal = project.path / "j.jsonl"
    if not LEFT:
        assert killed(project, signal.SIGKILL, "--gaitperf-journal=j.jsonl") == -signal.SIGKILL
        LEFT.append(journal.read_bytes())
    journal.write_bytes(LEFT[0])
    return journal


def killed(project: Project, number: signal.Signals, *arguments: str) -> int:
    """Let a run send itself a signal when its first cell is measured; return its exit code."""
    (project.path / "conftest.py").write_text(KILL_AFTER_FIRST.format(signal=number.name))
    shown = project.run_apart(project.grid("steady", concurrencies="[1, 2]"), *arguments)
    (project.path / "conftest.py").unlink()
    return int(shown.ret)


@pytest.mark.slow
def test_after_a_kill_it_has_what_was_measured_and_the_next_run_goes_on(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = left_by_a_kill(project)
    run = read_results(journal)
    assert run.outcome is Outcome.UNMEASURED
    first, second = run.cells
    assert first.measurement is not None
    assert first.measurement.metrics["throughput"].value > 10
    assert "the run ended before this cell was measured" in str(second.error)
    assert run.environment.triton is not None

    with journal.open("ab") as file:
        file.write(b'{"cell": {"id": "torn')
    assert [cell.id for cell in read_results(journal).cells] == [first.id, second.id]
    assert main(["report", str(journal), "-o", str(tmp_path / "page.html")]) == 0

    text = journal.read_text()
    (began,) = run.sessions.began
    journal.write_text(text.replace(f'"{began}"', '"someday"', 1))
    shown = project.run(
        project.grid("steady", concurrencies="[1, 2]"),
        *("--gaitperf-journal=j.jsonl", "--gaitperf-resume", "--gaitperf-json=results.json"),
        *("-k", "throughput"),
    )
    shown.stdout.fnmatch_lines(["1 cell of the run of * taken from its journal *, 1 to measure"])
    cells = project.cells()
    assert cells[first.id].measurement == first.measurement
    assert cells[second.id].measurement is not None
    assert not journal.exists()


@pytest.mark.slow
def test_a_model_that_has_changed_is_measured_anew(project: Project) -> None:
    journal = left_by_a_kill(project)
    content = journal.read_text()
    assert '"signature":"' in content
    journal.write_text(content.replace('"signature":"', '"signature":"another '))
    shown = project.run(
        project.grid("steady", concurrencies="[1, 2]"),
        *("--gaitperf-journal=j.jsonl", "--gaitperf-resume", "-k", "throughput"),
    )
    shown.stdout.fnmatch_lines(["0 cells of the run of *, 2 to measure"])


@pytest.mark.slow
def test_another_device_and_a_recording_do_not_go_on_from_it(project: Project) -> None:
    grid = project.grid("steady")
    options = ("--gaitperf-journal=j.jsonl", "--gaitperf-resume")
    for more, says in (
        ((), "j.jsonl: cannot be read (No such file or directory)"),
        (("--gaitperf-update=all",), "nothing of that is recorded"),
    ):
        shown = project.run(grid, *options, *more)
        assert shown.ret == pytest.ExitCode.USAGE_ERROR
        assert says in " ".join(shown.stderr.str().split())
    left_by_a_kill(project)
    shown = project.run(grid, *options, "--gaitperf-profile=there")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    assert "was written on here" in " ".join(shown.stderr.str().split())


@pytest.mark.slow
def test_a_run_that_is_interrupted_says_where_it_is(project: Project) -> None:
    killed(project, signal.SIGTERM, "--gaitperf-json=results.json", "--gaitperf-journal=j.jsonl")
    assert (project.path / "j.jsonl").exists()
    first, *_ = project.cells().values()
    assert first.measurement is not None
    shown = project.run(
        project.grid("steady"), "--gaitperf-journal=j.jsonl", "--gaitperf-json=/dev/full"
    )
    assert "j.jsonl, for 'gaitperf report'" in " ".join(shown.stdout.str().split())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"journal":', "a journal without a beginning"),
        (b'{"journal":2,"cells":[]}\n', "a journal of format 2"),
        (b'{"journal":1}\n', "a journal without a beginning"),
        (b'{"journal":1,"schema":2,"cells":[]}\n', "profile"),
        (b'{"journal":1,"schema":2,"cells":3}\n', "a journal without a beginning"),
    ],
)
def test_what_is_no_journal_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says):
        read_results(path)


@pytest.mark.slow
def test_a_terminal_that_goes_away_loses_no_cell(project: Project) -> None:
    (project.path / "conftest.py").write_text(
        "import os, signal\n"
        "def pytest_configure(config):\n"
        "    from pytest_gaitperf.journal import Journal\n"
        "    add = Journal.add\n"
        "    def then_say(self, *entry):\n"
        "        add(self, *entry)\n"
        "        open('measured', 'w').close()\n"
        "    Journal.add = then_say\n"
    )
    grid = project.grid("steady", concurrencies="[1, 2, 3]")
    master, slave = os.openpty()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *project.options, grid]
    process = subprocess.Popen(
        ["/usr/bin/setsid", "--ctty", "--wait", *command, "--gaitperf-json=results.json"],
        cwd=project.path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    deadline = time.monotonic() + 60
    while not (project.path / "measured").exists():
        assert time.monotonic() < deadline
        os.set_blocking(master, False)
        try:
            os.read(master, 1 << 16)
        except BlockingIOError:
            time.sleep(0.02)
    os.close(master)
    assert process.wait(30) == pytest.ExitCode.INTERRUPTED
    cells = project.cells().values()
    assert any(cell.measurement is not None for cell in cells)
