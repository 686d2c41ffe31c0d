from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.baseline import schema
from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import SCHEMA, Value, decode, encode, migrated
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError

MODEL = "3D_fp16_0_batchd"
CAPTURED = Path(__file__).parent / "schemas"
OLD = (CAPTURED / "1.json").read_bytes()
"""Two cells and two sessions of a file that an H200 wrote with schema 1; 2.json has the same."""

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["schema", "cells", "sessions", "b1-c1", "value", "n"]), inner
        ),
    ),
    max_leaves=8,
)


def test_every_older_schema_has_a_captured_file_and_a_step() -> None:
    assert {path.name for path in CAPTURED.iterdir()} == {f"{n}.json" for n in range(1, SCHEMA)}
    for path in CAPTURED.iterdir():
        assert migrated(json.loads(path.read_bytes()))["schema"] == SCHEMA


@pytest.mark.parametrize("path", sorted(CAPTURED.iterdir()), ids=lambda path: path.stem)
def test_an_older_file_is_read_with_its_values_as_those_of_one_life(path: Path) -> None:
    content = decode(path.read_bytes(), path, MODEL, "h200")
    assert list(content.cells) == ["b1-c1", "b1-c8"]
    entries = content.cells["b1-c1"].sessions["20261122T165621Z"]
    assert entries == {
        "energy_per_inference": Value(0.29206, rails="gpu0"),
        "latency_p50": Value(0.0020797),
        "latency_p99": Value(0.0029197),
        "server_cpu_per_inference": Value(0.0018259),
        "throughput": Value(469.06),
    }
    recording = content.sessions["20261122T165724Z"]
    assert (recording.time, recording.recorder) == ("2026-11-22T16:57:24Z", "host vm")
    assert decode(encode(content), path, MODEL, "h200") == content


def test_only_a_run_that_writes_a_file_gives_it_todays_schema(tmp_path: Path) -> None:
    old, other = tmp_path / "h200" / f"{MODEL}.json", tmp_path / "h200" / "2D.json"
    old.parent.mkdir()
    old.write_bytes(OLD)
    other.write_bytes(OLD.replace(MODEL.encode(), b"2D"))
    store = BaselineStore(tmp_path, "h200", {})
    store.check()
    assert len(list(store.cells())) == 4
    assert old.read_bytes() == OLD
    store.record(
        MODEL, "b1-c1", Fingerprint("2.51.0", "x", "http", "inline"), {"throughput": Value(1.0)}
    )
    assert store.write(Provenance("20261123T000000Z", "2026-11-23T00:00:00Z")) == [old]
    assert json.loads(old.read_bytes())["schema"] == SCHEMA
    assert json.loads(other.read_bytes())["schema"] == 1
    cell = BaselineStore(tmp_path, "h200", {}).cell(MODEL, "b1-c1")
    assert cell is not None
    assert [session.time[:10] for session in cell.sessions] == [
        *("2026-11-22", "2026-11-22", "2026-11-23")
    ]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        (b'"value":0.29206', b'"value":"x"', "['b1-c1'].sessions['20261122T165621Z']['energy"),
        (b'"value":0.29206', b'"valeu":1', "['b1-c1'].sessions['20261122T165621Z']['energy"),
        (b'"value":0.29206', b'"value":-1', "['b1-c1'].sessions['20261122T165621Z']['energy"),
        (b'"cells"', b'"cellar"', "`cellar`"),
        (b'"schema": 1', b'"schema": 99', "$.schema is 99"),
        (b'"schema": 1', b'"schema": true', "$"),
    ],
)
def test_a_damaged_old_file_is_refused_with_its_place(old: bytes, new: bytes, where: str) -> None:
    assert old in OLD
    with pytest.raises(BaselineError, match=re.escape(where)):
        decode(OLD.replace(old, new, 1), Path("1.json"), MODEL, "h200")


@pytest.mark.parametrize("entry", [b"7", b"[]", b'["x",null,43]', b'[1,null,1,"gpu0",5]'])
def test_a_damaged_entry_of_schema_2_is_refused_with_its_place(entry: bytes) -> None:
    path, good = CAPTURED / "2.json", b"[440.39,0.11335,43]"
    assert good in path.read_bytes()
    with pytest.raises(BaselineError, match=r"\['b1-c1'\].sessions\['20261122T165724Z'\]"):
        decode(path.read_bytes().replace(good, entry), path, MODEL, "h200")


@given(json_values)
def test_no_document_escapes_as_another_error(value: Any) -> None:
    document = {"schema": 1, "model": "m", "profile": {"id": "p"}, "sessions": {}, "cells": value}
    try:
        decode(json.dumps(document).encode(), Path("1.json"), "m", "p")
    except BaselineError as error:
        assert "\n" not in str(error)  # noqa: PT017 - chance may also draw a valid document


def test_steps_are_taken_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = {n: lambda d, n=n: {**d, "schema": n + 1, "path": [*d["path"], n]} for n in (1, 2, 3)}
    monkeypatch.setattr(schema, "_STEPS", chain)
    assert migrated({"schema": 2, "path": []}) == {"schema": 4, "path": [2, 3]}
    assert migrated({"schema": 7, "path": []}) == {"schema": 7, "path": []}
