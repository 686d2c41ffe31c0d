"""Installed and unused: the plugin costs nothing and leaves nothing."""

from __future__ import annotations

import pytest

HEAVY = ("numpy", "scipy", "tritonclient", "rich", "psutil", "msgspec", "grpc", "onnx", "tomllib")
LIGHT = (
    "plugin",
    "fixtures",
    "hooks",
    "own",
    "errors",
    "config",
    "config.options",
    "config.values",
)


def test_nothing_heavy_is_imported_and_nothing_is_written(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A measurement of the coverage would start in the new process too, and import its own.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    pytester.makepyfile(
        test_it=f"""
        import os
        import sys

        BEFORE = set(os.listdir())

        def test_imports(pytestconfig):
            assert "pytest_gaitperf.plugin" in sys.modules
            assert pytestconfig.getoption("gaitperf_budget") is None
            assert {HEAVY!r} and not set({HEAVY!r}) & set(sys.modules)
            ours = {{name for name in sys.modules if name.startswith("pytest_gaitperf")}}
            light = {LIGHT!r}
            assert ours <= {{"pytest_gaitperf", *("pytest_gaitperf." + name for name in light)}}
        """
    )
    before = {path.name for path in pytester.path.iterdir()}
    options = ("-p", "no:hypothesispytest", "-p", "no:cacheprovider", "-p", "no:xdist")
    shown = pytester.runpytest_subprocess(*options)
    shown.assert_outcomes(passed=1)
    text = shown.stdout.str()
    assert "gaitperf" not in text.partition("plugins:")[2].partition("\n")[2]
    # pytest's own: the temporary files of this run, and the bytecode.
    own = {"__pycache__", "runpytest-0", "runpytest-current", "stdout", "stderr"}
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
    assert "gaitperf: throughput, latency and energy on Triton" in text
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
