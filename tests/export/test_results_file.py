"""Reading results back: what they are, or where they are wrong."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.report.export.results_file import session_of
from pytest_gaitperf.report.reading import read_results, results_of

CELL: dict[str, Any] = {
    "id": "resnet-b8-c4",
    "workload": {"model": "resnet", "batch_size": 8, "concurrency": 4, "protocol": "grpc"},
    "metrics": {"throughput": {"unit": "inf/s", "value": 100.0, "low": 98.0, "high": None}},
    "energy_is_estimated": True,
    "requests": 1000,
    "latency_distribution": {
        "percentiles_s": [0.01] * 101,
        "sd_s": 0.001,
        "sd_outliers": 3,
        "tukey_outliers": 2,
        "tukey_low_s": 0.009,
        "tukey_high_s": 0.012,
    },
}
RESULTS: dict[str, Any] = {
    "schema": 1,
    "profile": {"id": "orin", "fields": {}},
    "environment": {"time": "2026-11-22T10:00:00Z", "commit": "abc", "triton": {"version": "2.51"}},
    "cells": [CELL],
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The results with another value at a place such as ``cells.0.id``."""
    results = copy.deepcopy(RESULTS)
    *way, last = path.split(".")
    place: Any = results
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return results


def test_a_cell_is_read_with_its_load_and_its_figures() -> None:
    session = session_of(results_of(RESULTS))

    (cell,) = session.cells
    assert (session.profile, session.commit, session.triton) == ("orin", "abc", "2.51")
    assert (cell.id, cell.model, cell.key) == ("resnet-b8-c4", "resnet", "b8-c4")
    assert cell.labels["batch_size"] == "8"
    assert cell.metrics["throughput"].low == 98.0
    assert cell.is_estimate("energy_per_inference")
    assert not cell.is_estimate("throughput")
    assert cell.latencies is not None
    assert cell.latencies.quartiles_s == (0.01, 0.01, 0.01)


@pytest.mark.parametrize("field", ["error", "invalid"])
def test_a_cell_without_a_valid_measurement_is_left_out_with_its_reason(field: str) -> None:
    session = session_of(results_of(changed(f"cells.0.{field}", "the device throttled")))

    assert not session.cells
    assert session.left_out == {"resnet-b8-c4": "the device throttled"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 2, r"\$\.schema is 2, this pytest-gaitperf reads 1"),
        ("profile", {}, r"\$\.profile: .*`id`"),
        ("cells.0.metrics.throughput.value", "fast", r"\$\.cells\[0\]\.metrics.*\.value: Expected"),
        ("cells.0.id", "other-b8-c4", r"\$\.cells\[0\]\.id: 'other-b8-c4' is no cell of its model"),
        ("cells.0.latency_distribution.percentiles_s", [1.0], r"1 percentiles and not 101"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, path: str, value: object, message: str
) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(changed(path, value)))

    with pytest.raises(ConfigurationError, match=f"results.json: .*{message}"):
        read_results(file)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"null", b'{"schema": true}'])
def test_what_is_no_results_file_is_refused(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(text)

    with pytest.raises(ConfigurationError, match="give a file that --gaitperf-json"):
        read_results(file)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.json: cannot be read \("):
        read_results(Path("nowhere.json"))


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    place=st.sampled_from(
        ["schema", "profile", "environment", "cells", "cells.0", "cells.0.id", "cells.0.workload"]
    ),
    value=_JSON,
)
def test_nothing_in_the_file_gives_a_traceback(place: str, value: object) -> None:
    way = place.split(".")
    results = {**RESULTS, "cells": [value]} if way == ["cells", "0"] else changed(place, value)

    with contextlib.suppress(ConfigurationError):
        session_of(results_of(results))
