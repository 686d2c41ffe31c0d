"""pytest-xdist's workers would share the device: that is refused once, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project


def test_workers_are_refused_once_and_measure_nothing(
    project: Project, server: TritonServer
) -> None:
    before = server.statistics("steady").inference_count
    project.pytester.makepyfile(test_plain="def test_plain(): pass")
    shown = project.run(project.grid("steady"), "-n2")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = shown.stdout.str() + shown.stderr.str()
    assert text.count("measurements cannot share a device") == 1
    assert "would run 4 of them" in text
    assert "INTERNALERROR" not in text
    assert server.statistics("steady").inference_count == before


def test_other_tests_are_distributed_as_ever(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_plain="""
            import pytest

            @pytest.fixture
            def triton_load():
                return "one of their own"

            def test_one(triton_load): pass
            def test_two(): pass
        """,
        test_measuring="def test_measuring(triton_server): pass",
    )
    quickly = ("-p", "no:hypothesispytest")
    shown = pytester.runpytest_inprocess(*quickly, "-n1", "-k", "not measuring")
    shown.assert_outcomes(passed=2)
    assert shown.ret == pytest.ExitCode.OK


def test_other_tests_on_every_host_are_xdists_as_ever(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import json, os\ndef test_it():\n    assert json.load, 'not of triton'\n    os._exit(3)"
    )
    each = ("-p", "no:hypothesispytest", "--dist=each", "--tx=popen", "--max-worker-restart=1")
    shown = pytester.runpytest_inprocess(*each)
    shown.stdout.fnmatch_lines(["*replacing crashed worker*"])


def test_a_measuring_test_that_was_not_seen_is_refused_on_every_host(
    pytester: pytest.Pytester,
) -> None:
    hidden = "def test_it(request): request.getfixturevalue('triton' + '_server')"
    pytester.makepyfile(hidden)
    shown = pytester.runpytest_inprocess("-p", "no:hypothesispytest", "--dist=each", "--tx=popen")
    shown.assert_outcomes(failed=1)
    shown.stdout.fnmatch_lines(["*measurements cannot share a device*"])


def test_several_workers_on_this_host_are_no_fleet(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(triton_server): pass")
    shown = pytester.runpytest_inprocess("-p", "no:hypothesispytest", "-n1", "--dist=each")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: measurements cannot share a device*run without -n*"])


def test_a_fixture_that_a_test_asks_for_as_it_runs_is_refused_too(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("def test_it(request): request.getfixturevalue('triton_server')")
    shown = pytester.runpytest_inprocess("-p", "no:hypothesispytest", "-n1")
    shown.assert_outcomes(failed=1)
    shown.stdout.fnmatch_lines(["*measurements cannot share a device: run without -n*"])
