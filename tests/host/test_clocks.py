"""Clocks of a GPU and a memory, on trees with the names that a Jetson's kernel has: a fake."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.host.clocks import Clock, ClockNotAllowedError, Clocks, restorable
from pytest_gaitperf.host.modes import Keeper, note_path, restore_leftover
from pytest_gaitperf.host.nvpmodel import write_all
from tests.host.fake_jetson_modes import EMC, GPU, held, plant_clocks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's clocks, and a note of its own for what a killed run leaves."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    plant_clocks(tmp_path)
    return tmp_path


def test_both_are_held_and_are_free_again(board: Path) -> None:
    clocks = Clocks(("gpu", "emc"), board)
    before, free = held(board), clocks.values()
    (gpu,), (emc,) = clocks.chosen("gpu", ["408"]), clocks.chosen("emc", ["2133"])
    assert (str(gpu), gpu.name, emc.name) == ("GPU 408 MHz", "gpu408", "emc2133")
    clocks.fix(gpu)
    clocks.fix(emc)
    assert held(board) == {
        "min_freq": "408000000",
        "max_freq": "408000000",
        "rate": "2133000000",
        "mrq_rate_locked": "1",
    }
    assert not write_all(free)
    # Unlocked, the memory's rate is its governor's again.
    assert held(board) == {**before, "rate": "2133000000"}


def test_a_rate_that_was_locked_before_is_locked_again(board: Path) -> None:
    (board / EMC / "mrq_rate_locked").write_text("1\n")
    clocks, before = Clocks(("emc",), board), held(board)
    free = clocks.values()
    clocks.fix(Clock("emc", 204_000_000))
    assert not write_all(free)
    assert held(board) == before


def test_all_are_those_that_the_gpu_lists(board: Path) -> None:
    found = Clocks(("gpu",), board).chosen("gpu", ["all"])
    assert [clock.hz for clock in found] == [306_000_000, 408_000_000, 612_000_000, 918_000_000]
    with pytest.raises(ConfigurationError, match="EMC of this device does not list its clocks"):
        Clocks(("emc",), board).chosen("emc", ["all"])


def test_what_is_not_there_is_refused_and_what_the_mode_forbids_is_not_set(board: Path) -> None:
    clocks, before = Clocks(("gpu", "emc"), board), held(board)
    with pytest.raises(ConfigurationError, match="no clock of 500 MHz; it has 306, 408, 612, 918"):
        clocks.chosen("gpu", ["500"])
    with pytest.raises(ClockNotAllowedError, match="in this power mode: 0 to 612 MHz are"):
        clocks.fix(Clock("gpu", 918_000_000))
    with pytest.raises(ClockNotAllowedError, match="204 to 3199 MHz are"):
        clocks.fix(Clock("emc", 100_000_000))
    assert held(board) == before
    with pytest.raises(ConfigurationError, match="has no GPU: its clock can be set"):
        Clocks(("gpu",), board / "state")
    with pytest.raises(ConfigurationError, match=r"max_rate cannot be read"):
        Clocks(("emc",), board / "state")


def test_a_clock_that_the_device_does_not_take_is_said(board: Path) -> None:
    file = board / GPU / "min_freq"
    file.unlink()
    file.symlink_to("/dev/null")
    with pytest.raises(MeasurementError, match=r"GPU 408 MHz was not taken: .*min_freq stays at"):
        Clocks(("gpu",), board).fix(Clock("gpu", 408_000_000))


def test_without_the_right_the_line_for_sudoers_is_shown(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = board / "bin"
    tools.mkdir()
    (tools / "sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    (tools / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigurationError, match=r"ada ALL=\(root\) NOPASSWD: /usr/bin/tee .*max"):
        Clocks(("gpu",), board).fix(Clock("gpu", 408_000_000))


def test_a_keeper_restores_them_and_after_its_kill_the_next_run_does(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks, before = Clocks(("gpu",), board), held(board)
    with Keeper(None, None, clocks.values()) as keeper:
        clocks.fix(Clock("gpu", 408_000_000))
    assert keeper.restored
    assert held(board) == before
    keeper = Keeper(None, None, clocks.values())
    keeper._process.send_signal(signal.SIGKILL)
    keeper.close()
    assert not keeper.restored
    clocks.fix(Clock("gpu", 306_000_000))
    assert note_path().exists()
    monkeypatch.setattr("pytest_gaitperf.host.modes.restorable", dict)  # the tree is not /sys
    assert restore_leftover() == "restored the clocks, which a run that was killed had changed"
    assert held(board) == before
    assert not note_path().exists()


def test_a_note_is_not_obeyed_where_it_names_other_files(board: Path) -> None:
    hostile = board / "hostile"
    gpu = "/sys/class/devfreq/17000000.gpu/max_freq"
    given = {str(hostile): "1", "/etc/passwd": "1", "/sys/class/devfreq/../x": "1", gpu: "x"}
    assert restorable(given) == {}
    assert restorable({gpu: "612000000"}) == {gpu: "612000000"}
    note_path().parent.mkdir(parents=True)
    note_path().write_text(json.dumps({"mode": None, "name": "", "clocks": {str(hostile): "1"}}))
    restore_leftover()
    assert not hostile.exists()
