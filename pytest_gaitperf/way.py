"""The way to a server: TLS, headers, and a path in front of its own."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote, urlsplit

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

DEFAULT_URL = "127.0.0.1:8000"
FORWARDERS = ("docker-proxy", "rootlesskit", "rootlessport", "slirp4netns", "pasta")
"""The names of processes that listen in place of a container's server, and hand requests to it."""
_DEFAULT_PORT = 8000
_TLS_PORT = 443
_LAST_PORT = 65_535
_ADVICE = "give --triton-url as host:port, e.g. 127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Way:
    """How a server is reached beside its host and port.

    ``prefix`` is the path in front of Triton's own over HTTP, ``unix`` the path of a socket in
    place of host and port. With ``tls`` the server is verified by the certificates in ``ca`` (None:
    the system's) unless ``verify`` is False, and shown ``certificate`` with its ``key``.
    ``headers`` go with every request; they may be secrets, and no text shows them.
    """

    tls: bool = False
    prefix: str = ""
    unix: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verify: bool = True
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """Connect, without TLS; raises OSError."""
        if not self.unix:
            return socket.create_connection((host, port), timeout_s)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout_s)
            connection.connect(self.unix)
        except BaseException:
            connection.close()
            raise
        return connection

    def context(
        self, protocol: str, sockets: type[ssl.SSLSocket] = ssl.SSLSocket
    ) -> ssl.SSLContext:
        """Return what TLS is spoken by, for a protocol in ALPN's words, and makes its ``sockets``.

        Raises ConfigurationError for a file of certificates that cannot be used.
        """
        return _context(replace(self, headers=()), protocol, cast("Hashable", sockets))

    def authority(self, host: str, port: int) -> str:
        """Return what the server is called in requests."""
        name = host if host.isascii() else host.encode("idna").decode("ascii")
        return "localhost" if self.unix else address(name, port)

    def url(self, host: str, port: int) -> str:
        """Return what the server is called in texts: ``host:port`` where that says all."""
        if self.unix:
            return f"unix:{self.unix}"
        scheme = "https://" if self.tls else "http://" if self.prefix else ""
        return f"{scheme}{address(host, port)}{self.prefix}"


PLAIN = Way()


@lru_cache(maxsize=8)
def _context(way: Way, protocol: str, sockets: Hashable) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = cast("type[ssl.SSLSocket]", sockets)
    context.set_alpn_protocols([protocol])
    if not way.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    files, flags = [way.ca], "--triton-ssl-ca"
    try:
        if way.ca is not None:
            context.load_verify_locations(way.ca)
        if way.certificate is not None:
            files, flags = [way.certificate, way.key], "--triton-ssl-cert and --triton-ssl-key"
            # A key that is locked is not asked for at the terminal.
            context.load_cert_chain(way.certificate, way.key, password=lambda: "")
    except (OSError, ValueError) as error:
        names = " and ".join(str(file) for file in files if file is not None)
        raise ConfigurationError(
            f"{names} cannot be used for TLS ({error}): give PEM files with {flags}"
        ) from error
    return context


def parse_url(url: str | None, way: Way = PLAIN) -> tuple[str, int, Way]:
    """Read ``host:port``, ``https://host:port/prefix`` or ``unix:/path``, by default Triton's own.

    Returns host, port and the ``way`` with what the URL says of it. Raises ConfigurationError.
    """
    url = DEFAULT_URL if url is None else url
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path.startswith("/") or "\0" in path:
            raise ConfigurationError(f"URL {url!r} names no socket: give it as unix:/path/to.sock")
        return "localhost", 0, replace(way, unix=path)
    if "@" in url:  # first of all: the other errors quote the URL
        raise ConfigurationError(
            "the URL has a user or a password in it: give them as a header, in the environment "
            "variable GAITPERF_TRITON_HEADER; write an @ of a path as %40"
        )
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
        (parts.hostname or "").encode("idna")  # as the look-up of the name does
        prefix = quote(unquote(parts.path.rstrip("/"), errors="strict"), safe="/-._~!$&'()*+,;=:")
    except ValueError as error:
        raise ConfigurationError(f"URL {url!r}: {error}; {_ADVICE}") from error
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"URL {url!r}: only HTTP and HTTPS are spoken; {_ADVICE}")
    if not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"URL {url!r} is no host and port; {_ADVICE}")
    tls = parts.scheme == "https"
    if port is None:
        port = _TLS_PORT if tls else _DEFAULT_PORT
    return parts.hostname, port, replace(way, tls=tls, prefix=prefix)


def grpc_port(told: int | None, http_port: int, way: Way) -> int:
    """Return the port of a server's gRPC endpoint: as told, or by its HTTP port.

    What takes both behind TLS or a socket commonly does so at one place.
    """
    if told is not None or way.unix:
        return told or 0
    return http_port if way.tls else min(http_port + 1, _LAST_PORT)


def address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
