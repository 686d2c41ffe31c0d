"""The results file: what is written is read again, and what is wrong is said with its place."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.results_file import encode, json_schema, read_results, results_of
from tests.report.results_schema import misfits
from tests.report.runs import GOOD, MIXED, board, cell, measured, run, searched

if TYPE_CHECKING:
    from pytest_gaitperf.results import Run

WHOLE = (MIXED, board(), run(searched(), cell(further=(measured(),), again=measured(factor=1.1))))


def document(of_run: Run = MIXED) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encode(of_run))
    return content


def changed(path: str, value: object) -> dict[str, Any]:
    """The results with another value at a place such as ``cells.0.id``."""
    results = document()
    *way, last = path.split(".")
    place: Any = results
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return results


def test_it_is_a_json_schema_that_knows_every_key_that_is_written() -> None:
    Draft202012Validator.check_schema(json_schema())
    for of_run in WHOLE:
        assert misfits(document(of_run)) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"schema": 3}, "$.schema"),
        ({"full_run": "yes"}, "$.full_run"),
        ({"cells": [{"id": "a"}]}, "$.cells[0]"),
        ({"invented": 1}, "$"),
        ({"outcome": "fine"}, "$.outcome"),
    ],
)
def test_what_is_not_of_the_schema_is_found(change: dict[str, object], place: str) -> None:
    found = misfits(document() | change)
    assert [text for text in found if text.startswith(f"{place}:")], found


def test_what_is_written_is_read_again_the_same(tmp_path: Path) -> None:
    for of_run in WHOLE:
        (tmp_path / "r.json").write_text(encode(of_run))
        assert read_results(tmp_path / "r.json") == of_run


def test_lists_of_numbers_take_one_line_and_texts_stay_as_they_are() -> None:
    note = "odd: [\n 1,\n 2\n] and [\\n 3]"
    text = encode(run(cell(measurement={"notes": (note,)})))
    assert max(map(len, text.splitlines())) > 500
    assert json.loads(text)["cells"][0]["measurement"]["notes"] == [note]


def test_what_a_later_version_adds_is_left_alone() -> None:
    content = document(run(GOOD))
    content["invented"] = content["cells"][0]["invented"] = 1
    read = results_of(content)
    assert read == run(GOOD)


def test_metrics_of_a_later_version_are_not_shown() -> None:
    content = document(run(GOOD))
    told = content["cells"][0]
    told["measurement"]["metrics"]["kelvins"] = {"unit": "K", "value": 300.0, "low": None}
    told["verdicts"]["kelvins"] = told["verdicts"]["throughput"] | {"metric": "kelvins"}
    assert "kelvins" not in page([results_of(content)]).partition("cell-data")[0]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 7, r"\$\.schema is 7, this pytest-gaitperf reads 2"),
        ("profile", {}, r"\$\.profile: .*`id`"),
        (
            "cells.0.measurement.metrics.throughput.value",
            "fast",
            r"\$\.cells\[0\]\.measurement\.metrics.*\.value: Expected",
        ),
        ("cells.0.id", "other-b8-c4", r"\$\.cells\[0\]\.id: 'other-b8-c4' is no cell of its model"),
        (
            "cells.0.measurement.latencies.percentiles_s",
            [1.0],
            r"1 percentiles and not 101",
        ),
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
    with pytest.raises(ConfigurationError, match=r"nowhere.json: cannot be read \(No such file"):
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
    results = {**document(), "cells": [value]} if way == ["cells", "0"] else changed(place, value)

    with contextlib.suppress(ConfigurationError):
        results_of(results)
