"""--gaitperf-strict: what noise leaves open is not green."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.outcomes import verdict_outcome
from pytest_gaitperf.results import Outcome, Policy, Verdict, VerdictKind

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize(
    ("kind", "strict", "outcome"),
    [
        (VerdictKind.INCONCLUSIVE, True, Outcome.UNMEASURED),
        (VerdictKind.INCONCLUSIVE, False, Outcome.GREEN),
        (VerdictKind.PASS, True, Outcome.GREEN),
    ],
)
def test_a_change_that_may_be_noise_is_not_green_when_strict(
    kind: VerdictKind, outcome: Outcome, *, strict: bool
) -> None:
    verdict = Verdict("throughput", kind, "why", change=-0.1, sensitivity=0.1, must_hear=0.25)
    assert verdict_outcome(verdict, Policy(strict=strict), paired=False) is outcome


def test_a_bad_value_is_refused(project: Project) -> None:
    project.pytester.makepyprojecttoml("[tool.gaitperf]\nstrict = 'perhaps'\n")
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: *: strict: 'perhaps' is neither true nor false"])
