"""Fakes: clocks as files, nvpmodel on PATH, a state directory for what a killed run leaves."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

GPU = "sys/class/devfreq/17000000.gpu"
EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
FAKE = Path(__file__).with_name("fake_nvpmodel.py")


@dataclass(frozen=True, slots=True)
class FakeModes:
    """The state of a fake nvpmodel."""

    state: Path
    note: Path

    @property
    def mode(self) -> int:
        return int((self.state / "mode").read_text())

    @property
    def log(self) -> list[int]:
        """The modes that were set."""
        log = self.state / "log"
        return [int(line) for line in log.read_text().split()] if log.exists() else []

    def deny(self) -> None:
        (self.state / "denied").touch()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> FakeModes:
    """Put the fake on PATH, in a mode."""
    state = folder / "nvpmodel-state"
    bin_ = folder / "bin"
    for made in (state, bin_):
        made.mkdir()
    (state / "mode").write_text(str(mode))
    tool = bin_ / "nvpmodel"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{FAKE}" "{state}" "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    return FakeModes(state, folder / "state" / "gaitperf" / "power-mode.json")


def plant_clocks(board: Path) -> None:
    """Write the clocks of an Orin Nano in a mode that allows its GPU 612 MHz."""
    files = {
        f"{GPU}/available_frequencies": "612000000 306000000 408000000 918000000",
        f"{GPU}/min_freq": "306000000",
        f"{GPU}/max_freq": "612000000",
        "sys/class/devfreq/13e00000.nvdec/max_freq": "1",
        f"{EMC}/min_rate": "204000000",
        f"{EMC}/max_rate": "3199000000",
        f"{EMC}/rate": "665600000",
        f"{EMC}/mrq_rate_locked": "0",
    }
    for name, text in files.items():
        path = board / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def held(board: Path) -> dict[str, str]:
    """Return what the clocks' files hold, by the files' names."""
    names = (f"{GPU}/min_freq", f"{GPU}/max_freq", f"{EMC}/rate", f"{EMC}/mrq_rate_locked")
    return {name.rpartition("/")[2]: (board / name).read_text().strip() for name in names}
