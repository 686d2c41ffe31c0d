"""Values that no option takes: refused by the command line and by [tool.gaitperf], and named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError
from tests.config.tables import FLAGS, load, write

if TYPE_CHECKING:
    from collections.abc import Mapping

BAD: Mapping[str, tuple[str, ...]] = {
    "triton": ("remote", ""),
    "gpu_clocks": ("fast", "-306", "306,all"),
    "triton_image": ("--privileged", "-v/:/host", "a b", ""),
    "triton_grpc_port": ("grpc", "0", "-1", "65536", "80.5"),
    "triton_timeout": ("soon", "0", "-1", "inf", "nan", ""),
    "budget": ("long", "0", "-1", "inf", "nan"),
    "run_budget": ("long", "0", "-1", "inf", "nan"),
    "protocol": ("ftp", "HTTP"),
    "transport": ("cuda",),
    "frame_rate": ("fast", "0", "-25", "inf", "nan"),
    "deadline": ("20", "0 ms", "-1 s", "nan s", "20 us", "soon"),
    "data": ("ones", "/no/such/file.npz"),
    "cooldown": ("cool", "0", "-1", "150", "nan"),
    "precision": ("x", "0", "1", "100%", "-1%", "5%%", "nan", "%"),
    "disturbed": ("x", "0", "1", "on"),
    "tolerance": ("x", "0", "1", "100%", "-0.1", "nan", "5%,6%"),
    "limits": ("latency_p99", "latency_p99 <= 40", "throughput <= 3", "power_mean <= 1 mJ"),
    "latency_bound": ("fast", "40", "0 ms", "40 mJ", "-1 ms", "1 s, accuracy >= 95", "1 s, 95%"),
    "alpha": ("x", "0", "1", "nan"),
    "update": ("yes",),
    "lock": ("no", "wait 5", ""),
    "sessions": ("many", "0", "-1", "1.5"),
}


@pytest.mark.parametrize(("name", "value"), [(name, bad) for name in BAD for bad in BAD[name]])
def test_a_bad_value_is_refused_and_named_wherever_it_stands(
    pytester: pytest.Pytester, name: str, value: str
) -> None:
    with pytest.raises((pytest.UsageError, ConfigurationError), match=FLAGS[name]):
        load(pytester, f"{FLAGS[name]}={value}")
    write(pytester, f"{name} = {json.dumps(value)}")
    with pytest.raises(ConfigurationError, match=rf"pyproject\.toml: {name}: .*{value}"):
        load(pytester)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("models = [1]", r"models: \[1\] is not a list of names"),
        ("models = 1", "models: 1 is not a list of names"),
        ("grid = 3", "grid: 3 is not text"),
        ("json = 3", "json: 3 is not text"),
        ("budget = [1]", "not a positive number of seconds"),
        ("budget = true", "not a positive number of seconds"),
        ("limits = [1]", r"limits: \[1\] is not a list of limits such as 'latency_p99 <= 40 ms'"),
        ('limits = ["power_mean<=1W", "power_mean<=2 W"]', "limits: two limits on power_mean: p"),
        ('tolerance = "p99=5%"', "tolerance: 'p99' is not gated .*'latency_p99'.*: throughput, l"),
        ('tolerance = "5%,latency_p99="', "tolerance: '' is neither a percentage below 100%"),
        ("tolerances = 0.1", "tolerances: 0.1 is not a table"),
        (
            "[tool.gaitperf.tolerances]\nlatency_mean = 0.1",
            "tolerances: 'latency_mean' is not gated",
        ),
        ("[tool.gaitperf.tolerances]\nlatency_p99 = 5", "tolerances: 5 is neither a percentage"),
        ("model = 3", "model is not tables such as"),
        ("[tool.gaitperf.model]\ntolerance = 0.1", "model is not tables such as"),
        ('[tool.gaitperf.model."a*"]\ntolerance = 2', r"model.*a\*.*: tolerance: '2' is neither a"),
        (
            "[tool.gaitperf.model.a]\nlimit = 3",
            r"model.\"a\": unknown key 'limit' \(did you mean 'limits'\?\); the keys are tol",
        ),
        ("strict = 2", "strict: 2 is neither true nor false"),
        (
            "bugdet = 2",
            r"unknown key 'bugdet' in \[tool.gaitperf\] \(did you mean 'budget'\?\); the k",
        ),
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
