"""What comes over the network: Triton's answers, heads, bodies, frames, and the URL itself."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, cast
from unittest import mock

from pytest_gaitperf.errors import ConfigurationError, MeasurementError, ServerError
from pytest_gaitperf.load import shared_memory
from pytest_gaitperf.load.grpc_answer import FAILED, OK, REFUSED
from pytest_gaitperf.load.wire_grpc import GrpcWire, call_fields
from pytest_gaitperf.load.wire_http1 import ResponseError, ResponseReader
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.way import address, parse_url
from tests.fuzz.mutating import BYTES, HTTP, JSON, TEXT
from tests.fuzz.target import SEPARATOR, Target, parts
from tests.load.fake_http2 import HEAD, answer, block, frame

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERS = Path(__file__).parents[1] / "triton" / "answers"
NEWEST = "2.51.0"
_PLACE = "127.0.0.1:8000"
_MOST_COUNT = 1 << 64


class CannedApi(Api):
    """A server that has one answer for each question, in turn."""

    def __init__(self, *answers: bytes, status: int = 200) -> None:
        super().__init__("127.0.0.1", 8000)
        self._answers = list(answers)
        self._status = status

    def request(self, *_asked: object, **_how: object) -> tuple[int, bytes]:
        """Return the next answer, the last one for ever."""
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return self._status, answer


def _server(data: bytes, directory: Path) -> None:
    name, version = CannedApi(data).metadata()
    (name + version).encode()


def _index(data: bytes, directory: Path) -> None:
    for entry in CannedApi(data).index():
        assert entry.name
        "".join(entry).encode()


def _regions(data: bytes, directory: Path) -> None:
    "".join(CannedApi(data).regions()).encode()


def _refusal(data: bytes, directory: Path) -> None:
    CannedApi(data, status=400).unregister_region("region")


def _model(data: bytes, directory: Path) -> None:
    info = CannedApi(*parts(data, 2)).model("identity", "")
    assert info.max_batch_size >= 0
    for tensor in (*info.inputs, *info.outputs):
        assert all(-1 <= size < 1 << 63 for size in tensor.shape)
    (info.name + info.signature + info.backend + "".join(info.versions)).encode()


def _statistics(data: bytes, directory: Path) -> None:
    found = CannedApi(data).statistics("identity", "1")
    assert all(0 <= seconds < 1e30 for seconds in found.parts_s().values())
    assert 0 <= found.inference_count < _MOST_COUNT


def served(data: bytes) -> socket.socket:
    """Return a connection whose other end has sent this and closed."""
    ours, theirs = socket.socketpair()
    ours.settimeout(1.0)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    return _Pair(ours, theirs)


def _close_with(theirs: socket.socket) -> None:
    with theirs, suppress(OSError):
        while theirs.recv(1 << 16):
            pass


class _Pair(socket.socket):
    """One end of a pair, which keeps the other one open as long."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        timeout = ours.gettimeout()
        super().__init__(ours.family, ours.type, ours.proto, ours.detach())
        self.settimeout(timeout)
        self._theirs = theirs

    def detach(self) -> int:
        """Give the end away; the other one is closed when that is."""
        Thread(target=_close_with, args=(self._theirs,), daemon=True).start()
        return super().detach()

    def setsockopt(self, *_option: object) -> None:
        """A pair has no options of TCP."""

    def _real_close(self) -> None:
        self._theirs.close()
        super()._real_close()  # type: ignore[misc] # CPython's own hook of close and makefile


def _asked(ask: Callable[[Api], object], data: bytes, directory: Path) -> None:
    with mock.patch("socket.create_connection", side_effect=lambda *_a, **_k: served(data)):
        ask(Api("127.0.0.1", 8000, timeout_s=1.0))


def _infer_sizes(data: bytes, directory: Path) -> None:
    with mock.patch("socket.create_connection", return_value=served(data)):
        sizes = shared_memory._answered_sizes(Api("127.0.0.1", 8000), b"POST")
    assert all(0 <= size < 1 << 63 for size in sizes.values())


def _url(data: bytes, directory: Path) -> None:
    host, port, _way = parse_url(data.decode("utf-8", "surrogateescape"))
    assert 0 <= port < 1 << 16
    address(host, port).encode()
    # What follows: the name is looked up, which encodes it.
    host.encode("idna")


_PIECES = (1 << 16, 1, 7, 100)


def _pieces(data: bytes) -> list[bytes]:
    """Cut what came into pieces, as the network does; the first byte says how."""
    if not data:
        return []
    size = _PIECES[data[0] % len(_PIECES)]
    return [data[at : at + size] for at in range(1, min(len(data), 500 * size), size)]


def _response(data: bytes, directory: Path) -> None:
    reader = ResponseReader()
    for piece in _pieces(data):
        complete = reader.feed(bytearray(piece), len(piece))
        assert not complete or (reader.idle and 200 <= reader.status < 1000)
        assert not reader.usual(bytearray(piece), len(piece)) or reader.idle
        reader.error_text.encode()


class _Sink:
    """Takes all that is sent."""

    def send(self, data: bytes, _flags: int = 0) -> int:
        return len(data)

    def sendmsg(self, buffers: tuple[bytes, ...], _ancillary: object, _flags: int) -> int:
        return sum(map(len, buffers))


def _frames(data: bytes, directory: Path) -> None:
    wire = GrpcWire(cast("socket.socket", _Sink()), call_fields("127.0.0.1", 8001))
    message = memoryview(b"m" * 20_000_000 if data[:1] == b"\x80" else b"message")
    rest = message[wire.send(message, 0) :]
    for piece in _pieces(data):
        if wire.feed(bytearray(piece), len(piece)):
            assert wire.status in (OK, FAILED, REFUSED)
            assert wire.status == OK or wire.error_text
            wire.error_text.encode()
            if wire.closing or rest:
                return
            rest = message
        while rest:
            sent = wire.send(rest, 0)
            rest = rest[sent:]
            if not sent or wire.window_closed:
                break


def _answers(*names: str, versions: tuple[str, ...] = ("2.41.0", NEWEST)) -> tuple[bytes, ...]:
    return tuple((ANSWERS / version / name).read_bytes() for version in versions for name in names)


def _with_body(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"Content-Length: %d" % len(body), b"", body])


def _model_seeds() -> tuple[bytes, ...]:
    return tuple(
        SEPARATOR.join(_answers(f"model-{name}.json", f"config-{name}.json", versions=(NEWEST,)))
        for name in ("kinds", "unbatched", "versioned")
    )


def _size_seeds() -> tuple[bytes, ...]:
    outputs = [
        {"name": "B", "datatype": "FP16", "shape": [1], "parameters": {"binary_data_size": 2}}
    ]
    document = json.dumps({"model_name": "kinds", "outputs": outputs}).encode()
    length = b"Inference-Header-Content-Length: %d" % len(document)
    return *_answers("infer.http"), _with_body(document + b"\0\0", length)


def _frame_seeds() -> tuple[bytes, ...]:
    fake = frame(4, 0, 0) + answer(1)
    failed = frame(4, 0, 0) + frame(
        1, 5, 1, block(status_="200", grpc_status="13", grpc_message="no%20room")
    )
    controls = (
        frame(4, 0, 0, b"\0\x05\0\xff\xff\xff\0\x04\x7f\xff\xff\xff")
        + frame(8, 0, 0, b"\x7f\xff\0\0")
        + frame(6, 0, 0, b"12345678")
        + frame(1, 4, 1, HEAD)
        + frame(3, 0, 1, b"\0\0\0\x02")
        + frame(7, 0, 0, b"\0" * 8)
    )
    real = _answers("infer.grpc", "infer-failed.grpc")
    return tuple(
        how + seed for seed in (*real, fake, failed, controls) for how in (b"\0", b"\1", b"\x80")
    )


def _heads() -> tuple[bytes, ...]:
    continued = b"HTTP/1.1 100 Continue\r\n\r\n" + _answers("infer.http")[0]
    seeds = (*_answers("infer.http", "infer-failed.http"), continued)
    return tuple(how + seed for seed in seeds for how in (b"\0", b"\1" + seed))


_SERVER_ERROR = (ServerError,)

TARGETS = (
    Target("server", _server, partial(_answers, "server.json"), JSON, _PLACE, _SERVER_ERROR, 0.5),
    Target("index", _index, partial(_answers, "index.json"), JSON, _PLACE, _SERVER_ERROR),
    Target(
        "regions",
        _regions,
        lambda: (
            b'[{"name": "r", "key": "/k", "offset": 0, "byte_size": 64}]',
            *_answers("regions.json"),
        ),
        JSON,
        _PLACE,
        _SERVER_ERROR,
        0.5,
    ),
    Target(
        "refusals",
        _refusal,
        partial(_answers, "error-model.json", "error-register.json", "error-path.json"),
        JSON,
        _PLACE,
        _SERVER_ERROR,
        0.5,
    ),
    Target("model", _model, _model_seeds, JSON, _PLACE, _SERVER_ERROR, 1.5),
    Target(
        "statistics",
        _statistics,
        partial(_answers, "stats-identity.json", "stats-versioned.json"),
        JSON,
        _PLACE,
        _SERVER_ERROR,
        1.5,
    ),
    Target(
        "http-api",
        partial(_asked, Api.metadata),
        lambda: (_with_body(_answers("server.json")[0], b"Content-Type: application/json"),),
        HTTP,
        _PLACE,
        _SERVER_ERROR,
    ),
    Target(
        "http-probe",
        partial(_asked, lambda api: api.probe(1.0)),
        lambda: (_with_body(_answers("server.json")[0], b"Content-Type: application/json"),),
        HTTP,
        weight=0.5,
    ),
    Target("infer-sizes", _infer_sizes, _size_seeds, HTTP, errors=(MeasurementError,)),
    Target(
        "url",
        _url,
        lambda: (b"127.0.0.1:8000", b"http://host.example:80/", b"[::1]:8000", b"user@host:1?x"),
        TEXT,
        "URL",
        (ConfigurationError,),
    ),
    Target("http-responses", _response, _heads, HTTP, errors=(ResponseError,), weight=1.5),
    Target("http2-frames", _frames, _frame_seeds, BYTES, errors=(ResponseError,), weight=1.5),
)
