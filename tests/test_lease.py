"""What names an owner is swept when that owner is gone, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import lease
from pytest_gaitperf.lease import abandoned, prefix, sweep

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def of_a_process_that_is_gone(kind: str = "triton") -> str:
    program = f"from pytest_gaitperf.lease import prefix; print(prefix({kind!r}), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout + "abcd1234"


def test_what_has_no_owner_goes_and_all_else_stays(temporary: Path) -> None:
    dead, alive = of_a_process_that_is_gone(), prefix("triton") + "abcd1234"
    fields = dead.split("-")
    elsewhere = "-".join([*fields[:3], "1", *fields[4:]])
    another_start = alive.replace(alive.split("-")[5], "1")
    foreign = ("gaitperf-", "gaitperf-triton-abcd1234", "gaitperf-notes", "other-" + dead)
    for name in (dead, alive, elsewhere, another_start, *foreign):
        (temporary / name).mkdir()
        (temporary / name / "inside").touch()
    precious = temporary / "precious"
    precious.mkdir()
    (temporary / f"{dead}x").symlink_to(precious)
    assert sorted(sweep()) == sorted([dead, another_start, f"{dead}x"])
    there = {path.name for path in temporary.iterdir()}
    assert there == {alive, elsewhere, "precious", *foreign}


def test_the_names_of_regions_are_leases_too() -> None:
    assert abandoned(of_a_process_that_is_gone().replace("-", "_") + "_region_1")
    assert not abandoned(prefix("triton").replace("-", "_") + "x")


def test_a_stub_whose_run_is_gone_is_killed_and_no_other_process(temporary: Path) -> None:
    dead = of_a_process_that_is_gone().replace("-", "_")
    alive = prefix("triton").replace("-", "_") + "x"
    told = (
        ("/a/triton_python_backend_stub", "model.py", dead),
        ("/a/triton_python_backend_stub", "model.py", alive),
        ("/usr/bin/tail", "-f", dead),
    )
    processes = [
        subprocess.Popen([program, "-c", "input()", *words], executable=sys.executable, stdin=-1)
        for program, *words in told
    ]
    assert sweep() == [f"process {processes[0].pid}"]
    for process in processes:
        process.communicate(b"\n")
    assert [process.returncode for process in processes] == [-9, 0, 0]


def test_of_another_boot_only_what_is_older_than_this_one_is_abandoned() -> None:
    name = prefix("triton") + "abcd1234"
    boot = name.split("-")[2]
    other = name.replace(boot, "01234567" if boot != "01234567" else "76543210")
    assert not abandoned(other)
    assert not abandoned(other, time.time())
    assert abandoned(other, 1.0)


def test_a_process_of_another_user_is_an_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_ours(_pid: int, _number: int) -> None:
        raise PermissionError

    name = prefix("triton") + "x"
    monkeypatch.setattr(os, "kill", not_ours)
    monkeypatch.setattr(lease, "_start", lambda _pid: None)
    assert not abandoned(name)


def test_it_runs_as_a_script_without_the_package(temporary: Path) -> None:
    dead = temporary / of_a_process_that_is_gone()
    dead.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-S", lease.__file__],
        env={"TMPDIR": str(temporary), "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"removed {dead.name}: " in done.stdout
    assert not dead.exists()
