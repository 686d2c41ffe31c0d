"""Installed and unused: the plugin costs nothing and leaves nothing."""

from __future__ import annotations

import pytest

LIGHT = (
    "config",
    "config.option",
    "config.options",
    "config.values",
    "errors",
    "fixtures",
    "hooks",
    "own",
    "plugin",
)
"""All that an unused plugin loads: whatever else it imports, every start of pytest pays for."""


def test_only_its_light_modules_are_imported_and_nothing_is_written(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A measurement of the coverage would start in the new process too, and import its own.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    pytester.makepyfile(
        test_it="""
        import sys

        def test_imports(pytestconfig):
            assert getattr(pytestconfig.option, "gaitperf_budget", None) is None
            print("loaded:", *sys.modules)
        """
    )
    before = {path.name for path in pytester.path.iterdir()}
    options = ("-p", "no:hypothesispytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-s")
    loaded = []
    for extra in ((), ("-p", "no:gaitperf")):
        shown = pytester.runpytest_subprocess(*options, *extra)
        shown.assert_outcomes(passed=1)
        text = shown.stdout.str()
        assert "gaitperf" not in text.partition("plugins:")[2].partition("\n")[2].replace(
            "pytest_gaitperf", ""
        )
        loaded.append(set(text.partition("loaded: ")[2].partition("\n")[0].split()))
    ours = {"pytest_gaitperf", *(f"pytest_gaitperf.{name}" for name in LIGHT)}
    assert loaded[0] - loaded[1] == ours
    # pytest's own: the temporary files of these runs, and the bytecode.
    own = {"__pycache__", "stdout", "stderr", "runpytest-0", "runpytest-1", "runpytest-current"}
    assert {path.name for path in pytester.path.iterdir()} - own == before


def test_pytest_tells_of_marker_fixtures_and_options(pytester: pytest.Pytester) -> None:
    quick = ("-p", "no:hypothesispytest")
    shown = pytester.runpytest_inprocess(*quick, "--markers")
    shown.stdout.fnmatch_lines(["@pytest.mark.gaitperf(models, batch_sizes, concurrencies, *"])
    shown = pytester.runpytest_inprocess(*quick, "--fixtures")
    for name in ("triton_server", "power_meter", "perf_cell", "triton_load"):
        shown.stdout.fnmatch_lines([f"{name} [[]session scope[]] -- *"])
    shown.stdout.fnmatch_lines(["perf -- *"])
    text = " ".join(pytester.runpytest_inprocess(*quick, "--help").stdout.str().split())
    assert "gaitperf: throughput, latency, energy and CPU on Triton" in text
    assert "--gaitperf-budget=S" in text
    assert "latency_p99=10%,throughput=3% (default: 5%)" in text
    assert "--gaitperf-limit=LIMIT" in text
    assert "gaitperf_budget" not in text


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    shown = pytester.runpytest_inprocess("-p", "no:gaitperf", "-p", "no:hypothesispytest")
    shown.assert_outcomes(passed=1)
    shown = pytester.runpytest_inprocess("-p", "no:gaitperf", "--gaitperf-strict")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
