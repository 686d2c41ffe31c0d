"""Every option by every way in: command line, ini and [tool.gaitperf], and who wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.options import OPTIONS
from pytest_gaitperf.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

# By option: three texts and what each becomes.
GOOD: Mapping[str, tuple[tuple[str, Any], tuple[str, Any], tuple[str, Any]]] = {
    "triton": (("attach", "attach"), ("local", "local"), ("docker", "docker")),
    "triton_url": (("a:1", "a:1"), ("http://b:2", "http://b:2"), ("c:3", "c:3")),
    "triton_repository": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "triton_image": (("a:1", "a:1"), ("b:2", "b:2"), ("c:3", "c:3")),
    "triton_grpc_port": (("1", 1), ("8001", 8001), ("65535", 65535)),
    "triton_timeout": (("1", 1.0), ("2.5", 2.5), ("1e3", 1000.0)),
    "power": (("none", "none"), ("nvml", "nvml"), ("ina3221", "ina3221")),
    "power_rails": (("A", ("A",)), ("A,B", ("A", "B")), (" A , ,B ", ("A", "B"))),
    "power_trace": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "grid": (("quick", "quick"), ("full", "full"), ("a.toml", "a.toml")),
    "models": (("a", ("a",)), ("3D*,b", ("3D*", "b")), ("c,", ("c",))),
    "protocol": (("http", "http"), ("grpc", "grpc"), ("http", "http")),
    "transport": (("inline", "inline"), ("shm", "shm"), ("inline", "inline")),
    "data": (("random", "random"), ("zeros", "zeros"), ("/", "/")),
    "precision": (("1%", 0.01), ("0.03", 0.03), ("50 %", 0.5)),
    "budget": (("3", 3.0), ("0.5", 0.5), ("60", 60.0)),
    "run_budget": (("60", 60.0), ("0.5", 0.5), ("1e3", 1000.0)),
    "cooldown": (("45", 45.0), ("60.5", 60.5), ("1e2", 100.0)),
    "update": (("all", "all"), ("missing", "missing"), ("none", "none")),
    "against": (("1", "1"), ("02", "02"), ("12", "12")),
    "baselines": (("a", Path("a")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
    "profile": (("orin", "orin"), ("agx", "agx"), ("ci", "ci")),
    "tolerance": (("10%", 0.1), ("0.2", 0.2), ("0.5%", 0.005)),
    "alpha": (("0.05", 0.05), ("1e-3", 0.001), ("2%", 0.02)),
    "json": (("a.json", Path("a.json")), ("b/c", Path("b/c")), ("/d", Path("/d"))),
}
BAD: Mapping[str, tuple[str, ...]] = {
    "triton": ("remote", ""),
    "triton_grpc_port": ("grpc", "0", "-1", "65536", "80.5"),
    "triton_timeout": ("soon", "0", "-1", "inf", "nan", ""),
    "budget": ("long", "0", "-1", "inf", "nan"),
    "run_budget": ("long", "0", "-1", "inf", "nan"),
    "protocol": ("ftp", "HTTP"),
    "transport": ("cuda",),
    "data": ("ones", "/no/such/file.npz"),
    "cooldown": ("cool", "0", "-1", "150", "nan"),
    "precision": ("x", "0", "1", "100%", "-1%", "5%%", "nan", "%"),
    "tolerance": ("x", "0", "1", "100%", "-0.1", "nan"),
    "alpha": ("x", "0", "1", "nan"),
    "update": ("yes",),
}
FLAGS = {option.dest: option.flag for option in OPTIONS}


def load(pytester: pytest.Pytester, *arguments: str) -> Settings:
    return load_settings(pytester.parseconfig(*arguments))


def write(pytester: pytest.Pytester, table: str) -> None:
    (pytester.path / "pyproject.toml").write_text(f"[tool.gaitperf]\n{table}\n")


def test_every_option_is_covered_here() -> None:
    assert {*GOOD, "strict", "accept_estimates"} == set(FLAGS)
    assert {*FLAGS, "invocation"} == set(Settings.__dataclass_fields__)


def test_without_any_setting_the_documented_defaults_hold(pytester: pytest.Pytester) -> None:
    assert load(pytester) == Settings(invocation=load(pytester).invocation)
    settings = load(pytester)
    assert (settings.budget, settings.precision, settings.tolerance) == (20.0, 0.02, 0.05)
    assert (settings.alpha, settings.triton_timeout, settings.grid) == (0.01, 120.0, "quick")
    assert not (pytester.path / "model_repository").exists()


@pytest.mark.parametrize("name", GOOD)
def test_the_command_line_wins_over_the_ini_and_the_ini_over_the_table(
    pytester: pytest.Pytester, name: str
) -> None:
    (first, one), (second, two), (third, three) = GOOD[name]
    write(pytester, f"{name} = {json.dumps(third)}")
    assert getattr(load(pytester), name) == three
    ini = ("-o", f"gaitperf_{name}={second}")
    assert getattr(load(pytester, *ini), name) == two
    assert getattr(load(pytester, *ini, f"{FLAGS[name]}={first}"), name) == one
    assert getattr(load(pytester, FLAGS[name], first), name) == one


@pytest.mark.parametrize(("name", "value"), [(name, bad) for name in BAD for bad in BAD[name]])
def test_a_bad_value_is_refused_and_named_wherever_it_stands(
    pytester: pytest.Pytester, name: str, value: str
) -> None:
    with pytest.raises(pytest.UsageError, match=FLAGS[name]):
        load(pytester, f"{FLAGS[name]}={value}")
    if value:  # an empty ini value is the ini's way to say nothing
        with pytest.raises(ConfigurationError, match=f"^ini gaitperf_{name}: .*{value}"):
            load(pytester, "-o", f"gaitperf_{name}={value}")
    write(pytester, f"{name} = {json.dumps(value)}")
    with pytest.raises(ConfigurationError, match=rf"pyproject\.toml: {name}: .*{value}"):
        load(pytester)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("budget = 3", 3.0),
        ("tolerance = 0.1", 0.1),
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("models = [1]", r"models: \[1\] is not a list of names"),
        ("models = 1", "models: 1 is not a list of names"),
        ("grid = 3", "grid: 3 is not text"),
        ("json = 3", "json: 3 is not text"),
        ("budget = [1]", "not a positive number of seconds"),
        ("budget = true", "not a positive number of seconds"),
        ("strict = 2", "strict: 2 is neither true nor false"),
        ("bugdet = 2", r"unknown key 'bugdet' in \[tool.gaitperf\]; the keys are accept_estimates"),
    ],
)
def test_a_table_entry_of_the_wrong_kind_is_named_with_its_file(
    pytester: pytest.Pytester, line: str, message: str
) -> None:
    write(pytester, line)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(pytester)
    assert "pyproject.toml" in str(caught.value)


def test_a_table_that_is_none_is_refused(pytester: pytest.Pytester) -> None:
    (pytester.path / "pyproject.toml").write_text("[tool]\ngaitperf = 3\n")
    with pytest.raises(ConfigurationError, match="is not a table: 3"):
        load(pytester)


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("yes", True), ("1", True), ("No", False), ("0", False)]
)
def test_the_switch_in_the_ini(pytester: pytest.Pytester, text: str, expected: bool) -> None:
    assert load(pytester, "-o", f"gaitperf_strict={text}").strict is expected
    assert load(pytester, "-o", f"gaitperf_strict={text}", "--gaitperf-strict").strict


def test_a_switch_that_is_neither_is_refused(pytester: pytest.Pytester) -> None:
    with pytest.raises(ConfigurationError, match="gaitperf_strict: 'maybe' is neither true nor"):
        load(pytester, "-o", "gaitperf_strict=maybe")
