"""Fake machines for the doctor: those of the device's and the meters' tests, looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.doctor import Finding, Machine
from pytest_gaitperf.host.state import read_state
from pytest_gaitperf.host.watch import Usage
from pytest_gaitperf.triton.server import find
from tests.host.conftest import orin_nano, plant
from tests.host.test_gpu import fake_nvml
from tests.power.conftest import hwmon_board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["fake_nvml", "hwmon_board", "orin_nano", "plant"]

QUIET = Usage(cpus=4, others=0.02, top=(), stolen=0.0, paged=0)


def machine(
    root: Path,
    *,
    usage: Usage = QUIET,
    settings: Settings | None = None,
    needs_energy: bool = False,
    finds: bool = False,
) -> Machine:
    """The machine below a root, idle unless told otherwise; it has the server that it ``finds``."""
    settings = settings or Settings()
    how, against = find(settings.triton, settings.triton_url) if finds else (None, ["nothing"])
    return Machine(
        settings,
        root,
        read_state(root=root),
        usage,
        how,
        against,
        needs_energy,
    )


def only(
    check: Callable[[Machine], Iterable[Finding]], looked_at: Machine, name: str = ""
) -> Finding:
    """The one finding of a check, or of that name."""
    (finding,) = [one for one in check(looked_at) if name in ("", one.name)]
    return finding


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
