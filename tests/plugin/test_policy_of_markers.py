"""Tolerances of markers and model tables, as a run judges by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import baseline_files, make_faster

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

OWN = """
import pytest

pytestmark = pytest.mark.gaitperf(models="steady", tolerances={"throughput": "1%"})


@pytest.mark.gaitperf(tolerance="80%", tolerances={"latency_p50": "85%"})
def test_throughput(perf, perf_cell):
    perf.gate(perf_cell, "throughput")


def test_latency(perf, perf_cell):
    perf.gate(perf_cell, "latency")
"""


def test_a_markers_tolerance_counts_for_its_cells_in_every_test(project: Project) -> None:
    project.record()
    make_faster(baseline_files(project), 1.6)
    (project.path / "pyproject.toml").write_text(
        '[tool.gaitperf.model.steady]\ntolerances = { throughput = "2%" }\n'
    )
    source = OWN.replace(', tolerances={"throughput": "1%"}', "")
    project.pytester.makepyfile(test_own=source)
    # With so large an alpha the tolerance, not the noise of a busy machine, is the limit.
    options = (project.grid("steady"), "--gaitperf-json=results.json", "--gaitperf-alpha=0.9")
    shown = project.run("test_own.py", *options)
    shown.assert_outcomes(passed=2)
    (cell,) = project.cells().values()
    judged = cell.verdicts
    # Ratios of 1.8 and 1.85: neither the option's 20 % nor the table's 2 % counts.
    assert judged["throughput"].limit == pytest.approx(1 / 1.8 - 1, abs=0.001)
    assert judged["latency_p50"].limit == pytest.approx(0.85, abs=0.001)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            "tolerance='7%'",
            "another tolerance for steady-b1-c1 than marker gaitperf of test_own.py",
        ),
        ("tolerances={'latency_p999': 0.1}", "tolerances: 'latency_p999' is not gated against a"),
        ("limits=['throughput >= 1', 'throughput >= 2']", "limits: two limits on throughput"),
        ("quantity=['energy']", "['energy'] is not a quantity"),
    ],
)
def test_markers_that_cannot_be_heard_are_named_before_anything_runs(
    project: Project, second: str, message: str
) -> None:
    source = OWN.replace(
        "\n\ndef test_latency", f"\n\n@pytest.mark.gaitperf({second})\ndef test_latency"
    )
    project.pytester.makepyfile(test_own=source)
    shown = project.run("test_own.py", project.grid("steady"), "--collect-only")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join(shown.stderr.str().split())
    assert f"ERROR: marker gaitperf of test_own.py::test_latency: {message}" in text
    assert "Traceback" not in text


def test_a_functions_marker_wins_over_its_modules(project: Project) -> None:
    project.pytester.makepyfile(
        test_own="""
        import pytest

        pytestmark = pytest.mark.gaitperf(models="steady", batch_sizes=[1], concurrencies=[1])


        @pytest.mark.gaitperf(batch_sizes=[2])
        def test_one(perf_cell): pass
        """
    )
    shown = project.run("test_own.py", "--collect-only", "-q")
    shown.stdout.fnmatch_lines(["test_own.py::test_one?steady-b2-c1?"])
