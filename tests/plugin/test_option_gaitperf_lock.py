"""--gaitperf-lock: what a run does where another one measures this device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.host.lock import held
from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project


def test_refuse_names_the_other_run_and_measures_nothing(
    project: Project, server: TritonServer
) -> None:
    project.pytester.makepyfile(test_plain="def test_plain(): pass")
    before = server.statistics("steady").inference_count
    grid = project.grid("steady")
    with held(command="the other run"):
        shown = project.run(grid, "--gaitperf-lock=refuse")
        collected = project.run(grid, "--collect-only", "-q")
    assert shown.ret == UNMEASURED
    shown.assert_outcomes(errors=4, passed=1)
    text = " ".join(shown.stdout.str().split())
    assert f"this device is being measured by process {os.getpid()} of " in text
    assert ": the other run: wait for its end, or stop it" in text
    assert text.count("--gaitperf-lock=off measures all the same") == 1
    assert server.statistics("steady").inference_count == before
    assert collected.ret == 0


def test_off_measures_beside_the_other_run(project: Project) -> None:
    with held():
        shown = project.run(project.grid("steady"), "--gaitperf-lock=off", "-k", "energy", "-q")
    shown.assert_outcomes(skipped=1)
    assert "measured by" not in shown.stdout.str()


def test_another_word_is_refused(project: Project) -> None:
    shown = project.run("--gaitperf-lock=sometimes")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["*--gaitperf-lock*sometimes*"])
