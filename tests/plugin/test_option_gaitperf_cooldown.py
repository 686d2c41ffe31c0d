"""--gaitperf-cooldown: wait for a temperature before each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.host.state import read_state

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_machine_without_a_thermometer_says_so(project: Project) -> None:
    if read_state().hottest_c is not None:
        pytest.skip("this machine has a thermometer")
    shown = project.run(project.grid("steady"), "--gaitperf-cooldown=45")
    shown.assert_outcomes(errors=4)
    text = " ".join(shown.stdout.str().split())
    assert "no temperature can be read at" in text
    assert "leave --gaitperf-cooldown out on this machine" in text


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-cooldown", "200", "'200' is not a temperature in degrees Celsius")
