"""--triton-grpc-port: the gRPC port of the server at --triton-url."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

SHOW = """
def test_it(triton_server):
    print("grpc at", triton_server.grpc_port)
"""


def test_it_is_the_one_told_or_the_next_after_http(
    pytester: pytest.Pytester, server: TritonServer
) -> None:
    pytester.makepyfile(SHOW)
    attach = ("-s", f"--triton-url={server.url}")
    shown = pytester.runpytest_inprocess(*attach)
    shown.stdout.fnmatch_lines([f"*grpc at {server.http_port + 1}"])
    shown = pytester.runpytest_inprocess(*attach, f"--triton-grpc-port={server.grpc_port}")
    shown.stdout.fnmatch_lines([f"*grpc at {server.grpc_port}"])
    pytester.makepyprojecttoml("[tool.gaitperf]\ntriton_grpc_port = 9001\n")
    shown = pytester.runpytest_inprocess(*attach)
    shown.stdout.fnmatch_lines(["*grpc at 9001"])


@pytest.mark.parametrize("port", ["grpc", "0", "65536"])
def test_a_bad_port_is_refused(offline: Project, port: str) -> None:
    offline.refuses("--triton-grpc-port", port, f"'{port}' is not a port number")
