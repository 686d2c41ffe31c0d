"""--gaitperf-must-hear: the change that may not go unheard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.outcomes import verdict_outcome
from pytest_gaitperf.results import Outcome, Policy, Verdict, VerdictKind
from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_quantity_that_cannot_hear_it_is_unmeasured_and_says_what_would(
    project: Project,
) -> None:
    project.record()
    shown = project.run(
        *(project.grid("steady"), "--gaitperf-must-hear=9000%,throughput=30%"),
        "--gaitperf-tolerance=20%",
        *("--gaitperf-json=results.json", "-rf"),
    )
    shown.assert_outcomes(passed=2, failed=1, skipped=1)
    assert shown.ret == UNMEASURED
    shown.stdout.fnmatch_lines(
        [
            "throughput unmeasured: *",
            "  *it could have heard * at least, and 90% must be heard beside 1 session: *",
            "could have heard: throughput *%, p50 *%",
        ]
    )
    (cell,) = project.cells().values()
    verdict = cell.verdicts["throughput"]
    assert verdict.kind is VerdictKind.PASS
    assert verdict.sensitivity is not None
    assert verdict.must_hear == 0.3
    assert verdict.sensitivity > 0.6
    assert verdict.sharpen
    assert cell.outcome is Outcome.UNMEASURED
    assert cell.verdicts["latency_p50"].must_hear == 90.0


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"sensitivity": 0.25}, Outcome.GREEN),
        ({"sensitivity": 0.26}, Outcome.UNMEASURED),
        # Few sessions do not tell how sessions differ: beside m of them 2/m more may go unheard.
        ({"sensitivity": 0.75, "sessions": 1}, Outcome.GREEN),
        ({"sensitivity": 0.76, "sessions": 1}, Outcome.UNMEASURED),
        ({"sensitivity": 0.35, "sessions": 5}, Outcome.GREEN),
        ({"sensitivity": 0.36, "sessions": 5}, Outcome.UNMEASURED),
        (
            {"kind": VerdictKind.INCONCLUSIVE, "change": -0.21, "sessions": 1},
            Outcome.UNMEASURED,
        ),
        ({"sensitivity": None}, Outcome.UNMEASURED),
        ({"kind": VerdictKind.IMPROVED, "sensitivity": 0.9}, Outcome.GREEN),
        # Throughput fell to 1/1.25, which is just not beyond; and by a little more.
        ({"kind": VerdictKind.INCONCLUSIVE, "change": -0.2}, Outcome.GREEN),
        ({"kind": VerdictKind.INCONCLUSIVE, "change": -0.21}, Outcome.UNMEASURED),
        ({"kind": VerdictKind.INCONCLUSIVE, "change": 0.5}, Outcome.GREEN),
        ({"kind": VerdictKind.REGRESSED, "sensitivity": 0.9}, Outcome.RED),
        ({"must_hear": None, "sensitivity": None}, Outcome.GREEN),
    ],
)
def test_what_could_have_gone_unheard_is_unmeasured(
    fields: dict[str, object], outcome: Outcome
) -> None:
    known: dict[str, object] = {"kind": VerdictKind.PASS, "sensitivity": 0.1, "must_hear": 0.25}
    verdict = Verdict("throughput", reason="why", **{**known, **fields})  # type: ignore[arg-type]
    assert verdict_outcome(verdict, Policy(), paired=False) is outcome


def test_a_model_may_have_its_own(project: Project) -> None:
    project.pytester.makepyprojecttoml(
        '[tool.gaitperf.model."st*"]\nmust_hear = {throughput = "30%"}\n'
    )
    project.record()
    shown = project.run(project.grid("steady"), "-k", "throughput", "--gaitperf-tolerance=20%")
    assert shown.ret == UNMEASURED


@pytest.mark.parametrize("value", ["0%", "-1", "25", "p99=5%", "throughput=5%,throughput=6%"])
def test_a_bad_value_is_refused(project: Project, value: str) -> None:
    project.pytester.makepyprojecttoml(f"[tool.gaitperf]\nmust_hear = '{value}'\n")
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: *: must_hear: *"])
