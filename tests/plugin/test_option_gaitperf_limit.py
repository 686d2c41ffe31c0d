"""--gaitperf-limit: requirements, which need no baseline to be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import UNMEASURED, kinds

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_limit_turns_the_test_of_its_quantity_red_and_no_other(project: Project) -> None:
    project.record()
    (project.path / "pyproject.toml").write_text(
        '[tool.gaitperf]\nlimits = ["throughput >= 1", "latency_p50 <= 2 s"]\n'
        '[tool.gaitperf.model."ste*"]\nlimits = ["latency_p50 <= 1 ms"]\n'
    )
    shown = project.run(
        project.grid("steady"),
        "--gaitperf-limit=power_mean <= 1 mW",
        "--gaitperf-limit=latency_p99 <= 9 s",
        "--gaitperf-json=results.json",
    )
    # The median is over its limit, p99 had too few requests, and --power=none leaves energy out.
    shown.assert_outcomes(passed=2, failed=1, skipped=1)
    shown.stdout.fnmatch_lines(
        [
            "*_ test_latency?steady-b1-c1? _*",
            "latency_p50 <= 1 ms: violated",
            "  now       2?.?? ms (2*",
            "latency_p99 <= 9 s: unmeasured",
            "  * requests, 662 are needed: raise --gaitperf-budget",
            "  time per request, ms: *",
            "* limit violated",
            "limits: 1 met, 1 violated, 2 unmeasured",
        ]
    )
    (cell,) = project.cells().values()
    assert {check.limit: check.state.value for check in cell.limits} == {
        "throughput >= 1": "met",
        "latency_p50 <= 1 ms": "violated",
        "latency_p99 <= 9 s": "unmeasured",
        "power_mean <= 1 mW": "unmeasured",
    }
    assert set(kinds(cell).values()) <= {"pass", "inconclusive"}


def test_energy_that_no_meter_reads_is_red_where_it_has_a_limit(project: Project) -> None:
    project.record()
    project.pytester.makepyfile(
        test_own="""
        import pytest

        @pytest.mark.gaitperf(models="steady", limits=["throughput >= 1"])
        def test_energy(perf, perf_cell):
            perf.gate(perf_cell, "energy")
        """
    )
    shown = project.run(
        "test_own.py",
        project.grid("steady"),
        "--power=estimate:10",
        "--gaitperf-limit=energy_per_inference <= 1 J",
    )
    shown.assert_outcomes(failed=1)
    shown.stdout.fnmatch_lines(
        [
            "energy_per_inference <= 1 J: unmeasured",
            "  the energy is an estimate, *",
            "limits: 1 unmeasured",
            "no test of this run checked throughput >= 1 (1 cell)",
        ]
    )


@pytest.mark.parametrize("of", ["subjects >= 5", "energy_per_inference <= 1 J"])
def test_a_whole_suite_that_never_checks_a_limit_is_not_green(project: Project, of: str) -> None:
    project.record()
    (project.path / "test_grid.py").unlink()
    project.pytester.makepyfile(
        test_own="def test_it(perf, perf_cell): perf.gate(perf_cell, 'throughput')"
    )
    arguments = (project.grid("steady"), f"--gaitperf-limit={of}")
    shown = project.run(*arguments)
    assert shown.ret == UNMEASURED, shown.stdout.str()
    shown.stdout.fnmatch_lines([f"unmeasured: no test of this run checked {of}"])
    part = project.run(*arguments, "test_own.py")
    assert part.ret == pytest.ExitCode.OK, "a part of the suite: another part may check it"
    part.stdout.fnmatch_lines([f"no test of this run checked {of} (*"])


def test_a_bad_value_is_refused(project: Project) -> None:
    project.refuses(
        "--gaitperf-limit",
        "latency_p99 <= 40",
        "'latency_p99 <= 40': '40' is not a positive number with a unit of s, as in",
        key="limits",
    )


OWN = """
import pytest

from pytest_gaitperf.workload import Workload

STEADY = Workload("steady", 1, 1)


def test_met(perf):
    perf.require(STEADY, "latency_p50 <= 1 s", "throughput >= 1")


def test_violated(perf):
    perf.require(STEADY, "throughput >= 1", "latency_p50 <= 1 ms")


def test_unmeasured(perf):
    perf.require(STEADY, "latency_p99 <= 9 s")


def test_left_out(perf):
    perf.require(STEADY, "throughput >= 1", "energy_per_inference <= 1 J")


def test_no_limit(perf):
    perf.require(STEADY, "throughput <= 5")


@pytest.mark.gaitperf(limits="latency_p50 <= 2 ms")
def test_its_own_marker(perf):
    perf.gate(STEADY, "latency")
"""


def test_a_test_of_ones_own_holds_a_cell_to_limits(project: Project) -> None:
    project.record()
    project.pytester.makepyfile(test_own=OWN)
    shown = project.run("test_own.py", "-rA")
    shown.assert_outcomes(passed=1, failed=4, skipped=1)
    assert shown.ret == pytest.ExitCode.TESTS_FAILED
    shown.stdout.fnmatch_lines(
        [
            "latency_p50 <= 1 ms: violated",
            "latency_p99 <= 9 s: unmeasured",
            "perf.require: 'throughput <= 5': of throughput, higher is better: write >=",
            "latency_p50 <= 2 ms: violated",
            "PASSED test_own.py::test_met",
            "SKIPPED * no power meter: *",
        ]
    )
    assert "Traceback" not in shown.stdout.str()
