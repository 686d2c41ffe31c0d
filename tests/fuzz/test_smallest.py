"""The smallest inputs that once were a traceback, a hang or a gigabyte, each found by fuzzing."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load.wire_http1 import ResponseError
from tests.fuzz.device_targets import array_bytes
from tests.fuzz.running import run_case
from tests.fuzz.target import SEPARATOR
from tests.fuzz.targets import TARGETS
from tests.load.fake_http2 import frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEEP = b"[" * 3000
LONG = b"9" * 5000
HUGE_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n"
TEXT = array_bytes(["ab"]).replace(b"a\0\0\0", b"\xff\xff\xff\xff")
NPY = array_bytes([1.0])
TRACE = TARGETS["trace-members"].seeds()[0]


def seed(name: str, old: bytes, new: bytes) -> bytes:
    """A good input with one thing other than it should be."""
    (found, *_) = [each for each in TARGETS[name].seeds() if old in each]
    return found.replace(old, new, 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("baseline", DEEP),
        ("results", DEEP),
        ("orphans", b'{"x": ' + DEEP),
        ("grid", b"subjects = [" + LONG + b"]"),
        ("grid", b"batch_sizes = [0x" + b"f" * 5000 + b"]"),
        ("settings", b"[tool.gaitperf]\nbudget = " + DEEP),
        ("options", b"gaitperf_against" + SEPARATOR + b"x" * 5000),
        ("options", b"gaitperf_data" + SEPARATOR + b"x" * 5000),
        ("accuracy-toml", b"a = " + LONG),
        ("accuracy-csv", b'"' + b"x" * 140_000),
        ("accuracy-csv", b"a,\0"),
        ("server", DEEP),
        ("refusals", DEEP),
        ("index", b'[{"name": "\\ud800"}]'),
        ("statistics", b'{"model_stats": [{"inference_count": 1e999}]}'),
        ("model", b"{}" + SEPARATOR + DEEP),
        ("http-api", HUGE_BODY),
        ("infer-sizes", HUGE_BODY),
        ("infer-sizes", b"HTTP/1.1 200 O"),
        ("infer-sizes", b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: x\r\n\r\n{}"),
        ("infer-sizes", b'HTTP/1.1 200 OK\r\n\r\n{"outputs": [{"name": "A", "parameters": {}}]}'),
        ("url", b"\xdb"),
        ("url", b"a..b"),
        # Frames of 2 GiB, and room for as many: no head of a frame can say so.
        (
            "http2-frames",
            b"\x80"
            + frame(4, 0, 0, b"\0\x05\x7f\xff\xff\xff\0\x04\x7f\xff\xff\xff")
            + frame(8, 0, 0, b"\x7f\xff\0\0"),
        ),
        ("rapl", b"\xdb"),
        ("rapl", seed("rapl", b"262143328850", "²".encode())),
        ("rapl", seed("rapl", b"262143328850", LONG)),
        ("device-state", seed("device-state", b"0.52 0.58", b"pmode 0.58")),
        ("device-state", seed("device-state", b"0.52 0.58", b"")),
        ("device-state", seed("device-state", b"729600", b"9" * 400)),
        ("device-state", seed("device-state", b"pmode:0002", b"pmode:" + LONG)),
        ("device-identity", seed("device-identity", b"7802112", LONG)),
        ("nvpmodel", b"< POWER_MODEL ID=" + LONG + b" NAME=x >"),
        ("nvpmodel-note", DEEP),
        ("nvpmodel-note", b'{"mode": 1e999, "name": ""}'),
        ("jtop", b"[]"),
        ("jtop", b'{"rail": {"VDD_IN": "off"}}'),
        ("jtop", b'{"rail": {"VDD_IN": {"power": NaN}}}'),
        ("jtop", b'{"rail": {"VDD_IN": {"power": ' + b"9" * 400 + b"}}}"),
        ("trace-members", b"\xdb"),
        ("trace-members", NPY.replace(b"'descr'", b"'de cr")),
        ("trace-members", SEPARATOR.join([NPY, NPY, NPY, TEXT])),
        ("trace-members", seed("trace-members", b"\0$@", b"\0$\xff")),  # -3e304 W
        # The last time is before 0: its difference to the one before does not fit into 64 bits.
        (
            "trace-members",
            seed(
                "trace-members", b"\x93\3\0\0\0\0h!,\4\0\0\0\0", b"\x93\3\0\0\0\x7fh!,\4\0\0\0\x80"
            ),
        ),
        (
            "trace-members",
            SEPARATOR.join([array_bytes(np.zeros(8, np.int64)), *TRACE.split(SEPARATOR)[1:]]),
        ),
        ("config-pbtxt", b'backend:""#\ninput{name:""data_type:9999999999'),
        ("config-pbtxt", b'name:""backend:""#\ninput{name:"\\P"'),
        ("data-json", DEEP),
        ("data-json", b'{"data": [{"X": [1, 2, 3, 4], "S": ["\\ud800"]}]}'),
        ("data-npy", NPY.replace(b"(1,)", b"(9999999999999,)")),
        ("data-members", SEPARATOR.join([NPY, TEXT])),
        ("onnx", seed("onnx", b"location", b"lo#ation")),
        ("onnx", seed("onnx", b"weights.bin", b"weights.b\x93n")),
        ("onnx", seed("onnx", b"Add", b"Ad\xff")),
        ("onnx", seed("onnx", b"\x11\x08\x01\x12", b"\x11\x08A\x12")),  # a type that nobody knows
    ],
)
def test_what_once_crashed_is_said_or_read(name: str, data: bytes, tmp_path: Path) -> None:
    outcome = run_case(TARGETS[name], data, tmp_path)
    assert outcome.kind != "crash", outcome.detail


def test_weights_for_which_the_file_is_too_small_are_not_made_room_for(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with h5py.File(packed, "w") as file:
        file.create_dataset("layers/dense/vars/0", (20_000, 20_000), "f4", chunks=(100, 100))
    with pytest.raises(
        ConfigurationError, match=r"weights\.h5: it is damaged: .* file is too small"
    ):
        TARGETS["keras"].read(packed.getvalue(), tmp_path)


def test_a_frame_that_is_kept_until_it_is_whole_has_an_end(tmp_path: Path) -> None:
    head = b"\xff\xff\xff" + frame(1, 4, 1)[3:]
    with pytest.raises(ResponseError, match="frame of type 1 and 16777215 bytes"):
        TARGETS["http2-frames"].read(b"\0" + frame(4, 0, 0) + head, tmp_path)
    with pytest.raises(ResponseError, match="does not speak HTTP/2"):
        TARGETS["http2-frames"].read(b"\0HTTP/1.1 400 Bad Request\r\n\r\n", tmp_path)


def test_a_crash_is_seen_for_what_it_is(tmp_path: Path) -> None:
    """The judge itself: silence, a nameless error and a gigabyte are all crashes."""
    target = TARGETS["server"]

    def judged(read: Callable[[bytes, Path], object]) -> str:
        outcome = run_case(replace(target, read=read, source="SOURCE"), b"", tmp_path)
        return f"{outcome.kind}: {re.sub('[0-9]+', 'N', outcome.detail)}"

    def raising(error: Exception) -> Callable[[bytes, Path], object]:
        def read(_data: bytes, _directory: Path) -> None:
            raise error

        return read

    (said,) = target.errors
    assert judged(lambda _data, _directory: 1) == "value: "
    assert judged(raising(said("SOURCE: no"))) == "error: ServerError"
    assert judged(raising(said(""))).startswith("crash: a message that does not name 'SOURCE'")
    assert judged(raising(said("no"))).startswith("crash: a message that does not name 'SOURCE'")
    assert judged(raising(KeyError("x"))).startswith("crash: KeyError: 'x'")
    assert (
        judged(lambda _data, _directory: bytes(100 << 20)) == "crash: N MB for an input of N bytes"
    )
