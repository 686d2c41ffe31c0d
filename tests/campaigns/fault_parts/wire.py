"""Faults of the wire: what comes back is late, broken or too much, or nobody we know answers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from tests.campaigns.fault_parts.case import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from tests.campaigns.fault_parts.case import Case


def spoilt(what: str, *, always: bool = False, grpc: bool = False) -> Callable[[Case], None]:
    """Return an injector that spoils one answer, one in ten, or all (``always``)."""

    def inject(case: Case) -> None:
        times, every = (0, 1) if always else case.random.choice(((1, 1), (0, 10), (0, 1)))
        proxy = case.proxy(what, times=times, every=every)
        case.start(*proxy.options, f"--gaitperf-protocol={'grpc' if grpc else 'http'}")
        case.wait_for("1/2 ")
        time.sleep(case.random.uniform(0.05, 0.9))
        case.struck()
        proxy.go()

    return inject


def slowed(case: Case) -> None:
    """Let every answer of the cell take 0.3 s longer: only the gate can see that."""
    case.compared()
    proxy = case.proxy("slow")
    case.start(*proxy.options, concurrency=1)
    case.wait_for("1/2 ")
    case.struck()
    proxy.go()


class Stranger:
    """A server that is no KServe server; it sends ``pieces``, one every ``pause_s``, for ever."""

    def __init__(self, first: bytes, forever: bytes = b"", pause_s: float = 0.0) -> None:
        self._first, self._forever, self._pause_s = first, forever, pause_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            connection.recv(1 << 16)
            connection.sendall(self._first)
            while self._forever and not self._ended.wait(self._pause_s):
                connection.sendall(self._forever)
            if not self._first:
                self._ended.wait()


def _page(status: str, body: bytes, kind: str = "text/html", length: int = -1) -> bytes:
    size = len(body) if length < 0 else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


_SILENT = b""
STRANGERS: tuple[tuple[str, Callable[[], Stranger]], ...] = (
    (
        "no Triton at this path: its /v2 answers 404",
        lambda: Stranger(_page("404 Not Found", b"<html>nothing here</html>")),
    ),
    (
        "no Triton: its /v2 answers 200",
        lambda: Stranger(_page("200 OK", b"<html>welcome</html>")),
    ),
    (
        "no Triton: its /v2 answers 200",
        lambda: Stranger(_page("200 OK", b'{"hello": "world"}', "application/json")),
    ),
    ("no Triton: its /v2 answers 301", lambda: Stranger(_page("301 Moved", b"", "text/html"))),
    (
        "it wants credentials: give them with --triton-header",
        lambda: Stranger(_page("401 Unauthorized", b'{"error": "who?"}', "application/json")),
    ),
    ("it does not speak HTTP", lambda: Stranger(b"SSH-2.0-OpenSSH_9.2\r\n")),
    ("it does not speak HTTP", lambda: Stranger(bytes(range(256)) * 64)),
    ("a TLS server", lambda: Stranger(b"\x15\x03\x01\x00\x02\x02\x46")),  # a TLS alert
    ("it did not answer within", lambda: Stranger(_SILENT)),
    ("it did not answer within", lambda: Stranger(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.3)),
    (
        "it did not answer within",
        lambda: Stranger(_page("200 OK", b"", length=10**9), b".", 0.3),
    ),
    (
        "it does not speak HTTP (its answer has no end)",
        lambda: Stranger(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (1 << 20)),
    ),
)
"""What a run says of each, and how it behaves."""


def stranger(case: Case) -> None:
    says, make = case.random.choice(STRANGERS)
    other = case.stack.enter_context(make())
    case.start(url=other.url)
    case.checks.append(
        lambda: "" if says in " ".join(case.output.split()) else f"{says!r} was not said"
    )


_FAILED = (
    r"is invalid: .*requests failed",
    r"could not be measured: .*(requests failed|requests of the first .* failed)",
    r"could not be measured: .*no request succeeded",
)
_QUIET = (r"could not be measured: .*no response from .* for 60 s",)
_LATE = (*_FAILED, *_QUIET)


def _http(name: str, what: str, count: int, quick: int = 1) -> Kind:
    return Kind(f"HTTP: {name}", "wire", spoilt(what), count, quick, 60, (10,), _FAILED)


def _silent(name: str, what: str, count: int, *, grpc: bool = False) -> Kind:
    inject = spoilt(what, always=True, grpc=grpc)
    return Kind(name, "wire", inject, count, 1, 180, (10,), _LATE, waits=True)


def _grpc(name: str, what: str, count: int) -> Kind:
    inject = spoilt(what, grpc=True)
    return Kind(f"gRPC: {name}", "wire", inject, count, 1, 60, (10,), _FAILED)


KINDS = (
    _http("connection reset", "reset", 5),
    _http("closed without an answer", "close", 4),
    _http("half-closed in the body", "half_close", 5),
    _http("truncated body", "truncate", 4),
    _http("more than the Content-Length", "oversize", 4),
    _http("64 MB more", "flood", 3),
    _http("Content-Length too small", "length_small", 4),
    _http("Content-Length no number", "length_absurd", 3),
    _http("garbage", "garbage", 4),
    _http("a shorter body with status 200", "shorten", 4),
    _http("a web page with status 200", "page", 4),
    _http("429", "429", 4),
    _http("500", "500", 4),
    _http("503", "503", 4),
    _silent("HTTP: Content-Length too large", "length_large", 4),
    _silent("HTTP: a byte every 0.5 s", "drip", 4),
    _silent("HTTP: no answer", "stall", 4),
    Kind(
        "HTTP: every answer 0.3 s late", "wire", slowed, 4, 1, 90, (1,),
        (r"regressed",),
    ),
    _grpc("connection reset", "reset", 5),
    _grpc("closed", "close", 5),
    _grpc("truncated", "truncate", 5),
    _grpc("garbage", "garbage", 5),
    _silent("gRPC: no answer", "stall", 4, grpc=True),
    Kind(
        "no KServe server on the port", "wire", stranger, 18, 2, 60, (4,),
        (r"no Triton to attach to at 127.0.0.1:\d+: ",),
        kept=False,
    ),
)  # fmt: skip
