"""A user's own tests, with the fixtures and no grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

OWN = """
import pytest

from pytest_gaitperf.workload import Workload


def test_within_its_limit(perf):
    metrics = perf.measure(Workload("steady", 1, 1)).metrics
    assert 0.02 <= metrics["latency_p50"].value < 0.5
    assert metrics["throughput"].low <= metrics["throughput"].value < 50


def test_over_its_limit(perf):
    measurement = perf.measure(Workload("steady", 1, 1))
    assert measurement.metrics["latency_p50"].value < 0.001


def test_unknown(perf):
    perf.measure(Workload("unsteady", 1, 1))


def test_too_large(perf):
    perf.measure(Workload("steady", 9, 1))


def test_server(triton_server):
    model = triton_server.model("steady")
    assert (model.max_batch_size, model.inputs[0].name) == (8, "INPUT0")
    assert triton_server.statistics("steady").inference_count > 0
    assert triton_server.process is None
    assert triton_server.version.startswith("2.")
"""


def test_measure_gives_numbers_to_assert_on(project: Project) -> None:
    project.pytester.makepyfile(test_own=OWN)
    shown = project.run("test_own.py", "--gaitperf-json=results.json")
    shown.assert_outcomes(passed=2, failed=3)
    assert shown.ret == pytest.ExitCode.TESTS_FAILED
    text = shown.stdout.str()
    assert "During handling" not in text
    assert "Traceback" not in text
    assert text.count("/1 steady-b1-c1: ") == 1, "measured once for both tests"
    shown.stdout.fnmatch_lines(
        [
            "unsteady-b1-c1 could not be measured: model 'unsteady' is not on this server; *",
            "steady-b9-c1 could not be measured: *batch*",
        ]
    )
    cells = project.cells()
    assert set(cells) == {"steady-b1-c1", "unsteady-b1-c1", "steady-b9-c1"}
    assert cells["steady-b1-c1"].verdicts == {}
    assert "is not on this server" in str(cells["unsteady-b1-c1"].error)


@pytest.mark.slow
def test_beside_a_narrow_grid_every_model_of_the_repository_is_served(offline: Project) -> None:
    offline.pytester.makepyfile(
        test_own="""
        def test_models(triton_server):
            assert triton_server.models() == ("other", "steady")
        """
    )
    shown = offline.run(offline.grid("other"), "-k", "models or throughput", "-p", "no:randomly")
    shown.assert_outcomes(passed=1, failed=1, deselected=3)
    shown.stdout.fnmatch_lines(["*1/1 other-b1-c1: *", "profile here: unmeasured: 1 missing"])
