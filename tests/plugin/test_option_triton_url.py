"""--triton-url: the address of a running server."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

SHOW = """
def test_it(triton_server):
    print("at", triton_server.url)
"""


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_address_may_come_from_the_table(
    pytester: pytest.Pytester, server: TritonServer, scheme: str
) -> None:
    pytester.makepyfile(SHOW)
    pytester.makepyprojecttoml(f"[tool.gaitperf]\ntriton_url = '{scheme}{server.url}'\n")
    shown = pytester.runpytest_inprocess("-s")
    shown.stdout.fnmatch_lines([f"*at {server.url}"])


def test_the_command_line_wins_over_the_table(
    pytester: pytest.Pytester, server: TritonServer
) -> None:
    pytester.makepyfile(SHOW)
    pytester.makepyprojecttoml("[tool.gaitperf]\ntriton_url = '127.0.0.1:9'\ntriton = 'attach'\n")
    shown = pytester.runpytest_inprocess("-s", f"--triton-url={server.url}")
    shown.stdout.fnmatch_lines([f"*at {server.url}"])
    shown = pytester.runpytest_inprocess("-s")
    shown.stdout.fnmatch_lines(["no Triton to attach to at 127.0.0.1:9: *"])
    shown.assert_outcomes(errors=1)


@pytest.mark.parametrize("url", ["127.0.0.1:x", "ftp://127.0.0.1:1", "unix:socket"])
def test_a_bad_address_is_refused(offline: Project, url: str) -> None:
    shown = offline.run("--triton=attach", f"--triton-url={url}")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join(shown.stderr.str().split())
    assert url in text
    assert "Traceback" not in text


def test_a_server_that_is_no_triton_is_told_apart(offline: Project) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        shown = offline.run("--triton=attach", f"--triton-url=127.0.0.1:{other.server_port}")
        other.shutdown()
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(
        ["ERROR: no Triton to attach to at *: no Triton: its /v2 answers 501 *"]
    )


def test_a_password_in_an_address_is_refused_and_not_shown(offline: Project) -> None:
    shown = offline.run("--triton=attach", "--triton-url=https://me:s3cret@host:1")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert "GAITPERF_TRITON_HEADER" in text
    assert "s3cret" not in text
