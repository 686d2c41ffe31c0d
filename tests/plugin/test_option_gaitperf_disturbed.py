"""--gaitperf-disturbed: what others may take from a window."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SPIN = "import ctypes; ctypes.CDLL(None).prctl(15, b'gaitspin')\nwhile 1: pass"


@pytest.mark.slow
def test_beside_a_process_that_spins_nothing_is_judged_nor_recorded(project: Project) -> None:
    run = (project.grid("steady"), "-k", "throughput", "--gaitperf-json=results.json")
    command = [sys.executable, "-S", "-c", SPIN]
    with subprocess.Popen(command, start_new_session=True) as spinner:
        try:
            # Its name is that of who used most, or of the first three.
            strict = (*run, "--gaitperf-update=missing", "--gaitperf-disturbed=1%")
            shown = project.run(*strict)
            assert shown.ret == 10
            shown.stdout.fnmatch_lines(["*`gaitspin`*of * CPUs in * windows*"])
            assert not (project.path / "baselines").exists()
            assert "`gaitspin`" in str(project.measured().invalid)
            tolerant = project.run(*run, "--gaitperf-update=missing", "--gaitperf-disturbed=off")
            assert tolerant.ret == 0
            assert project.measured().surroundings is not None
        finally:
            spinner.kill()


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-disturbed", "2", "'2' is neither a percentage below 100% nor a")
