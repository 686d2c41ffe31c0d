from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_gaitperf.load.wire_http1 import ResponseError, ResponseReader

Outcome = tuple[int, bool, str]

BINARY = "application/octet-stream"
JSON = "Content-Type: application/json\r\n"


def response(status: int = 200, body: bytes = b"", *, extra: str = "", name: str = "") -> bytes:
    field = name or "Content-Length"
    head = f"HTTP/1.1 {status} Reason\r\n{extra}{field}: {len(body)}\r\n\r\n"
    return head.encode() + body


def read(pieces: list[bytes]) -> list[Outcome]:
    """Feed one connection's bytes piece by piece; the end of a response always ends a piece."""
    reader, buffer, outcomes = ResponseReader(), bytearray(1 << 18), []
    for piece in pieces:
        buffer[: len(piece)] = piece
        if reader.feed(buffer, len(piece)):
            text = "" if reader.status == 200 else reader.error_text
            outcomes.append((reader.status, reader.closing, text))
            assert reader.idle
    return outcomes


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut at the given places (any numbers); no piece is empty."""
    places = sorted({cut % len(data) for cut in cuts} - {0})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


statuses = st.sampled_from([200, 200, 200, 400, 404, 429, 500, 503])
extras = st.sampled_from(
    ["", f"Content-Type: {BINARY}\r\n", "Connection: close\r\n", "X-Id: 7\r\n"]
)
names = st.sampled_from(["Content-Length", "content-length", "CONTENT-LENGTH "])
responses = st.builds(
    lambda status, body, extra, name: response(status, body, extra=extra, name=name),
    statuses,
    st.binary(max_size=600),
    extras,
    names,
) | st.builds(
    lambda spaces: response(200, b'{"outputs": []}' + b" " * spaces, extra=JSON),
    st.integers(0, 600),
)


@given(
    st.lists(st.tuples(responses, st.lists(st.integers(0, 10_000), max_size=6)), max_size=8),
)
@example([(response(200, b"\r\n\r\nHTTP/1.1 500 x\r\n\r\n"), [1, 40, 41, 45, 50])] * 3)
@example([(response(200, b"ok"), []), (response(500, b"no"), []), (response(200, b"ok"), [])])
def test_the_pieces_in_which_responses_come_do_not_matter(
    parts: list[tuple[bytes, list[int]]],
) -> None:
    in_pieces = [piece for data, cuts in parts for piece in split(data, cuts)]
    assert read(in_pieces) == [outcome for data, _ in parts for outcome in read([data])]


@given(st.binary(max_size=400), st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
@example(b"\0\0", [], False)  # noqa: FBT003
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 300 + b"\r\n\r\n", [], True)  # noqa: FBT003
@example(b"HTTP/1.1 " + b"2" * 300 + b"\r\n\r\n", [], True)  # noqa: FBT003
def test_any_bytes_are_a_response_or_a_response_error(
    data: bytes, cuts: list[int], after_a_good_one: bool
) -> None:
    pieces = split(data, cuts) if data else []
    if after_a_good_one:
        pieces = [response(200, b"good"), *pieces]
    reader, buffer = ResponseReader(), bytearray(1 << 12)
    try:
        for piece in pieces:
            buffer[: len(piece)] = piece
            reader.feed(buffer, len(piece))
    except ResponseError as error:
        assert str(error)  # noqa: PT017


def test_what_stood_in_the_buffer_before_does_not_count() -> None:
    reader, buffer = ResponseReader(), bytearray(1 << 10)
    whole = response(200, b"12345678")
    buffer[: len(whole)] = whole
    assert reader.feed(buffer, len(whole))
    # The same bytes still stand there; only the first half has come.
    assert not reader.feed(buffer, len(whole) - 4)
    buffer[:4] = b"5678"
    assert reader.feed(buffer, 4)


def test_a_piece_of_a_body_that_looks_like_the_usual_response_is_body() -> None:
    usual = response(200, b"12")
    long = response(200, usual * 2)
    assert read([usual, long[: -2 * len(usual)], usual, usual, usual]) == [(200, False, "")] * 3


def test_heads_may_vary_from_response_to_response() -> None:
    pieces = [
        response(200, b"x" * size, extra=f"Date: {size}\r\n") for size in (0, 1, 10, 100, 10, 1, 0)
    ]
    assert read(pieces) == [(200, False, "")] * 7


def test_an_error_keeps_the_beginning_of_its_text() -> None:
    body = b'{"error":"no such\n model"}' + b"x" * 5000
    ((status, _, text),) = read(split(response(404, body), [30, 50, 2000]))
    assert status == 404
    assert text.startswith('HTTP 404: {"error":"no such model"}xxx')
    assert len(text) < 320


def test_an_error_after_an_error_has_its_own_text() -> None:
    outcomes = read([response(500, b"first"), response(503, b"second")])
    assert [text for _, _, text in outcomes] == ["HTTP 500: first", "HTTP 503: second"]


def test_an_error_text_that_is_no_utf8_is_shown_all_the_same() -> None:
    assert read([response(500, b"\xff\xfebad")])[0][2].startswith("HTTP 500: ")


def test_interim_responses_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    early_hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    data = interim + early_hints + response(200, b"body")
    for pieces in ([data], [data[:25], data[25:]], [bytes([byte]) for byte in data]):
        assert read(pieces) == [(200, False, "")]


@pytest.mark.parametrize(
    ("head", "closing"),
    [
        ("HTTP/1.1 200 OK\r\n", False),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n", True),
        ("HTTP/1.1 200 OK\r\nCONNECTION: Close\r\n", True),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", False),
        ("HTTP/1.0 200 OK\r\n", True),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", False),
    ],
)
def test_a_server_that_closes_says_so(head: str, closing: bool) -> None:
    data = f"{head}Content-Length: 1\r\n\r\nx".encode()
    assert read([data, data]) == [(200, closing, "")] * 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not an HTTP response: b'SSH-2.0-OpenSSH_9.2'"),
        (b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n", "not an HTTP response"),
        (b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", "not an HTTP response"),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", "without a valid Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", "without a valid Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "without a valid Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "two different values of Content-Length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            "Transfer-Encoding.*measure at Triton's own port",
        ),
        (response(200, b"body") + b"more", "longer than its Content-Length"),
        (response(200, b"body") * 2, "longer than its Content-Length"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 16), "head is longer than 64 KiB"),
    ],
)
def test_what_is_no_response_of_triton_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ResponseError, match=message):
        read([data])


def test_an_endless_head_in_drips_is_refused() -> None:
    with pytest.raises(ResponseError, match="64 KiB"):
        read([b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 1000] * 100])


def test_idle_between_responses_only() -> None:
    reader, buffer = ResponseReader(), bytearray(1 << 10)
    seen = []
    for piece in split(response(200, b"body"), [10, 20, -2]):
        buffer[: len(piece)] = piece
        seen.append(reader.idle)
        reader.feed(buffer, len(piece))
    assert (seen, reader.idle) == ([True, False, False, False], True)


@pytest.mark.parametrize("body", [b'{"error":"quota"}', b'{"outputs":7}', b"[]", b"no JSON", b""])
def test_json_of_no_inference_is_no_success_whatever_pieces_it_comes_in(body: bytes) -> None:
    data = response(200, body, extra=JSON)
    for cut in range(len(data)):
        with pytest.raises(ResponseError, match="JSON is not that of an inference"):
            read(split(data, [cut]))


def test_json_in_place_of_tensors_is_good_whatever_pieces_it_comes_in() -> None:
    """As Triton's, whose tensors lie in shared memory, or another server's."""
    shared = (
        b'{"model_name":"m","outputs":[{"name":"Y","datatype":"FP32","shape":[1,4],"parameters":'
        b'{"shared_memory_region":"r","shared_memory_byte_size":16}}]}'
    )
    for body in (shared, b'{"outputs":[{"name":"Y","shape":[1],"data":[0.5]}]}'):
        data = response(200, body, extra=JSON)
        assert all(read(split(data, [cut])) == [(200, False, "")] for cut in range(len(data)))


def test_tensors_of_another_size_are_no_success_whatever_pieces_they_come_in() -> None:
    json = b'{"outputs":[{"name":"Y","parameters":{"binary_data_size":8}}]}'
    told = f"Content-Type: {BINARY}\r\nInference-Header-Content-Length: {len(json)}\r\n"
    good, short = (response(200, json + bytes(size), extra=told) for size in (8, 7))
    for cut in range(len(short)):
        assert read(split(good, [cut])) == [(200, False, "")]
        with pytest.raises(ResponseError, match="its tensors make"):
            read(split(short, [cut]))
