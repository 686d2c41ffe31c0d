"""What a running server says of itself, over a real one."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, ServerError
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.models import repository_models
from pytest_gaitperf.triton.server import TritonServer, open_server
from tests.load.fake_server import FakeServer, Peer
from tests.triton.infer import answers, infer, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.triton.launch import Mode

GOOD = ("busy", "dynamic", "flaky", "identity", "raising", "text", "two", "unbatched", "versioned")


def test_a_started_server_says_who_and_where_it_is(server: TritonServer) -> None:
    assert server.mode == "local"
    assert server.url == f"127.0.0.1:{server.http_port}"
    assert re.fullmatch(r"\d+\.\d+\.\d+", server.version)
    assert answers(server.url, 2.0)
    assert answers(f"http://{server.url}", 2.0)
    socket.create_connection(("127.0.0.1", server.grpc_port), timeout=2).close()
    server.check_alive()
    assert "HTTPService" in server.log_tail()


def test_models_that_load_serve_and_the_others_are_explained(
    server: TritonServer, served: Path
) -> None:
    assert server.models() == GOOD
    assert set(server.failed_models) == {"raises", "broken", "empty"}
    assert "RuntimeError: no weights here" in server.failed_models["raises"]
    assert f"{served / 'broken' / 'config.pbtxt'}:3:" in server.failed_models["broken"]
    assert "config.pbtxt is missing" in server.failed_models["empty"]


@pytest.mark.parametrize("name", GOOD)
def test_the_config_file_says_the_same_as_the_server(
    server: TritonServer, served: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).symlink_to(served / name)
    from_file = repository_models(tmp_path)[name]
    assert from_file is not None
    assert from_file == server.model(name)
    assert from_file.signature == server.model(name).signature


def test_notes_warn_of_a_numpy_that_the_stub_cannot_read(server: TritonServer) -> None:
    numpy = version("numpy")
    told = any(f"NumPy {numpy}" in note and "from_dlpack" in note for note in server.notes)
    assert told == (int(numpy.partition(".")[0]) >= 2)


def _tensor(name: str, datatype: str, shape: list[int], data: list[object]) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


@pytest.mark.parametrize(
    ("model", "inputs", "shape", "data"),
    [
        ("text", [_tensor("INPUT0", "BYTES", [1, 1], ["gait"])], [1, 1], ["gait"]),
        ("two", [_tensor("B", "FP32", [2, 3, 2], [1.0] * 12)], [2, 4], [0.0] * 8),
        ("unbatched", [_tensor("INPUT0", "FP32", [16], [2.0] * 16)], [16], [2.0] * 16),
        (
            "dynamic",
            [_tensor("INPUT0", "FP32", [1, 3, 2], [float(i) for i in range(6)])],
            [1, 3, 2],
            [float(i) for i in range(6)],
        ),
    ],
)
def test_each_kind_of_model_infers(
    server: TritonServer,
    model: str,
    inputs: list[dict[str, object]],
    shape: list[int],
    data: list[object],
) -> None:
    if model == "text" and server.notes:
        pytest.skip("BYTES cannot pass this stub with NumPy 2")
    status, answer = infer(server.url, model, inputs=inputs)
    assert status == 200, answer
    assert (answer["outputs"][0]["shape"], answer["outputs"][0]["data"]) == (shape, data)


def test_metadata_of_two_inputs(server: TritonServer) -> None:
    assert server.model("two") == ModelInfo(
        name="two",
        versions=("1",),
        max_batch_size=8,
        inputs=(
            TensorSpec("B", "FP32", (3, 2), optional=False),
            TensorSpec("A", "INT64", (2,), optional=True),
        ),
        outputs=(TensorSpec("SUM", "FP32", (4,), optional=False),),
        backend="python",
        decoupled=False,
    )


def test_metadata_of_bytes_dynamic_and_unbatched_models(server: TritonServer) -> None:
    assert server.model("text").inputs[0].datatype == "BYTES"
    assert server.model("dynamic").inputs[0].shape == (-1, 2)
    assert server.model("dynamic").batched
    unbatched = server.model("unbatched")
    assert (unbatched.max_batch_size, unbatched.batched) == (0, False)
    assert unbatched.inputs[0].shape == (16,)


def test_versions_are_sorted_as_numbers_and_asked_for_one_by_one(server: TritonServer) -> None:
    assert server.model("versioned").versions == ("2", "10")
    before = {version: server.statistics("versioned", version) for version in ("", "2", "10")}
    assert infer(server.url, "versioned", version="2")[0] == 200
    counted = {
        version: server.statistics("versioned", version).minus(earlier).inference_count
        for version, earlier in before.items()
    }
    assert counted == {"": 0, "2": 1, "10": 0}


def test_an_unknown_model_or_version_lists_what_there_is(server: TritonServer) -> None:
    for ask in (server.model, server.statistics):
        with pytest.raises(ConfigurationError, match=r"'nope' is not on this server.*identity"):
            ask("nope")
        with pytest.raises(ConfigurationError, match=r"no version '3'.*serves 2, 10"):
            ask("versioned", "3")
        with pytest.raises(ConfigurationError, match=r"'raises' could not be loaded: .*no weights"):
            ask("raises")


def test_statistics_count_samples_requests_and_time(server: TritonServer) -> None:
    before = server.statistics("identity")
    for _ in range(3):
        assert infer(server.url, "identity", batch=2)[0] == 200
    counted = server.statistics("identity").minus(before)
    assert (counted.inference_count, counted.success_count, counted.fail_count) == (6, 3, 0)
    assert counted.execution_count == 3
    parts = (
        counted.queue_ns,
        counted.compute_input_ns,
        counted.compute_infer_ns,
        counted.compute_output_ns,
    )
    assert all(part > 0 for part in parts)
    assert sum(parts) <= counted.success_ns


def test_statistics_count_failures(server: TritonServer) -> None:
    before = server.statistics("raising")
    statuses = [infer(server.url, "raising")[0] for _ in range(4)]
    counted = server.statistics("raising").minus(before)
    assert statuses == [200, 500, 200, 500]
    assert (counted.success_count, counted.fail_count) == (2, 2)


def test_an_error_that_a_python_model_answers_counts_as_success(server: TritonServer) -> None:
    # Triton's own doing (2.51): whoever counts failures must count the answers, not this.
    before = server.statistics("flaky")
    statuses = [infer(server.url, "flaky")[0] for _ in range(4)]
    counted = server.statistics("flaky").minus(before)
    assert statuses == [200, 500, 200, 500]
    assert (counted.success_count, counted.fail_count) == (4, 0)


def test_cpu_seconds_include_the_stub_that_does_the_work(server: TritonServer) -> None:
    before = server.cpu_seconds()
    for _ in range(3):
        assert infer(server.url, "busy")[0] == 200
    after = server.cpu_seconds()
    assert before is not None
    assert after is not None
    # The model burns wall time: on a shared core it gets less CPU than that.
    assert after - before > 0.1
    assert server.cpu_absent_reason is None


@pytest.mark.parametrize("mode", ["attach", "auto"])
def test_attach_shares_the_server_and_leaves_it_running(server: TritonServer, mode: str) -> None:
    assert mode in ("attach", "auto")
    options = ServerOptions(
        mode="attach" if mode == "attach" else "auto", url=f"http://{server.url}"
    )
    attached = open_server(options)
    assert (attached.mode, attached.url) == ("attach", server.url)
    assert attached.version == server.version
    assert attached.models() == server.models()
    assert "raises" in attached.failed_models
    assert attached.process is None
    assert attached.grpc_port == server.http_port + 1, "nothing else was said"
    assert server.process is not None
    assert attached.server_pid == server.process.pid
    seconds = attached.cpu_seconds()
    assert seconds is not None
    assert seconds > 0
    assert "not started by this run" in attached.log_tail()
    attached.close()
    attached.close()
    assert attached.cpu_seconds() is None
    assert attached.cpu_absent_reason == "the server was closed"
    server.check_alive()


def test_attach_for_a_model_that_failed_says_why(server: TritonServer) -> None:
    options = ServerOptions(mode="attach", url=server.url, models=("raises",))
    with pytest.raises(ServerError, match=r"could not load raises: .*no weights here"):
        open_server(options)
    server.check_alive()


def test_a_model_that_failed_spoils_only_itself(server: TritonServer) -> None:
    options = ServerOptions(mode="attach", url=server.url, models=("identity", "raises"))
    with open_server(options) as attached:
        assert attached.model("identity").name == "identity"
        assert set(attached.failed_models) == {"raises"}
        with pytest.raises(ConfigurationError, match=r"'raises' could not be loaded: .*no weights"):
            attached.model("raises")


def test_the_tree_of_the_server_has_one_stub_for_each_model(server: TritonServer) -> None:
    assert server.process is not None
    assert len(tree(server.process.pid)) == 1 + len(GOOD) + 1  # versioned has two


def test_attach_to_nothing_says_what_to_do() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, so nobody else takes it; nobody listens
        url = f"127.0.0.1:{unheard.getsockname()[1]}"
        assert not answers(url, 1.0)
        with pytest.raises(ServerError, match=rf"{url}: nothing listens .*refused.*--triton-url"):
            open_server(ServerOptions(mode="attach", url=url))
        # A URL that was given is never answered by a start of another server.
        with pytest.raises(ServerError, match=rf"no Triton to attach to at {url}: nothing"):
            open_server(ServerOptions(mode="auto", url=url))


class _Plain(BaseHTTPRequestHandler):
    """A plain HTTP server, or with ``body`` something that begins like Triton."""

    body = b"<html>hello</html>"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Keep quiet."""


@contextmanager
def _http_server(body: bytes) -> Iterator[tuple[ThreadingHTTPServer, str]]:
    handler = type("_Handler", (_Plain,), {"body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield http_server, f"127.0.0.1:{http_server.server_port}"
        finally:
            http_server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"hello": 1}', b"[]"])
def test_attach_to_something_else_says_so(body: bytes) -> None:
    with _http_server(body) as (_, url):
        assert not answers(url, 2.0)
        with pytest.raises(ServerError, match=r"no Triton: its /v2 answers 200 OK and b"):
            open_server(ServerOptions(mode="attach", url=url))


class _Refusing(BaseHTTPRequestHandler):
    """What stands in a server's place, and answers with ``status``."""

    status = 502

    def do_GET(self) -> None:
        self.send_error(self.status)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Keep quiet."""


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            401,
            "it wants credentials: give them with --triton-header: its /v2 answers 401",
        ),
        (404, "no Triton at this path: its /v2 answers 404 Not Found"),
        (502, "a proxy that does not reach its server: its /v2 answers 502 Bad Gateway"),
        (500, "no Triton: its /v2 answers 500 Internal Server Error"),
    ],
)
@pytest.mark.parametrize("mode", ["attach", "auto"])
def test_what_answers_in_a_servers_place_is_named(status: int, said: str, mode: Mode) -> None:
    handler = type("_Handler", (_Refusing,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.05,))
        thread.start()
        url = f"127.0.0.1:{http_server.server_port}"
        with pytest.raises(ServerError, match=f"no Triton to attach to at {url}: {said}"):
            open_server(ServerOptions(mode=mode, url=url))
        http_server.shutdown()
        thread.join()


def test_a_tls_server_is_named() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate: it refuses, in TLS

    def serve(peer: Peer) -> None:
        with suppress(OSError), context.wrap_socket(peer.connection, server_side=True):
            pass

    with FakeServer(serve) as other:
        url = f"127.0.0.1:{other.port}"
        with pytest.raises(
            ServerError, match=f"{url}: a TLS server: give its address with https://"
        ):
            open_server(ServerOptions(url=url))


def test_the_grpc_port_is_named(server: TritonServer) -> None:
    url = f"127.0.0.1:{server.grpc_port}"
    with pytest.raises(ServerError, match=f"{url}: an HTTP/2 server, as at Triton's gRPC port"):
        open_server(ServerOptions(url=url))


def test_the_index_is_a_value_with_states_and_reasons(server: TritonServer) -> None:
    index = {(entry.name, entry.version): entry for entry in server.index()}
    assert index["identity", "1"].state == "READY"
    assert index["raises", "1"].state == "UNAVAILABLE"
    assert "no weights here" in index["raises", "1"].reason
    unavailable = server.unavailable()
    assert set(unavailable) == {"raises", "broken", "empty"}
    assert unavailable["raises"].startswith("UNAVAILABLE: ")
    assert unavailable["empty"].startswith("not loaded: give --triton-load=empty")


def test_attach_to_a_port_that_never_answers_says_so() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not answers(f"127.0.0.1:{listener.getsockname()[1]}", 0.2)


def test_a_malformed_answer_names_the_endpoint() -> None:
    # It passes for a KServe server, and answers everything else alike.
    with (
        _http_server(b'{"version": "9.9.9"}') as (_, url),
        pytest.raises(ServerError, match=f"{url}/v2/repository/index answered with JSON of an unk"),
    ):
        open_server(ServerOptions(mode="attach", url=url))


def test_an_attached_server_that_goes_away_is_noticed() -> None:
    with _http_server(b'{"version": "9.9.9"}') as (_, url), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Api, "index", lambda _api: [])
        attached = open_server(ServerOptions(url=url))
        attached.check_alive()
    with pytest.raises(ServerError, match="no longer answers"):
        attached.check_alive()
    attached.close()


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1:8000", "127.0.0.1:notaport", "http://h:1/v2?a", "127.0.0.1:99999", ""],
)
def test_a_wrong_url_says_how_one_looks(url: str) -> None:
    with pytest.raises(ConfigurationError, match="give --triton-url as host:port"):
        open_server(ServerOptions(url=url))
