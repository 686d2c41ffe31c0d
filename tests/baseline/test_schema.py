from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.baseline.schema import (
    BaselineFile,
    Cell,
    CellWorkload,
    Profile,
    Recording,
    Value,
    decode,
    encode,
    rounded,
)
from pytest_gaitperf.errors import BaselineError

PATH = Path("baselines/orin/3D.json")

texts = st.text(max_size=20)
names = st.text(min_size=1, max_size=12)
entries = st.builds(
    Value,
    st.floats(1e-12, 1e12).map(rounded),
    st.one_of(st.none(), st.floats(0, 2).map(rounded)),
    st.integers(1, 10_000),
    texts,
)
times = st.datetimes().map(lambda t: t.strftime("%Y").zfill(4) + t.strftime("-%m-%dT%H:%M:%SZ"))
recordings = st.builds(
    Recording,
    times,
    texts,
    texts,
    texts,
    texts,
    texts,
    st.one_of(st.none(), st.booleans()),
    texts,
)


@st.composite
def files(draw: st.DrawFn) -> BaselineFile:
    environments = draw(st.dictionaries(names, st.dictionaries(names, texts), max_size=2))
    used = st.sampled_from(["", *sorted(environments)])
    sessions = {
        name: msgspec.structs.replace(recording, environment=draw(used))
        for name, recording in draw(st.dictionaries(names, recordings, max_size=4)).items()
    }
    values = st.dictionaries(names, entries, max_size=4)
    measured = (
        st.dictionaries(st.sampled_from(sorted(sessions)), values) if sessions else st.just({})
    )
    cell = st.builds(Cell, st.builds(CellWorkload, names, names, texts), measured)
    return BaselineFile(
        schema=3,
        model="3D",
        profile=Profile("orin", draw(st.dictionaries(names, texts, max_size=3))),
        sessions=sessions,
        cells=draw(st.dictionaries(names, cell, max_size=4)),
        environments=environments,
    )


@given(files())
def test_what_is_written_is_read_back(content: BaselineFile) -> None:
    data = encode(content)
    assert decode(data, PATH, "3D", "orin") == content
    assert encode(decode(data, PATH, "3D", "orin")) == data
    assert json.loads(data)["schema"] == 3


COMMITTED = sorted((Path(__file__).parents[2] / "baselines").glob("*/*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_baseline_is_written_as_it_stands(path: Path) -> None:
    data = path.read_bytes()
    assert encode(decode(data, path, path.stem, path.parent.name)) == data


def test_a_byte_order_mark_is_skipped() -> None:
    data = json.dumps(plain()).encode()
    assert decode(b"\xef\xbb\xbf" + data, PATH, "3D", "orin") == decode(data, PATH, "3D", "orin")


@given(st.floats(1e-300, 1e300))
def test_rounding_keeps_five_digits(value: float) -> None:
    assert rounded(value) == pytest.approx(value, rel=5.1e-5)
    assert rounded(rounded(value)) == rounded(value)
    assert len(re.sub(r"e.*|\D|^0\.0*", "", f"{rounded(value):.15g}").strip("0")) <= 5


def plain() -> dict[str, Any]:
    session = {
        "time": "2026-11-22T15:42:37Z",
        "triton": "2.51.0",
        "signature": "in FP32[25,60,60,2] -> out FP32[-1]",
    }
    entry = [41.2, 0.021, 12]
    return {
        "schema": 3,
        "model": "3D",
        "profile": {"id": "orin", "fields": {"mode": "15W"}},
        "sessions": {"s1": session},
        "cells": {
            "b8-c4": {
                "workload": {"protocol": "http", "transport": "inline"},
                "sessions": {"s1": {"throughput": entry, "latency_p50": [*entry]}},
            }
        },
    }


def test_a_hand_written_file_is_read() -> None:
    content = decode(json.dumps(plain()).encode(), PATH, "3D", "orin")
    assert content.cells["b8-c4"].sessions["s1"]["throughput"] == Value(41.2, 0.021, 12)


ENTRY = ("cells", "b8-c4", "sessions", "s1", "throughput")
AT = r"$.cells['b8-c4'].sessions['s1']"


@pytest.mark.parametrize(
    ("at", "value", "where", "what"),
    [
        (("schema",), 4, "$.schema is 4", "update pytest-gaitperf"),
        (("schema",), 0, "$.schema is 0", "restore"),
        (("schema",), "1", "$.schema", ""),
        (("schema",), None, "$", "`schema`"),
        (("model",), "2D", "$.model is '2D'", "rename the file to 2D.json"),
        (("model",), "", "$.model", ""),
        (("profile", "id"), "xavier", "$.profile.id is 'xavier'", "record a baseline for this one"),
        (("profile", "fields"), [1], "$.profile.fields", ""),
        (("cells",), None, "$", "`cells`"),
        (("cells",), 3, "$.cells", ""),
        (("cells", "b8-c4"), "x", "$.cells['b8-c4']", ""),
        (("cells", "b8-c4", "workload"), None, "$.cells['b8-c4']", "`workload`"),
        (("cells", "b8-c4", "sessions", "s1"), 1, AT, ""),
        (("cells", "b8-c4", "sessions", "s2"), {}, "['s2']", "has no provenance"),
        ((*ENTRY, 0), -1.0, AT, ""),
        ((*ENTRY, 0), 0, AT, ""),
        ((*ENTRY, 0), "41", AT, ""),
        (ENTRY, [], AT, ""),
        (ENTRY, {"value": 41}, AT, ""),
        ((*ENTRY, 1), -0.1, AT, ""),
        ((*ENTRY, 2), 1.5, AT, ""),
        (ENTRY, [41, 0.1, 1, "", 1], AT, ""),
        (("sessions", "s1", "time"), "yesterday", "$.sessions['s1'].time", ""),
        (("sessions", "s1", "dirty"), "no", "$.sessions['s1'].dirty", ""),
        (("sessions", "s1", "triton"), None, "$.sessions['s1']", "`triton`"),
        (("sessions", "s1"), None, AT, "has no provenance"),
        (("sessions", "s1", "environment"), "e1", "$.sessions['s1'].environment 'e1'", "is not in"),
        (("environments",), {"e1": 1}, "$.environments", ""),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(
    at: tuple[Any, ...], value: object, where: str, what: str
) -> None:
    content = plain()
    inner: Any = content
    for key in at[:-1]:
        inner = inner[key]
    if value is None:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    with pytest.raises(BaselineError) as caught:
        decode(json.dumps(content).encode(), PATH, "3D", "orin")
    message = str(caught.value)
    assert message.startswith(str(PATH))
    assert where in message
    assert what in message
    assert "\n" not in message
    if "throughput" in at:
        assert "['throughput']" in message


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "line 1: not valid JSON"),
        (b'{\n"schema": 1,\n"model": }', "line 3: not valid JSON"),
        (b'{\n"schema": 1', "line 2: not valid JSON"),
        (b'{"schema": NaN}', "line 1: not valid JSON"),
        (b'{"schema": 1e999}', "restore the file from git"),
        (b'{"schema": "\xff"}', "line 1: not valid JSON"),
        (b"\x80\x04\x95", "line 1: not valid JSON"),
        (b"[]", "$: "),
        (b"null", "$: "),
        (b'{\n<<<<<<< HEAD\n"a": 1\n=======\n>>>>>>> x\n}', "line 2: a merge conflict"),
    ],
)
def test_what_is_not_json_is_refused_with_its_line(data: bytes, what: str) -> None:
    with pytest.raises(BaselineError, match=re.escape(what)) as caught:
        decode(data, PATH, "3D", "orin")
    assert str(caught.value).startswith(str(PATH))


@given(st.binary(max_size=60))
def test_no_bytes_escape_as_another_error(data: bytes) -> None:
    with pytest.raises(BaselineError):
        decode(data, PATH, "3D", "orin")


@given(st.data())
def test_no_damage_escapes_as_another_error(data: st.DataObject) -> None:
    whole = bytearray(json.dumps(plain()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(whole), PATH, "3D", "orin")
    except BaselineError as error:
        assert str(error).startswith(str(PATH))  # noqa: PT017 - damage may also leave it valid


def test_cells_are_in_a_readers_order() -> None:
    content = plain()
    for key in ("b12-c4", "b1-c12", "b1-c2"):
        content["cells"][key] = content["cells"]["b8-c4"]
    text = encode(decode(json.dumps(content).encode(), PATH, "3D", "orin")).decode()
    places = [text.index(key) for key in ("b1-c2", "b1-c12", "b8-c4", "b12-c4")]
    assert places == sorted(places)
