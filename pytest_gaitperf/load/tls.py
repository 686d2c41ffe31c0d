"""A load's connections with TLS, which take and give bytes as plain ones do."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_gaitperf.way import Way

_RECORD_BYTES = 16_384
"""What TLS sends at once."""
_NOT_NOW = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class TlsSocket:
    """A connection with TLS that never waits: ``BlockingIOError`` is raised for not now.

    What was refused once must be sent again with nothing less behind it: OpenSSL has it already.
    """

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self.fileno, self.close = connection.fileno, connection.close
        self.setsockopt = connection.setsockopt
        connection.settimeout(0)

    def send(self, data: bytes | bytearray | memoryview, _flags: int) -> int:
        """Send what there is room for; return how much that was."""
        try:
            return self._connection.send(data)
        except _NOT_NOW:
            raise BlockingIOError from None

    def sendmsg(
        self, buffers: Iterable[bytes | bytearray | memoryview], _: tuple[()], flags: int
    ) -> int:
        """Send the beginning of the buffers as one."""
        return self.send(b"".join(memoryview(each)[:_RECORD_BYTES] for each in buffers), flags)

    def recv_into(self, buffer: bytearray) -> int:
        """Receive a record, which is shorter than any buffer here, so that none is kept back."""
        try:
            return self._connection.recv_into(buffer)
        except _NOT_NOW:
            raise BlockingIOError from None


def secured(way: Way, host: str, port: int, timeout_s: float, *, grpc: bool) -> TlsSocket:
    """Connect and agree on TLS, for at most so long each; raises OSError.

    Raises MeasurementError for a server that speaks no HTTP/2 where gRPC needs it.
    """
    context = way.context("h2" if grpc else "http/1.1")
    with way.connect(host, port, timeout_s) as plain:  # which TLS takes over, unless it fails
        connection = context.wrap_socket(plain, server_hostname=host)
    if grpc and connection.selected_alpn_protocol() != "h2":
        connection.close()
        raise MeasurementError(
            f"{way.url(host, port)} does not offer HTTP/2, which gRPC needs: switch it on there, "
            "or give the gRPC port with --triton-grpc-port"
        )
    return TlsSocket(connection)
