"""A fake HTTP server on loopback: it misbehaves as no Triton would do on demand."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    Behaviour = Callable[["Peer"], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.connection = connection
        self.number = number
        self._data = b""

    def head(self) -> bytes:
        """Wait for a request's head; EOFError when the client closed."""
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head

    def request(self) -> bytes:
        """Wait for a whole request and return its body."""
        head = self.head().lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(self._data) < length:
            self._more()
        body, self._data = self._data[:length], self._data[length:]
        return body

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def reset(self) -> None:
        """Close with a reset instead of an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _more(self) -> None:
        data = self.connection.recv(1 << 16)
        if not data:
            raise EOFError
        self._data += data


class FakeServer:
    """Runs ``behave`` for every connection, in a thread each; closes the connection afterwards.

    ``connections`` counts them all, ``open`` those that the client has not given up.
    """

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.open = 0
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and break every connection; idempotent."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def wait_until_all_closed(self, timeout_s: float = 5.0) -> bool:
        """Wait until no client connection is left; return whether that happened."""
        deadline = time.monotonic() + timeout_s
        while self.open and time.monotonic() < deadline:
            time.sleep(0.005)
        return not self.open

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(connection, self.connections)
            self.connections += 1
            with self._lock:
                self.open += 1
            self._peers.append(peer)
            self._threads.append(threading.Thread(target=self._serve, args=(peer,)))
            self._threads[-1].start()

    def _serve(self, peer: Peer) -> None:
        # The client may go at any time: that ends this connection, nothing else.
        with contextlib.suppress(OSError, EOFError, threading.BrokenBarrierError):
            self._behave(peer)
        peer.connection.close()
        with self._lock:
            self.open -= 1


def good(peer: Peer) -> None:
    """Answer every request."""
    while True:
        peer.request()
        peer.send(OK)


def one_answer(peer: Peer) -> None:
    """Answer one request, and say that no more will be."""
    peer.request()
    peer.send(CLOSING)


def silent(peer: Peer) -> None:
    """Answer none."""
    while True:
        peer.request()
