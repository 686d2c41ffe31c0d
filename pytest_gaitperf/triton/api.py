"""Triton's HTTP API, the few documented endpoints that are not the load's."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_gaitperf.errors import RefusedError, ServerError
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.model import ModelState, model_path, quoted
from pytest_gaitperf.triton.models import ModelStatistics, model_from, statistics_from
from pytest_gaitperf.way import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Generator
    from email.message import Message

    from pytest_gaitperf.model import ModelInfo


_LARGEST_ANSWER = 1 << 26
_PIECE_BYTES = 1 << 20
_INFER_TIMEOUT_S = 60.0
_NOT_REACHED = (502, 503, 504)
_HINTS = {
    401: "it wants credentials: give them with --triton-header",
    403: "it refuses this client: give what it asks for with --triton-header",
    404: "no Triton at this path",
    407: "a proxy wants credentials",
    **dict.fromkeys(_NOT_REACHED, "a proxy that does not reach its server"),
}
"""What a status says of whoever answered in Triton's place."""
_TLS = "a TLS server: give its address with https://"


@dataclass(frozen=True, slots=True)
class Listener:
    """What answers at an address: a KServe v2 server's id, or None and what it is instead.

    ``may_come``: as of a server that is being started.
    """

    server_id: str | None
    text: str = ""
    may_come: bool = False


class _Hurried(socket.socket):
    """A connection whose answer must be whole by a time, however slowly its bytes drip."""

    deadline = 0.0

    def recv_into(self, *arguments: Any) -> int:
        """Receive as a socket does; TimeoutError once the time is over."""
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left_s)
        return super().recv_into(*arguments)


class _HurriedTls(_Hurried, ssl.SSLSocket):
    """The same with TLS."""


class Api:
    """One server's HTTP endpoint; each call is a connection of its own, closed at once."""

    def __init__(self, host: str, port: int, way: Way = PLAIN, timeout_s: float = 10.0) -> None:
        self.host = host
        self.port = port
        self.way = way
        self.timeout_s = timeout_s
        self.url, self.authority = way.url(host, port), way.authority(host, port)

    def request(
        self, method: str, path: str, body: str = "", timeout_s: float | None = None
    ) -> tuple[int, bytes]:
        """Return status and body, of 64 MB at most, in time; or raise OSError, HTTPException."""
        content = body.encode()
        way = self.way
        lines = [f"{method} {way.prefix}{path} HTTP/1.1"]
        lines.append(f"Host: {self.authority}")
        lines += [f"{name}: {value}" for name, value in way.headers]
        head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        status, _, answer = self._exchange(head.encode("latin-1") + content, timeout_s)
        return status, answer

    def infer(self, request: bytes) -> tuple[int, int, bytes]:
        """Send an inference; return status, length of the answer's JSON, and its body."""
        status, fields_, content = self._exchange(request, _INFER_TIMEOUT_S)
        length = fields_.get("Inference-Header-Content-Length", "")
        return status, int(length) if length.isdecimal() else len(content), content

    def _exchange(self, request: bytes, timeout_s: float) -> tuple[int, Message, bytes]:
        plain = self.way.connect(self.host, self.port, timeout_s)
        with self._hurried(plain) as connection:
            connection.settimeout(timeout_s)
            connection.deadline = time.monotonic() + timeout_s
            connection.sendall(request)
            with closing(http.client.HTTPResponse(connection)) as answer:
                answer.begin()
                return answer.status, answer.headers, _body(answer)

    def _hurried(self, plain: socket.socket) -> _Hurried:
        if not self.way.tls:
            return _Hurried(fileno=plain.detach())
        context = self.way.context("http/1.1", _HurriedTls)
        with plain:  # which TLS takes over, unless it fails
            secured = context.wrap_socket(plain, server_hostname=self.host)
        assert isinstance(secured, _HurriedTls)
        return secured

    def json(self, method: str, path: str, body: str = "", timeout_s: float | None = None) -> Any:
        """Return the answer's JSON; ServerError where there is none, or the server's own error."""
        try:
            status, content = self.request(method, path, body, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise ServerError(
                f"Triton at {self.url} does not answer {path} ({reason}): is it still running?"
            ) from error
        try:
            answer = parse_json(content or b"null")  # a command done has nothing to say
        except ValueError as error:
            raise ServerError(
                f"{self.url}{path} answered {status} with something that is not JSON: "
                f"{content[:80]!r}; is this a Triton server?"
            ) from error
        if status != http.client.OK:
            reason = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise RefusedError(f"Triton at {self.url} refused {path} ({status}): {reason}")
        return answer

    def probe(self, timeout_s: float) -> Listener:
        """Find out what listens there."""
        try:
            status, content = self.request("GET", "/v2", timeout_s=timeout_s)
        except (OSError, http.client.HTTPException) as error:
            gone = isinstance(error, (ConnectionError, FileNotFoundError))
            return Listener(None, self._stranger(error, timeout_s), may_come=gone)
        try:
            answer = parse_json(content)
        except ValueError:
            answer = None
        if status == http.client.OK and isinstance(answer, dict) and "version" in answer:
            return Listener(str(answer.get("name", "")))
        if status == http.client.BAD_REQUEST and not self.way.tls and self._speaks_tls(timeout_s):
            return Listener(None, _TLS)
        line = f"{status} {http.client.responses.get(status, '')}".strip()
        hint = _HINTS.get(status, "no Triton")
        if self.way.tls and status == http.client.BAD_REQUEST and b"certificate" in content.lower():
            hint = "it wants to see a certificate: give one with --triton-ssl-cert"
        said = f" and {content[:60]!r}" if status == http.client.OK else ""
        return Listener(
            None,
            f"{hint}: its /v2 answers {line}{said}",
            may_come=status in _NOT_REACHED,
        )

    def _stranger(self, error: Exception, timeout_s: float) -> str:
        """Say what answers no HTTP."""
        if isinstance(error, TimeoutError):
            return f"it did not answer within {timeout_s:g} s"
        if isinstance(error, ConnectionRefusedError):
            return "nothing listens there (connection refused)"
        if isinstance(error, (http.client.BadStatusLine, ConnectionResetError)):
            if self._speaks_tls(timeout_s):
                return _TLS
            line = getattr(error, "line", "")
            if line.startswith("\0\0") and line[3:4] == "\4":  # the head of a frame of settings
                return "an HTTP/2 server, as at Triton's gRPC port: give its HTTP port"
        if isinstance(error, OSError):
            secure = _tls_trouble(error) if isinstance(error, ssl.SSLError) else ""
            return secure or f"it cannot be reached ({error.strerror or error})"
        return f"it does not speak HTTP ({str(error) or type(error).__name__})"

    def _speaks_tls(self, timeout_s: float) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                self.way.connect(self.host, self.port, timeout_s) as plain,
                context.wrap_socket(plain),
            ):
                return True
        except OSError as error:
            return "ALERT" in (getattr(error, "reason", "") or "")  # it refuses, but in TLS

    def ready(self) -> bool:
        """Whether the server says it is ready; False where nothing answers yet."""
        try:
            return self.request("GET", "/v2/health/ready", timeout_s=2.0)[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def metadata(self) -> tuple[str, str]:
        """Return the server's id and version."""
        answer = self.json("GET", "/v2")
        with self._understood("/v2", answer):
            return str(answer.get("name", "")), str(answer["version"])

    def index(self) -> list[ModelState]:
        """Return the repository index, one entry for each version that the server tried to load."""
        path = "/v2/repository/index"
        answer = self.json("POST", path, "{}")
        with self._understood(path, answer):
            return [
                ModelState(
                    name=str(entry["name"]),
                    version=str(entry.get("version", "")),
                    # A server that reports no states lists the versions that are ready.
                    state=str(entry.get("state", "READY" if "version" in entry else "")),
                    reason=" ".join(str(entry.get("reason", "")).split()),
                )
                for entry in answer
                if entry["name"]
            ]

    def model(self, name: str, version: str) -> ModelInfo:
        """Return a model's metadata, from its configuration and its list of versions."""
        path = model_path(name, version)
        metadata = self.json("GET", path)
        config = self.json("GET", f"{path}/config")
        with self._understood(f"{path}/config", config):
            return model_from(config, [str(each) for each in metadata.get("versions", ())])

    def statistics(self, name: str, version: str) -> ModelStatistics:
        """Return a model's counters; with version "", those of its highest version."""
        path = f"{model_path(name, version)}/stats"
        answer = self.json("GET", path)
        with self._understood(path, answer):
            entries = [
                entry
                for entry in answer["model_stats"]
                if not version or str(entry.get("version", version)) == version
            ]
            return statistics_from(max(entries, key=lambda entry: int(entry.get("version", 0))))

    def controls_models(self) -> bool:
        """Whether models can be loaded and unloaded: it runs in the mode explicit."""
        try:  # there, unloading what does not exist is no error
            path = _control_path("gaitperf--no-such-model", "unload")
            return self.request("POST", path, "{}")[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def unload(self, name: str, *, dependents: bool = True, timeout_s: float | None = None) -> None:
        """Begin to unload a model, with what an ensemble is made of; ServerError where refused."""
        body = json.dumps({"parameters": {"unload_dependents": dependents}})
        self.json("POST", _control_path(name, "unload"), body, timeout_s)

    def load(self, name: str, timeout_s: float) -> None:
        """Load a model; ServerError where that fails or takes longer."""
        try:
            self.json("POST", _control_path(name, "load"), "{}", timeout_s)
        except ServerError as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
            raise ServerError(
                f"Triton at {self.url} did not load {name!r} within {timeout_s:g} s: give more "
                "time with --triton-timeout"
            ) from error

    def register_region(self, name: str, key: str, size: int) -> None:
        """Let the server map ``size`` bytes of the POSIX shared memory object ``key``."""
        body = json.dumps({"key": key, "offset": 0, "byte_size": size})
        self.json("POST", f"/v2/systemsharedmemory/region/{quote(name, safe='')}/register", body)

    def unregister_region(self, name: str) -> None:
        """Let the server unmap a region; ServerError while one of its requests uses it."""
        self.json("POST", f"/v2/systemsharedmemory/region/{quote(name, safe='')}/unregister")

    def regions(self) -> list[str]:
        """Return the names of the registered regions of system shared memory."""
        path = "/v2/systemsharedmemory/status"
        answer = self.json("GET", path)
        with self._understood(path, answer):
            return [str(entry["name"]) for entry in answer]

    @contextmanager
    def _understood(self, path: str, answer: object) -> Generator[None]:
        """Read an answer; ServerError where it has not the form that it should have."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ServerError(
                f"{self.url}{path} answered with JSON of an unknown form: "
                f"{json.dumps(answer)[:120]}; is this a Triton server of version 2.41 or newer?"
            ) from error


def _tls_trouble(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}): name the authority with "
            "--triton-ssl-ca, or do without with --triton-ssl-no-verify"
        )
    if reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING"):
        return f"it speaks no TLS ({reason}): give its address with http://"
    return f"it refuses TLS ({reason}): does it want --triton-ssl-cert?"


def _control_path(name: str, what: str) -> str:
    return f"/v2/repository/models/{quoted(name)}/{what}"


def _body(answer: http.client.HTTPResponse) -> bytes:
    """Return the body, read in pieces: its Content-Length may promise more than memory holds."""
    content = bytearray()
    while piece := answer.read(_PIECE_BYTES):
        content += piece
        if len(content) > _LARGEST_ANSWER:
            raise http.client.HTTPException("its answer has no end")
    if answer.length:
        raise http.client.IncompleteRead(bytes(content), answer.length)
    return bytes(content)
