"""Triton behind nginx and haproxy: TLS, certificates, headers, prefixes, IPv6, unix sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeasurementError, ServerError
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.way import Way, parse_url
from pytest_gaitperf.workload import Workload
from tests.load.driving import counted_since, until
from tests.load.proxies import HEADER, PREFIX, Proxy, in_front

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Protocol


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxy(
    request: pytest.FixtureRequest,
    loaded: TritonServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    with in_front(request.param, loaded, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def way(proxy: Proxy) -> Way:
    return Way(ca=proxy.folder / "ca.pem", headers=(HEADER,))


def attach(url: str, way: Way, grpc_port: int | None = None) -> TritonServer:
    options = ServerOptions(mode="attach", url=url, way=way, grpc_port=grpc_port)
    return open_server(options)


def load(server: TritonServer, workload: Workload, answered: int = 30) -> LoadRecord:
    model = server.model(workload.model)
    data = input_data(model, workload)
    with open_load(server, model, workload, data) as opened:
        return opened.run(until(answered), 0.01)


WORKLOADS = [
    Workload("identity", 1, 1),
    Workload("identity", 4, 3),
    Workload("identity", 1, 1, protocol="grpc"),
    Workload("identity", 4, 3, protocol="grpc"),
    Workload("identity", 1, request_rate=100.0),
    Workload("identity", 1, request_rate=100.0, protocol="grpc"),
    Workload("large", 2, 2),
    Workload("large", 2, 2, protocol="grpc"),
]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: str(one.id))
def test_a_load_over_tls_with_a_header_and_a_prefix(
    proxy: Proxy, way: Way, loaded: TritonServer, workload: Workload, host: str
) -> None:
    before = loaded.statistics(workload.model).inference_count
    with attach(f"https://{host}:{proxy.port}{PREFIX}", way) as server:
        assert server.url == f"https://{host}:{proxy.port}{PREFIX}"
        assert server.grpc_port == proxy.port
        record = load(server, workload, 8 if workload.model == "large" else 30)
    assert (record.failures, record.failure_reasons, record.refused) == (0, [], 0)
    expected = record.requests * workload.batch_size
    assert counted_since(loaded, workload.model, before, expected) == expected > 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_client_shows_its_certificate(proxy: Proxy, way: Way, protocol: Protocol) -> None:
    folder, url = proxy.folder, f"https://127.0.0.1:{proxy.mutual}"
    shown = replace(way, certificate=folder / "client.pem", key=folder / "client.key")
    with attach(url, shown) as server:
        record = load(server, Workload("identity", 1, 2, protocol=protocol))
    assert (record.requests >= 30, record.failures) == (True, 0)
    with pytest.raises(ServerError, match=r"--triton-ssl-cert"):
        attach(url, way)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_socket_in_the_file_system(proxy: Proxy, protocol: Protocol) -> None:
    if (proxy.name, protocol) == ("nginx", "grpc"):
        pytest.skip("nginx takes one protocol at a socket without TLS")
    with attach(f"unix:{proxy.folder}/http.sock", Way()) as server:
        assert server.url == f"unix:{proxy.folder}/http.sock"
        record = load(server, Workload("identity", 1, 2, protocol=protocol))
        alone = load(server, Workload("identity", 1, 1, protocol=protocol))
    assert (record.requests >= 30, record.failures, alone.failures) == (True, 0, 0)


def test_who_is_not_trusted_is_told_apart_and_can_be(proxy: Proxy, way: Way) -> None:
    url = f"https://127.0.0.1:{proxy.port}{PREFIX}"
    with pytest.raises(ServerError, match=r"not trusted.*--triton-ssl-ca.*--triton-ssl-no-verify"):
        attach(url, replace(way, ca=None))
    with attach(url, replace(way, ca=None, verify=False)) as server:
        record = load(server, Workload("identity", 1, 1, protocol="grpc"))
    assert record.failures == 0


def test_what_is_wrong_with_an_address_is_said(proxy: Proxy, way: Way) -> None:
    with pytest.raises(ServerError, match="a TLS server: give its address with https://"):
        attach(f"127.0.0.1:{proxy.port}", way)
    with pytest.raises(ServerError, match=r"--triton-header: its /v2 answers 401"):
        attach(f"https://127.0.0.1:{proxy.port}{PREFIX}", replace(way, headers=()))


@pytest.mark.parametrize(
    "url",
    [
        *("http://me:s3cret@host:99999", "grpc://me:s3cret@host", "me:s3cret@[::1"),
        *("https://me:s3/cret@host", "https://host/?s3cret@x"),
    ],
)
def test_a_password_is_in_no_refusal_of_an_address(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"GAITPERF_TRITON_HEADER; .*%40") as refused:
        parse_url(url)
    assert "s3" not in str(refused.value)


def test_a_path_may_have_what_stands_before_a_host() -> None:
    assert parse_url("https://host/a%40b")[2].prefix == "/a%40b"


def test_a_triton_without_tls_is_told_apart(loaded: TritonServer) -> None:
    with pytest.raises(ServerError, match=r"speaks no TLS .*give its address with http://"):
        attach(f"https://{loaded.url}", Way())


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_requests_that_a_proxy_refuses_fail_with_its_status(
    proxy: Proxy, way: Way, protocol: Protocol
) -> None:
    workload = Workload("identity", 1, 2, protocol=protocol)
    with attach(f"https://127.0.0.1:{proxy.port}{PREFIX}", way) as server:
        model = server.model("identity")
        server.api.way = replace(server.api.way, headers=())
        data = input_data(model, workload)
        with (
            open_load(server, model, workload, data) as opened,
            pytest.raises(MeasurementError, match=r"100 of 100 requests failed: .*HTTP 401"),
        ):
            opened.run(until(1000), 0.01)
