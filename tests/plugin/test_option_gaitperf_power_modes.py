"""--gaitperf-power-modes and -clocks: pytest once for each, then all is as before. Fakes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_gaitperf.host.clocks import Clocks
from tests.host.fake_jetson_modes import GPU, FakeModes, held, install, plant_clocks
from tests.triton.infer import wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.plugin.conftest import Project

    Sweep = tuple[subprocess.Popen[bytes], Path]

# Needs no server: it says which mode it ran in, and fails in the one that it is told to fail in.
SAYS = """
import os
import pathlib
import subprocess


def test_mode():
    said = subprocess.run(["nvpmodel", "-q"], stdout=subprocess.PIPE, text=True, check=True).stdout
    mode = said.split()[-2]
    with open("modes.txt", "a") as file:
        file.write(mode + "\\n")
    assert mode != os.environ.get("BAD_MODE")
"""
WAITS = """
import pathlib
import time


def test_wait():
    pathlib.Path("waiting").touch()
    time.sleep(60)
"""
QUICK = ("-p", "no:hypothesispytest", "-p", "no:cacheprovider", "--gaitperf-profile=here")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeModes:
    """A fake nvpmodel in its mode 15W; these tests run as root or not, and need no sudo."""
    sudo = tmp_path / "sudo"
    sudo.mkdir()
    (sudo / "sudo").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (sudo / "sudo").chmod(0o755)
    fake = install(tmp_path, monkeypatch, mode=1)
    monkeypatch.setenv("PATH", str(sudo), prepend=":")
    return fake


@pytest.mark.slow
def test_each_mode_is_a_run_and_the_worst_of_them_counts(
    pytester: pytest.Pytester, fake: FakeModes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_says=SAYS)
    monkeypatch.setenv("BAD_MODE", "7W")
    shown = pytester.runpytest_subprocess(
        *QUICK, "--gaitperf-power-modes", "2,MAXN_SUPER,MAXN", "--junitxml=tests.xml"
    )
    assert shown.ret == pytest.ExitCode.TESTS_FAILED
    assert (pytester.path / "modes.txt").read_text().split() == ["7W", "MAXN"]
    assert {path.name for path in pytester.path.glob("*.xml")} == {
        "tests-7W.xml",
        "tests-MAXN.xml",
    }
    shown.stdout.fnmatch_lines(
        [
            "* power mode 7W (2) *",
            "*1 failed in*",
            "* power mode MAXN_SUPER (3) *",
            "skipped: MAXN_SUPER (3) needs a reboot, which a run never does",
            "* power mode MAXN (0) *",
            "*1 passed in*",
            "* power modes and clocks *",
            "7W (2): exit code 1",
            "MAXN_SUPER (3): skipped: *",
            "MAXN (0): exit code 0",
            "the device is in 15W (1) again",
        ]
    )
    assert (fake.mode, fake.log) == (1, [2, 0, 1])
    assert not fake.note.exists()


CLOCKED = """
import os
import pathlib


def test_clock():
    gpu = pathlib.Path(os.environ["GPU"])
    with open("clocks.txt", "a") as file:
        file.write(f"{os.environ['GAITPERF_CLOCKS']} {(gpu / 'max_freq').read_text()}\\n")
"""


@pytest.mark.parametrize("modes", [(), ("--gaitperf-power-modes=15W,7W",)])
def test_each_clock_is_a_run_and_all_are_as_before(
    pytester: pytest.Pytester,
    fake: FakeModes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modes: tuple[str, ...],
) -> None:
    pytester.makepyfile(test_clock=CLOCKED)
    plant_clocks(tmp_path)
    before = held(tmp_path)
    monkeypatch.setattr("pytest_gaitperf.sweep.Clocks", partial(Clocks, root=tmp_path))
    monkeypatch.setenv("GPU", str(tmp_path / GPU))
    shown = pytester.runpytest_inprocess(
        *(*QUICK, *modes, "--gaitperf-gpu-clocks=306,408,918", "--gaitperf-emc-clocks=2133")
    )
    assert shown.ret == 10, "a clock that was named did not run"
    ran = ["gpu306-emc2133 306000000", "gpu408-emc2133 408000000"] * (len(modes) + 1)
    assert (pytester.path / "clocks.txt").read_text().splitlines() == ran
    why = "skipped: GPU 918 MHz is not allowed in this power mode: 0 to 612 MHz are"
    mode = ("15W (1), ", "7W (2), ") if modes else ("",)
    lines = [
        line
        for one in mode
        for line in (
            f"{one}GPU 306 MHz, EMC 2133 MHz: exit code 0",
            f"{one}GPU 408 MHz, EMC 2133 MHz: exit code 0",
            f"{one}GPU 918 MHz, EMC 2133 MHz: {why}",
        )
    ]
    end = "the device is in 15W (1) again" if modes else "the clocks are restored"
    shown.stdout.fnmatch_lines([*(line.replace("[", "[[]") for line in lines), end])
    assert held(tmp_path) == {**before, "rate": "2133000000"}, "unlocked, its rate is free"
    assert not fake.note.exists()


@pytest.mark.slow
def test_results_and_baselines_of_modes_stand_apart(project: Project, fake: FakeModes) -> None:
    shown = project.run(
        *(project.grid("steady"), "--gaitperf-update=missing", "--gaitperf-json=results.json"),
        *("--gaitperf-power-modes=0,1", "-k", "throughput", "-p", "no:cacheprovider"),
        *("--gaitperf-budget=2", "--gaitperf-report=report.html"),
    )
    assert shown.ret == pytest.ExitCode.OK
    profiles = {
        mode: project.results(f"results-{mode}.json")["profile"]["id"] for mode in ("MAXN", "15W")
    }
    assert profiles == {"MAXN": "here-maxn", "15W": "here-15w"}
    whole = project.results()
    assert [cell["id"] for cell in whole["cells"]] == ["steady@MAXN-b1-c1", "steady@15W-b1-c1"]
    assert (whole["outcome"], whole["frontier"]["compared"]) == ("green", 2)
    assert whole["profile"]["id"] == "here-maxn, here-15w"
    assert "steady@15W" in (project.path / "report.html").read_text()
    assert not whole["problems"]
    for profile in profiles.values():
        assert (project.path / "baselines" / profile / "steady.json").exists()
    assert fake.log == [0, 1, 1]


@pytest.fixture
def waiting(pytester: pytest.Pytester, fake: FakeModes) -> Iterator[Sweep]:
    """A sweep that is in the test of its first mode, and where its output goes."""
    pytester.makepyfile(test_wait=WAITS)
    output = pytester.path / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *QUICK, "--gaitperf-power-modes=MAXN,7W"],
            cwd=pytester.path,
            stdout=file,
            stderr=file,
        )
    while not (pytester.path / "waiting").exists():
        assert process.poll() is None, output.read_text()
        time.sleep(0.05)
    assert fake.mode == 0
    yield process, output
    process.kill()
    process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 2), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_sweep_and_the_mode_is_restored(
    waiting: Sweep, fake: FakeModes, number: int, code: int
) -> None:
    process, output = waiting
    children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(number)
    assert process.wait(30) == code
    text = output.read_text()
    assert "Interrupted" in text or "KeyboardInterrupt" in text, "pytest ended in its own way"
    assert "MAXN (0): not run to its end: the sweep was stopped" in text
    assert "the device is in 15W (1) again" in text
    assert "Traceback" not in text
    assert (fake.mode, fake.log, fake.note.exists()) == (1, [0, 1], False)
    assert not wait_gone(children)


def test_a_killed_sweep_is_restored_by_its_keeper(waiting: Sweep, fake: FakeModes) -> None:
    process, _ = waiting
    children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    process.wait()
    assert not wait_gone(children), "pytest ends with its parent, the keeper when it is done"
    assert (fake.mode, fake.log, fake.note.exists()) == (1, [0, 1], False)


def test_after_its_keeper_was_killed_too_the_next_run_restores_and_says_so(
    waiting: Sweep, fake: FakeModes, project: Project
) -> None:
    process, _ = waiting
    processes = psutil.Process(process.pid).children(recursive=True)
    (keeper,) = (child for child in processes if "host/nvpmodel.py" in " ".join(child.cmdline()))
    keeper.kill()
    process.kill()
    process.wait()
    assert not wait_gone([child.pid for child in processes])
    assert fake.mode == 0
    shown = project.run(project.grid("steady"), "-k", "nothing", "test_grid.py")
    shown.stdout.fnmatch_lines(["restored the power mode 15W (1), which a run that was killed *"])
    assert (fake.mode, fake.note.exists()) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--gaitperf-power-modes=30W",),
            "no mode '30W'; it has MAXN (0), 15W (1)",
        ),
        (("--gaitperf-power-modes=0", "-n2"), "run the sweep on each device itself"),
        (("--gaitperf-gpu-clocks=306",), "has no GPU: its clock can be set on a Jetson only"),
        (("--gaitperf-gpu-clocks=fast",), "'fast' are no clocks in MHz, and not all"),
        (("--gaitperf-power-modes=0", "--gaitperf-profile="), "name it with --gaitperf-profile"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    pytester: pytest.Pytester, fake: FakeModes, arguments: tuple[str, ...], message: str
) -> None:
    pytester.makepyfile(test_says=SAYS)
    shown = pytester.runpytest_inprocess(*QUICK, *arguments)
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    assert message in " ".join(shown.stderr.str().split())
    assert not (pytester.path / "modes.txt").exists()
    assert fake.log == []


def test_in_a_file_it_is_refused_for_every_run_would_be_a_sweep(
    project: Project, fake: FakeModes
) -> None:
    (project.path / "pyproject.toml").write_text('[tool.gaitperf]\npower_modes = ["0"]\n')
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    assert "give --gaitperf-power-modes=0 on the command line" in shown.stderr.str()
    assert fake.log == []
