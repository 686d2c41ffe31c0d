from __future__ import annotations

import json

import pytest

from pytest_gaitperf.load.wire_http1 import ResponseError, ResponseReader


def answer(json_text: bytes, tensors: bytes, *, kind: bytes = b"application/octet-stream") -> bytes:
    """Return what Triton sends for an inference with binary outputs."""
    return b"\r\n".join(
        [
            b"HTTP/1.1 200 OK",
            b"Content-Type: " + kind,
            b"Inference-Header-Content-Length: %d" % len(json_text),
            b"Content-Length: %d" % (len(json_text) + len(tensors)),
            b"",
            json_text + tensors,
        ]
    )


def outputs(*sizes: int) -> bytes:
    entries = [{"name": "OUT", "parameters": {"binary_data_size": size}} for size in sizes]
    return json.dumps({"model_name": "m", "outputs": entries}).encode()


def read(data: bytes) -> bool:
    return ResponseReader().feed(bytearray(data), len(data))


def test_a_whole_inference_is_taken() -> None:
    assert read(answer(outputs(64, 8), bytes(72)))


@pytest.mark.parametrize("left", [0, 32, 63])
def test_an_answer_with_less_than_its_tensors_is_no_success(left: int) -> None:
    data = answer(outputs(64), bytes(left))
    with pytest.raises(ResponseError, match=f"tensors make {len(outputs(64)) + 64}: something"):
        read(data)


def test_a_web_page_is_no_success() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 4\r\n\r\n"
    with pytest.raises(ResponseError, match="of type text/html, which Triton never sends"):
        read(page + b"<ht>")


def test_an_answer_that_ends_within_its_json_is_no_success() -> None:
    whole = answer(outputs(64), b"")
    length = len(outputs(64))
    cut = whole.replace(
        b"\r\nContent-Length: %d" % length, b"\r\nContent-Length: %d" % (length - 9)
    )
    with pytest.raises(ResponseError):
        read(cut[:-9])


@pytest.mark.parametrize(
    "text", [b"{}", b"[1]", b'{"outputs": 3}', b'{"outputs": [{"parameters": 1}]}', b"\xff\xfe{"]
)
def test_json_that_is_no_inferences_is_no_success(text: bytes) -> None:
    with pytest.raises(ResponseError, match="not that of an inference"):
        read(answer(text, b""))
