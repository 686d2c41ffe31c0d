"""Every option by both ways in: command line and [tool.gaitperf], and which wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.config.policy import Bound, Rules, parse_limit
from pytest_gaitperf.config.settings import Settings
from tests.config.tables import FLAGS, load, write

if TYPE_CHECKING:
    from collections.abc import Mapping

# By option: three texts and what each becomes.
GOOD: Mapping[str, tuple[tuple[str, Any], tuple[str, Any], tuple[str, Any]]] = {
    "triton": (("attach", "attach"), ("local", "local"), ("docker", "docker")),
    "triton_url": (("a:1", "a:1"), ("http://b:2", "http://b:2"), ("c:3", "c:3")),
    "triton_repository": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "triton_image": (("a:1", "a:1"), ("b:2", "b:2"), ("c:3", "c:3")),
    "triton_grpc_port": (("1", 1), ("8001", 8001), ("65535", 65535)),
    "triton_header": (
        ("A: b", ("A: b",)),
        ("X-Key:v:w", ("X-Key:v:w",)),
        ("a-b:", ("a-b:",)),
    ),
    "triton_ssl_ca": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "triton_ssl_cert": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "triton_ssl_key": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "triton_timeout": (("1", 1.0), ("2.5", 2.5), ("1e3", 1000.0)),
    "triton_load": (("a", ("a",)), ("3D*,b", ("3D*", "b")), ("c,", ("c",))),
    "power": (("none", "none"), ("nvml", "nvml"), ("ina3221", "ina3221")),
    "power_rails": (("A", ("A",)), ("A,B", ("A", "B")), (" A , ,B ", ("A", "B"))),
    "power_trace": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "grid": (("quick", "quick"), ("full", "full"), ("a.toml", "a.toml")),
    "models": (("a", ("a",)), ("3D*,b", ("3D*", "b")), ("c,", ("c",))),
    "protocol": (("http", "http"), ("grpc", "grpc"), ("http", "http")),
    "transport": (("inline", "inline"), ("shm", "shm"), ("inline", "inline")),
    "frame_rate": (("25", 25.0), ("12.5", 12.5), ("1e2", 100.0)),
    "deadline": (("20 ms", 0.02), ("0.5s", 0.5), ("33ms", 0.033)),
    "data": (("random", "random"), ("zeros", "zeros"), ("/", "/")),
    "precision": (("1%", 0.01), ("0.03", 0.03), ("50 %", 0.5)),
    "disturbed": (("10%", 0.1), ("0.2", 0.2), ("off", 1.0)),
    "budget": (("3", 3.0), ("0.5", 0.5), ("60", 60.0)),
    "run_budget": (("60", 60.0), ("0.5", 0.5), ("1e3", 1000.0)),
    "cooldown": (("45", 45.0), ("60.5", 60.5), ("1e2", 100.0)),
    "update": (("all", "all"), ("missing", "missing"), ("none", "none")),
    "sessions": (("1", 1), ("2", 2), ("10", 10)),
    "lives": (("1", 1), ("2", 2), ("10", 10)),
    "against": (("1", "1"), ("02", "02"), ("12", "12")),
    "reference": (("v1.0", "v1.0"), ("HEAD~2", "HEAD~2"), ("/", Path("/"))),
    "baselines": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "profile": (("orin", "orin"), ("agx", "agx"), ("ci", "ci")),
    "alpha": (("0.05", 0.05), ("1e-3", 0.001), ("2%", 0.02)),
    "summary": (("a.md", Path("a.md")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "report": (("a.html", Path("a.html")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "latency_bound": (
        ("40ms", Bound("latency_p99", 0.04, "40ms")),
        ("0.5 s", Bound("latency_p99", 0.5, "500 ms")),
        ("250us, accuracy >= 95%", Bound("latency_p99", 250e-6, "250us", 0.95)),
    ),
    "columns": (
        ("p90", ("p90",)),
        ("energy, latency_p99", ("energy", "latency_p99")),
        ("p99.9,change", ("p99.9", "change")),
    ),
    "relative_to": (("a", "a"), ("3D_fp32_0", "3D_fp32_0"), ("b c", "b c")),
    "accuracy": (("a.csv", Path("a.csv")), ("b.toml", Path("b.toml")), ("/d", Path("/d"))),
    "lock": (("wait", "wait"), ("refuse", "refuse"), ("off", "off")),
    "power_modes": (("0", ("0",)), ("MAXN,15W", ("MAXN", "15W")), ("all", ("all",))),
    "gpu_clocks": (("306", ("306",)), ("306.5,612", ("306.5", "612")), ("all", ("all",))),
    "emc_clocks": (("204", ("204",)), ("204,2133", ("204", "2133")), ("all", ("all",))),
    "boards": (("ssh=a", ("ssh=a",)), ("popen", ("popen",)), ("ssh=b//id=c", ("ssh=b//id=c",))),
    "journal": (("a.jsonl", Path("a.jsonl")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "json": (("a.json", Path("a.json")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
}
# By merged option: in every place something, and what they become together.
MERGED: Mapping[str, tuple[Mapping[str, Any], Mapping[str, object]]] = {
    "must_hear": (
        {"table": "latency_p50=30%,throughput=40%", "line": "20%,throughput=100%"},
        {
            "": 0.2,
            "latency_p50": 0.3,
            "throughput": 1.0,
        },
    ),
    "tolerance": (
        {
            "table": "10%,latency_p50=1%",
            "tolerances": '{ latency_p50 = "2%", latency_p99 = 0.03, throughput = "4%" }',
            "line": "9%,throughput=6%,energy_per_inference=7%",
        },
        {
            "": 0.09,
            "latency_p50": 0.02,
            "latency_p99": 0.03,
            "throughput": 0.06,
            "energy_per_inference": 0.07,
        },
    ),
    "limits": (
        {
            "table": "latency_p50 <= 1 ms, throughput >= 1",
            "line": "throughput >= 2, latency_p99 <= 3 ms",
        },
        {
            "latency_p50": parse_limit("latency_p50 <= 1 ms"),
            "throughput": parse_limit("throughput >= 2"),
            "latency_p99": parse_limit("latency_p99 <= 3 ms"),
        },
    ),
    "exports": (
        {"table": ["bencher:a.json", "csv:b.csv"], "line": "bencher:c.json"},
        {"bencher": Path("c.json"), "csv": Path("b.csv")},
    ),
}
SWITCHES = (
    *("strict", "accept_estimates", "accept_regressions", "triton_ssl_no_verify", "resume"),
    "benchmarks",
)


def test_every_option_is_covered_here() -> None:
    assert {*GOOD, *MERGED, *SWITCHES} == set(FLAGS)
    assert {*FLAGS, "model", "invocation"} == set(Settings.__dataclass_fields__)


def test_without_any_setting_the_documented_defaults_hold(pytester: pytest.Pytester) -> None:
    assert load(pytester) == Settings(invocation=load(pytester).invocation)
    settings = load(pytester)
    assert (settings.budget, settings.precision, settings.tolerance) == (6.5, 0.02, {"": 0.05})
    assert (settings.alpha, settings.triton_timeout, settings.grid) == (0.005, None, "quick")
    assert not (pytester.path / "model_repository").exists()


@pytest.mark.parametrize("name", GOOD)
def test_the_command_line_wins_over_the_table(pytester: pytest.Pytester, name: str) -> None:
    (first, one), (second, two), (third, three) = GOOD[name]
    for text, value in ((second, two), (third, three)):
        write(pytester, f"{name} = {json.dumps(text)}")
        assert getattr(load(pytester), name) == value
    assert getattr(load(pytester, f"{FLAGS[name]}={first}"), name) == one
    assert getattr(load(pytester, FLAGS[name], first), name) == one


@pytest.mark.parametrize("name", MERGED)
def test_every_place_adds_to_a_setting_by_metric_and_the_stronger_place_wins(
    pytester: pytest.Pytester, name: str
) -> None:
    given, expected = MERGED[name]
    table = f"{name} = {json.dumps(given['table'])}\n"
    if "tolerances" in given:
        table += f"tolerances = {given['tolerances']}\n"
    write(pytester, table)
    settings = load(pytester, FLAGS[name], given["line"])
    assert getattr(settings, name) == expected


def test_an_option_that_is_merged_can_be_given_several_times_and_the_last_wins(
    pytester: pytest.Pytester,
) -> None:
    settings = load(
        pytester,
        "--gaitperf-limit=latency_p99 <= 40 ms",
        "--gaitperf-limit=throughput >= 25",
        "--gaitperf-limit=latency_p99 <= 50 ms",
        "--gaitperf-tolerance=3%",
        "--gaitperf-tolerance=latency_p99=7%",
    )
    assert [str(limit) for limit in settings.limits.values()] == [
        "latency_p99 <= 50 ms",
        "throughput >= 25",
    ]
    assert settings.tolerance == {"": 0.03, "latency_p99": 0.07}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("budget = 3", 3.0),
        ("tolerance = 0.1", {"": 0.1}),
        ('limits = ["throughput >= 1"]', {"throughput": parse_limit("throughput >= 1")}),
        ('power_rails = ["A", "B"]', ("A", "B")),
        ("models = []", ()),
        ("strict = true", True),
        ("strict = false", False),
    ],
)
def test_the_table_takes_the_types_of_toml(
    pytester: pytest.Pytester, line: str, expected: object
) -> None:
    write(pytester, line)
    assert getattr(load(pytester), line.partition(" ")[0]) == expected


def test_a_models_table_becomes_rules_by_its_pattern(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
        [tool.gaitperf.model."3D_*"]
        tolerance = "7%"
        tolerances = { latency_p99 = "10%" }
        limits = ["throughput >= 25"]
        """,
    )
    assert load(pytester).model == {
        "3D_*": Rules(
            {"": 0.07, "latency_p99": 0.1}, {"throughput": parse_limit("throughput >= 25")}
        )
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ('"yes"', True), ("1", True), ('"No"', False), ("0", False)],
)
def test_the_command_line_turns_a_switch_on(
    pytester: pytest.Pytester, text: str, expected: bool
) -> None:
    write(pytester, f"strict = {text}")
    assert load(pytester).strict is expected
    assert load(pytester, "--gaitperf-strict").strict


def test_a_key_of_pytests_own_ini_is_unknown_to_pytest(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ngaitperf_budget = 3\n")
    pytester.makepyfile("def test_it(): pass")
    shown = pytester.runpytest("--strict-config")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["*gaitperf_budget*"])
