"""What is wrong with what was asked for is found before anything is measured, and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--power=nmvl", "--power=nmvl is unknown (did you mean 'nvml'?); choose one of auto, no"),
        ("--gaitperf-grid=qiuck", "unknown grid 'qiuck' (did you mean 'quick'?); give quick, full"),
        ("--gaitperf-export=csw:x", "there is no format 'csw' (did you mean 'csv'?); the formats "),
        ("--gaitperf-columns=p98", "'p98' is no column (did you mean 'p99'?); the columns are"),
        ("--gaitperf-tolerance=latency_p9=5%", "(did you mean 'latency_p99'?); those that are: "),
        ("--gaitperf-limit=latecy_p99 <= 4 ms", "(did you mean 'latency_p99'?); the metrics are"),
        ("--gaitperf-must-hear=5%", "throughput of steady-b1-c1: a change of 0.05 must be heard"),
        ("--gaitperf-json=/proc/results.json", "/proc/results.json cannot be written (nothing ca"),
        ("--gaitperf-report=/proc/new/page.html", "/proc/new/page.html cannot be written (nothing"),
        ("--gaitperf-summary=/dev/null/x", "/dev/null/x cannot be written (/dev/null is not a di"),
        ("--gaitperf-export=csv:/proc/x.csv", "/proc/x.csv cannot be written (nothing can be wri"),
        ("--power-trace=/proc/traces", "/proc/traces/trace cannot be written (nothing can be wri"),
        (f"--gaitperf-json={'x' * 250}.json", "cannot be written (nothing can be written in "),
    ],
)
def test_it_is_named_and_nothing_is_measured(
    project: Project, server: TritonServer, option: str, message: str
) -> None:
    before = server.statistics("steady").success_count
    shown = project.run(project.grid("steady"), option)
    assert shown.ret == pytest.ExitCode.USAGE_ERROR, shown.stdout.str()
    text = " ".join(shown.stderr.str().split())
    assert message in text
    assert "Traceback" not in text
    assert server.statistics("steady").success_count == before


@pytest.mark.parametrize("key", ["tolerance = '10%'", "limits = ['latency_p50 <= 1 s']"])
def test_a_table_of_no_model_is_named(project: Project, key: str) -> None:
    (project.path / "pyproject.toml").write_text(f'[tool.gaitperf.model."study"]\n{key}\n')
    shown = project.run(project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR, shown.stdout.str()
    text = " ".join(shown.stderr.str().split())
    assert "[tool.gaitperf.model.\"study\"] matches no model (did you mean 'steady'?); the" in text


def test_where_nothing_measures_nothing_is_checked(project: Project) -> None:
    project.pytester.makepyfile(test_own="def test_mine(): pass")
    shown = project.run("test_own.py", "--gaitperf-json=/proc/results.json")
    assert shown.ret == pytest.ExitCode.OK
