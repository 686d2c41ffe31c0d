"""The campaign's plan, and the proxy that it puts between pytest and Triton."""

from __future__ import annotations

import http.client

import pytest

from tests.campaigns.fault_parts.proxy import ProxyProcess
from tests.campaigns.faults import KINDS, plan
from tests.load.fake_server import FakeServer, good


def test_the_campaign_injects_three_hundred_faults_each_with_a_seed_of_its_own() -> None:
    faults = plan(KINDS, 1, quick=False, only_number=None)
    assert len({seed for _, seed in faults}) == len(faults) >= 300


def test_the_quick_campaign_has_every_kind() -> None:
    quick = plan(KINDS, 1, quick=True, only_number=None)
    assert {kind.name for kind, _ in quick} == {kind.name for kind in KINDS}


def test_a_fault_can_be_repeated_by_its_number() -> None:
    ((kind, seed),) = plan(KINDS[:1], 7, quick=False, only_number=3)
    assert (kind, seed) == (KINDS[0], f"7:{KINDS[0].name}:3")


def asked(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("POST", path, b"tensors")
    answer = connection.getresponse()
    return answer.status, answer.read()


def ask_often(connection: http.client.HTTPConnection) -> None:
    """Ask until it goes wrong: the proxy reads what it is told in its own time."""
    for _ in range(1000):
        asked(connection, "/v2/models/m/infer")


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("reset", ConnectionResetError),
        ("truncate", http.client.IncompleteRead),
        ("half_close", http.client.IncompleteRead),
        ("close", http.client.RemoteDisconnected),
        ("garbage", http.client.BadStatusLine),
        ("length_large", TimeoutError),
    ],
)
def test_the_proxy_spoils_inferences_once_it_is_told_to(what: str, error: type[Exception]) -> None:
    with FakeServer(good) as server:
        spoilt = {"what": what, "times": 1, "every": 1, "http": server.port, "grpc": server.port}
        with ProxyProcess(spoilt) as proxy:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.http, timeout=1.0)
            assert asked(connection, "/v2/models/m/infer") == (200, b"body")
            proxy.go()
            assert asked(connection, "/v2/models/m/stats") == (200, b"body")
            with pytest.raises(error):
                ask_often(connection)
            connection.close()
            assert asked(connection, "/v2/models/m/infer") == (200, b"body"), "one, as planned"
            connection.close()
