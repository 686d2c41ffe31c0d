"""A fake nvpmodel on PATH, and a state directory of its own for what a killed run leaves."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

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
