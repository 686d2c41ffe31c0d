"""--gaitperf-budget: how long a cell may take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_budget_too_small_for_six_windows_says_how_much_is_enough(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--gaitperf-budget=0.1")
    shown.assert_outcomes(errors=4)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert re.search(r"steady-b1-c1 could not be measured: 6 windows of 0\.0\d s are needed", text)
    advice = re.search(r"give (--gaitperf-budget=\d+) or more", text)
    assert advice is not None
    followed = project.run(project.grid("steady"), advice[1], "--gaitperf-update=missing")
    followed.assert_outcomes(passed=3, skipped=1)


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-budget", "0", "'0' is not a positive number of seconds")
