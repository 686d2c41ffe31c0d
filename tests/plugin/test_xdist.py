"""pytest-xdist's workers would share the device: that is refused, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project


def test_workers_are_refused_and_measure_nothing(project: Project, server: TritonServer) -> None:
    before = server.statistics("steady").inference_count
    project.pytester.makepyfile(test_plain="def test_plain(): pass")
    shown = project.run(project.grid("steady"), "-n2")
    shown.assert_outcomes(errors=3, passed=1)
    shown.stdout.fnmatch_lines(["measurements cannot share a device: run without -n *"])
    assert server.statistics("steady").inference_count == before
    assert not (project.path / "baselines").exists()
