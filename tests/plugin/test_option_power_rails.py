"""--power-rails: which rails make up the total."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.power.meter import open_meter
from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_rails_without_a_meter_are_an_error_that_names_them(project: Project) -> None:
    if open_meter("auto").meter is not None:
        pytest.skip("this machine has a power sensor")
    grid = project.grid("steady")
    shown = project.run("--power=auto", "--power-rails=VDD_IN, VDD_SOC", grid)
    shown.assert_outcomes(errors=4)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert "--power-rails=VDD_IN,VDD_SOC was given, but no meter was found; tried ina3221" in text
    project.pytester.makepyprojecttoml("[tool.gaitperf]\npower_rails = ['VIN']\n")
    text = " ".join(project.run("--power=auto", grid).stdout.str().split())
    assert "--power-rails=VIN was given" in text


def test_a_table_entry_of_the_wrong_kind_is_refused(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\npower_rails = 3\n")
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: *pyproject.toml: power_rails: 3 is not a list of names"])
