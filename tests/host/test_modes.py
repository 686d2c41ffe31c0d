"""Power modes: which there are, setting one, and giving the old one back. nvpmodel is a fake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.host.modes import (
    Keeper,
    PowerModes,
    RebootNeededError,
    power_mode,
    restore_leftover,
)
from pytest_gaitperf.host.nvpmodel import Mode, mode_in, modes_in
from tests.host.fake_jetson_modes import FakeModes, install

MAXN, W15, W7, SUPER = Mode(0, "MAXN"), Mode(1, "15W"), Mode(2, "7W"), Mode(3, "MAXN_SUPER")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeModes:
    """A fake nvpmodel in its mode 15W, run as root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return install(tmp_path, monkeypatch, mode=1)


def test_modes_are_chosen_by_number_by_name_or_all_and_each_once(fake: FakeModes) -> None:
    modes = PowerModes()
    assert modes.known == (MAXN, W15, W7, SUPER)
    assert modes.chosen(["2", "maxn", "7W"]) == [W7, MAXN]
    assert modes.chosen(["all"]) == [MAXN, W15, W7, SUPER]
    with pytest.raises(ConfigurationError, match=r"no mode '30W'; it has MAXN \(0\), 15W \(1\), "):
        modes.chosen(["MAXN", "30W"])
    assert fake.log == []


def test_modes_are_named_by_the_configuration_file_too() -> None:
    lines = "# < POWER_MODEL ID=9 NAME=NO >\n< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n"
    assert modes_in(lines + "  < POWER_MODEL ID=10 NAME=MODE_15W_2CORE >\n") == {
        0: "MAXN",
        10: "MODE_15W_2CORE",
    }


@pytest.mark.parametrize(
    ("answer", "mode"),
    [
        ("NV Power Mode: 15W\n2\n", Mode(2, "15W")),
        ("NV Power Mode: MODE_30W_ALL\n3", Mode(3, "MODE_30W_ALL")),
        ("NV Fan Mode:quiet\nNV Power Mode: MAXN\n0\n", Mode(0, "MAXN")),
        (
            "NVPM WARN: no fan mode\nNV Power Mode: 15W\nNVPM VERB: x\n 2 \n",
            Mode(2, "15W"),
        ),
        ("NV Power Mode:\n4\n", Mode(4, "mode4")),
        ("NV Power Mode: 15W\n", None),
        ("NVPM ERROR: 15W 2\n", None),
        ("", None),
    ],
)
def test_one_answer_of_the_tool_has_one_meaning(answer: str, mode: Mode | None) -> None:
    assert mode_in(answer) == mode


def test_the_profile_and_the_sweep_name_the_same_mode(fake: FakeModes) -> None:
    if Path("/var/lib/nvpmodel/status").exists():
        pytest.skip("this machine has power modes of its own")
    assert power_mode(Path("/")) == PowerModes().now().name == "15W"


def test_a_mode_that_needs_a_reboot_is_refused_and_nothing_is_rebooted(fake: FakeModes) -> None:
    modes = PowerModes()
    modes.set(W7)
    assert modes.now() == W7
    with pytest.raises(RebootNeededError, match=r"MAXN_SUPER \(3\) needs a reboot"):
        modes.set(SUPER)
    assert (modes.now(), fake.log) == (W7, [2])
    assert not (fake.state / "rebooted").exists()


def test_a_device_that_does_not_take_a_mode_says_why(fake: FakeModes) -> None:
    fake.deny()
    with pytest.raises(MeasurementError, match=r"stays in 15W \(1\) and not in 7W .*online: 13"):
        PowerModes().set(W7)


def test_without_the_right_to_set_modes_the_line_for_sudoers_is_shown(
    fake: FakeModes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("USER", "ada")
    sudo = fake.state.parent / "bin" / "sudo"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    with pytest.raises(ConfigurationError) as refused:
        PowerModes().set(W7)
    tool = fake.state.parent / "bin" / "nvpmodel"
    assert "7W (2) cannot be set (sudo: a password is required)" in str(refused.value)
    assert f"ada ALL=(root) NOPASSWD: {tool} -m [0-9], {tool} -m [0-9][0-9]" in str(refused.value)
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] || exit 9\nshift\nexec "$@"\n')
    PowerModes().set(W7)
    assert fake.mode == 2


def test_without_nvpmodel_it_is_no_jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="no nvpmodel on PATH"):
        PowerModes()


def test_the_keeper_restores_and_allows_one_run_at_a_time(fake: FakeModes) -> None:
    modes = PowerModes()
    with Keeper(modes, W15, {}) as keeper:
        assert json.loads(fake.note.read_text()) == {"mode": 1, "name": "15W", "clocks": {}}
        subprocess.run(modes.set_command(2), check=True)
        with pytest.raises(ConfigurationError, match="another run is changing the power modes"):
            Keeper(modes, W7, {})
        with pytest.raises(ConfigurationError, match="another run is changing the power modes"):
            restore_leftover()
        assert fake.mode == 2
    assert keeper.restored
    assert fake.mode == 1
    assert not fake.note.exists()


def test_what_a_killed_keeper_left_is_restored_later_or_said_to_be_impossible(
    fake: FakeModes,
) -> None:
    assert restore_leftover() == ""
    modes = PowerModes()
    keeper = Keeper(modes, W15, {})
    keeper._process.send_signal(signal.SIGKILL)
    keeper.close()
    assert not keeper.restored
    subprocess.run(modes.set_command(2), check=True)
    fake.deny()
    with pytest.raises(ConfigurationError, match=r"mode 15W \(1\).*run 'sudo nvpmodel -m 1'"):
        restore_leftover()
    (fake.state / "denied").unlink()
    assert restore_leftover().startswith("restored the power mode 15W (1)")
    assert (fake.mode, fake.note.exists()) == (1, False)


def test_a_note_without_content_is_no_change(fake: FakeModes) -> None:
    fake.note.parent.mkdir(parents=True)
    fake.note.touch()
    assert restore_leftover() == ""
    assert not fake.note.exists()
