"""Triton's HTTP API, the few documented endpoints that are not inference."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pytest_gaitperf.errors import ConfigurationError, ServerError
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.triton import models, statistics

DEFAULT_PORT = 8000
_LARGEST_ANSWER = 1 << 26
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found at an address: a KServe v2 server, something else, or nothing."""

    found: Literal["server", "other", "nothing"]
    detail: str = ""


def parse_url(url: str) -> tuple[str, int]:
    """Split ``host:port`` or ``http://host:port`` into both; the port defaults to 8000."""
    advice = "give --triton-url as host:port, e.g. 127.0.0.1:8000"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"URL {url!r}: {error}; {advice}") from error
    if parts.scheme != "http":
        raise ConfigurationError(f"URL {url!r}: only plain HTTP is spoken; {advice}")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise ConfigurationError(f"URL {url!r} is no host and port; {advice}")
    try:
        parts.hostname.encode("idna")  # as the look-up of the name does
    except UnicodeError as error:
        raise ConfigurationError(f"URL {url!r}: not a host's name ({error}); {advice}") from error
    return parts.hostname, DEFAULT_PORT if port is None else port


def address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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


def read_body(answer: http.client.HTTPResponse) -> bytes:
    """Return the body, read in pieces: its Content-Length may promise more than memory holds.

    Raises IncompleteRead where the connection ends before that, HTTPException where the body has
    no end.
    """
    content = bytearray()
    while piece := answer.read(_PIECE_BYTES):
        content += piece
        if len(content) > _LARGEST_ANSWER:
            raise http.client.HTTPException("its answer has no end")
    if answer.length:
        raise http.client.IncompleteRead(bytes(content), answer.length)
    return bytes(content)


class Api:
    """One server's HTTP endpoint; each call is a connection of its own, closed at once."""

    def __init__(self, host: str, port: int, timeout_s: float = 10.0) -> None:
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self.url = address(host, port)

    def request(
        self, method: str, path: str, body: str | None = None, timeout_s: float | None = None
    ) -> tuple[int, bytes]:
        """Return status and body; OSError or HTTPException where there is no HTTP answer.

        The answer must be whole in time, and have 64 MB at most.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        connection = http.client.HTTPConnection(self.host, self.port)
        plain = socket.create_connection((self.host, self.port), timeout_s)
        connection.sock = hurried = _Hurried(fileno=plain.detach())
        hurried.settimeout(timeout_s)
        hurried.deadline = time.monotonic() + timeout_s
        try:
            connection.request(method, path, body=body)
            with closing(connection.getresponse()) as answer:
                return answer.status, read_body(answer)
        finally:
            connection.close()

    def json(self, method: str, path: str, body: str | None = None) -> Any:
        """Return the answer's JSON; ServerError where there is none, or the server's own error."""
        try:
            status, content = self.request(method, path, body)
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
            raise ServerError(f"Triton at {self.url} refused {path} ({status}): {reason}")
        return answer

    def probe(self, timeout_s: float) -> Probe:
        """Find out what listens there."""
        try:
            status, content = self.request("GET", "/v2", timeout_s=timeout_s)
        except TimeoutError:
            return Probe("other", f"it did not answer within {timeout_s:g} s")
        except OSError as error:
            return Probe("nothing", error.strerror or str(error))
        except http.client.HTTPException as error:
            return Probe("other", f"it does not speak HTTP: {str(error) or type(error).__name__}")
        try:
            answer = parse_json(content)
        except ValueError:
            answer = None
        if status == http.client.OK and isinstance(answer, dict) and "version" in answer:
            return Probe("server", str(answer.get("name", "")))
        return Probe("other", f"it answered GET /v2 with status {status} and {content[:60]!r}")

    def ready(self) -> bool:
        """Whether the server says it is ready; False where nothing answers yet."""
        try:
            return self.request("GET", "/v2/health/ready", timeout_s=2.0)[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def metadata(self) -> tuple[str, str]:
        """Return the server's id and version."""
        answer = self.json("GET", "/v2")
        try:
            return str(answer.get("name", "")), str(answer["version"])
        except (AttributeError, KeyError) as error:
            raise self._malformed("/v2", answer) from error

    def index(self) -> list[dict[str, str]]:
        """Return the repository index: name and, where known, version, state and reason."""
        path = "/v2/repository/index"
        answer = self.json("POST", path, "{}")
        try:
            return [
                {key: str(value) for key, value in entry.items()}
                for entry in answer
                if entry["name"]
            ]
        except (AttributeError, KeyError, TypeError) as error:
            raise self._malformed(path, answer) from error

    def model(self, name: str, version: str) -> models.ModelInfo:
        """Return a model's metadata, from its configuration and its list of versions."""
        path = _model_path(name, version)
        metadata = self.json("GET", path)
        config = self.json("GET", f"{path}/config")
        try:
            return models.from_config(config, [str(each) for each in metadata.get("versions", ())])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._malformed(f"{path}/config", config) from error

    def statistics(self, name: str, version: str) -> statistics.ModelStatistics:
        """Return a model's counters; with version "", those of its highest version."""
        path = f"{_model_path(name, version)}/stats"
        answer = self.json("GET", path)
        try:
            entries = [
                entry
                for entry in answer["model_stats"]
                if not version or str(entry.get("version", version)) == version
            ]
            entry = max(entries, key=lambda entry: int(entry.get("version", 0)))
            return statistics.from_answer(entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._malformed(path, answer) from error

    def register_region(self, name: str, key: str, size: int) -> None:
        """Let the server map ``size`` bytes of the POSIX shared memory object ``key``.

        Raises ServerError when it refuses.
        """
        body = json.dumps({"key": key, "offset": 0, "byte_size": size})
        self.json("POST", f"/v2/systemsharedmemory/region/{quote(name, safe='')}/register", body)

    def unregister_region(self, name: str) -> None:
        """Let the server unmap a region; ServerError while one of its requests uses it."""
        self.json("POST", f"/v2/systemsharedmemory/region/{quote(name, safe='')}/unregister")

    def regions(self) -> list[str]:
        """Return the names of the registered regions of system shared memory."""
        path = "/v2/systemsharedmemory/status"
        answer = self.json("GET", path)
        try:
            return [str(entry["name"]) for entry in answer]
        except (KeyError, TypeError) as error:
            raise self._malformed(path, answer) from error

    def _malformed(self, path: str, answer: object) -> ServerError:
        return ServerError(
            f"{self.url}{path} answered with JSON of an unknown form: {json.dumps(answer)[:120]}; "
            "is this a Triton server of version 2.41 or newer?"
        )


def _model_path(name: str, version: str) -> str:
    path = f"/v2/models/{quote(name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path
