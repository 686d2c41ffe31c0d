"""A run that goes on from a journal, where it cannot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.engine import Engine
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.engine.resuming import resume
from pytest_gaitperf.host.lock import held
from pytest_gaitperf.progress import TerminalProgress
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_who_has_the_device_is_the_error_of_every_cell(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    settings = Settings(
        baselines=tmp_path,
        triton="local",
        lock="refuse",
        journal=tmp_path / "journal.jsonl",
        resume=True,
    )
    engine = Engine(Resources(settings, None, TerminalProgress(pytestconfig)), lambda *_: None)
    engine.resources.plan([Workload("m", 1, 1), Workload("m", 2, 1)], others=False)
    with held(command="the other run"):
        resume(engine)
        engine.run_planned()
    errors = [str(cell.error) for cell in engine.measuring.cells.values()]
    assert len(errors) == 2
    for error in errors:
        assert f"this device is being measured by process {os.getpid()} of " in error
        assert "the other run: wait for its end" in error
