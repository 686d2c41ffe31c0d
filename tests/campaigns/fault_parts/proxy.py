"""A proxy on loopback between a client and Triton that spoils answers once it is told to.

Run as ``proxy.py PLAN``, with PLAN as JSON: ``http`` and ``grpc`` (the ports of the real server),
``what`` (a key of ``FAULTS``), ``times`` (spoil so many answers, 0: no limit) and ``every`` (spoil
each so-manieth). It prints its two ports, spoils nothing before the line ``go`` on stdin, and ends
with stdin. Over HTTP/1.1 only answers to inferences are spoilt; over gRPC whatever bytes come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Self

    Relay = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    Spoil = Callable[["Answer"], Awaitable[bool]]

_FOREVER_S = 3600.0
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said, head and body (gRPC: only a body), and where it is to go."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter

    def send(self, *parts: bytes) -> None:
        """Send bytes to the client."""
        self.writer.write(b"".join(parts))

    def resized(self, length: int) -> bytes:
        """Return the head with another Content-Length."""
        lines = self.head.split(b"\r\n")
        return b"\r\n".join(
            b"Content-Length: %d" % length if line.lower().startswith(b"content-length:") else line
            for line in lines
        )


# Each gives the client something else than the answer; it returns whether the connection lives on.


async def reset(answer: Answer) -> bool:
    """End with a reset."""
    connection: socket.socket = answer.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer.writer.transport.abort()
    return False


async def truncate(answer: Answer) -> bool:
    """Send half of the body, then close."""
    answer.send(answer.head, answer.body[: len(answer.body) // 2])
    return False


async def half_close(answer: Answer) -> bool:
    """Send half of the body, say that no more comes, and go on listening."""
    answer.send(answer.head, answer.body[: len(answer.body) // 2])
    answer.writer.write_eof()
    await asyncio.sleep(_FOREVER_S)
    return False


async def close(_answer: Answer) -> bool:
    """Close without a word."""
    return False


async def oversize(answer: Answer) -> bool:
    """Send more than the Content-Length says."""
    answer.send(answer.head, answer.body, b"x" * 4096)
    return True


async def flood(answer: Answer) -> bool:
    """Send 64 MB that go on where the answer ended."""
    for _ in range(1024):
        answer.send(answer.head, answer.body, b"x" * _CHUNK)
        await answer.writer.drain()
    return False


async def length_small(answer: Answer) -> bool:
    """Name a Content-Length that is too small."""
    answer.send(answer.resized(len(answer.body) - 8), answer.body)
    return True


async def length_large(answer: Answer) -> bool:
    """Name a Content-Length that is too large, and wait."""
    answer.send(answer.resized(len(answer.body) + 8), answer.body)
    return True


async def length_absurd(answer: Answer) -> bool:
    """Name a Content-Length that is no number."""
    answer.send(answer.head.replace(b"\r\nContent-Length: ", b"\r\nContent-Length: -"), answer.body)
    return True


async def shorten(answer: Answer) -> bool:
    """Send less of a body than the model gave, with the Content-Length of that."""
    body = answer.body[: len(answer.body) // 2]
    answer.send(answer.resized(len(body)), body)
    return True


async def page(answer: Answer) -> bool:
    """Send a page, with status 200, as a router's log-in does."""
    answer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n")
    answer.send(b"<html></html>")
    return True


async def drip(answer: Answer) -> bool:
    """Send a byte every half second."""
    for byte in answer.head + answer.body:
        answer.send(bytes([byte]))
        await asyncio.sleep(0.5)
    return True


async def slow(answer: Answer) -> bool:
    """Take 0.3 s longer, in pieces."""
    whole = answer.head + answer.body
    for start in range(0, len(whole), len(whole) // 5):
        await asyncio.sleep(0.05)
        answer.send(whole[start : start + len(whole) // 5])
    return True


async def stall(_answer: Answer) -> bool:
    """Never answer."""
    await asyncio.sleep(_FOREVER_S)
    return False


async def garbage(answer: Answer) -> bool:
    """Send what is no protocol at all."""
    answer.send(bytes(range(256)) * 16)
    return False


def status(number: int, reason: str) -> Spoil:
    """Return a spoiler that answers with an HTTP status of its own."""

    async def refuse(answer: Answer) -> bool:
        body = json.dumps({"error": f"{reason} (as the proxy was told)"}).encode()
        answer.send(b"HTTP/1.1 %d %s\r\n" % (number, reason.encode()))
        answer.send(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        answer.send(body)
        return True

    return refuse


FAULTS: dict[str, Spoil] = {
    **{one.__name__: one for one in (reset, truncate, half_close, close, oversize, flood)},
    **{one.__name__: one for one in (length_small, length_large, length_absurd, shorten, page)},
    **{one.__name__: one for one in (drip, slow, stall, garbage)},
    "429": status(429, "Too Many Requests"),
    "500": status(500, "Internal Server Error"),
    "503": status(503, "Service Unavailable"),
}


class Proxy:
    """The two relays, and the count of what was spoilt."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.spoil = FAULTS[plan["what"]]
        self.armed = False
        self.seen = 0
        self.spoilt = 0

    def chosen(self) -> bool:
        """Whether the next answer is to be spoilt."""
        if not self.armed or (self.plan["times"] and self.spoilt >= self.plan["times"]):
            return False
        self.seen += 1
        if self.seen % self.plan["every"]:
            return False
        self.spoilt += 1
        return True

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection, request by request."""
        upstream, server = await asyncio.open_connection("127.0.0.1", self.plan["http"])
        try:
            alive = True
            while alive:
                request = await message(reader)
                server.write(b"".join(request))
                answer = Answer(*await message(upstream), writer)
                if b"/infer " in request[0].partition(b"\r\n")[0] and self.chosen():
                    alive = await self.spoil(answer)
                else:
                    answer.send(answer.head, answer.body)
                await writer.drain()
        finally:
            server.close()

    async def grpc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection, byte by byte."""
        upstream, server = await asyncio.open_connection("127.0.0.1", self.plan["grpc"])

        async def forward() -> None:
            while data := await reader.read(_CHUNK):
                server.write(data)
                await server.drain()

        async def back() -> None:
            alive = True
            while alive and (data := await upstream.read(_CHUNK)):
                answer = Answer(b"", data, writer)
                if self.chosen():
                    alive = await self.spoil(answer)
                else:
                    answer.send(data)
                await writer.drain()

        both = [asyncio.ensure_future(forward()), asyncio.ensure_future(back())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            server.close()


async def message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read the head and the body of a request or an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line, 16)
            body += line + await reader.readexactly(size + 2)
            if not size:
                return head, body
    _, found, rest = lower.partition(b"\r\ncontent-length: ")
    return head, await reader.readexactly(int(rest.partition(b"\r\n")[0]) if found else 0)


def quietly(relay: Relay) -> Relay:
    """Let either side of a connection go at any time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            await relay(reader, writer)
        with contextlib.suppress(OSError):
            writer.close()

    return serve


class ProxyProcess:
    """The proxy in a process of its own."""

    def __init__(self, plan: dict[str, object]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.http, self.grpc = map(int, self._process.stdout.readline().split())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()

    @property
    def options(self) -> tuple[str, ...]:
        """What makes pytest go through the proxy."""
        return (
            *("--triton=attach", f"--triton-url=127.0.0.1:{self.http}"),
            f"--triton-grpc-port={self.grpc}",
        )

    def go(self) -> None:
        """Let it spoil what comes from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()


async def main() -> None:
    proxy = Proxy(json.loads(sys.argv[1]))
    relays = [
        await asyncio.start_server(quietly(relay), "127.0.0.1", 0, limit=1 << 20)
        for relay in (proxy.http, proxy.grpc)
    ]
    print(*(relay.sockets[0].getsockname()[1] for relay in relays), flush=True)
    ended = asyncio.Event()

    def told() -> None:
        proxy.armed = True
        if not sys.stdin.readline():
            ended.set()

    asyncio.get_running_loop().add_reader(sys.stdin, told)
    await ended.wait()
    print(proxy.spoilt, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
