"""--triton-header, and the environment variable: sent with every request, shown nowhere."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

CREDENTIALS = "Bearer t0p-s3cret"
SHOW = """
def test_it(triton_server):
    print("at", triton_server.url, triton_server.api.way)
"""


@pytest.fixture
def guarded() -> Iterator[ThreadingHTTPServer]:
    """A server that says who it is to those who know the secret."""

    class Guard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == CREDENTIALS and self.headers["X-More"] == "1"
            body = b'{"name": "triton", "version": "2.51.0"}' if allowed else b"who are you?"
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Guard) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("place", ["line", "variable"])
def test_headers_open_the_door(
    pytester: pytest.Pytester,
    guarded: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    pytester.makepyfile(SHOW)
    url = f"127.0.0.1:{guarded.server_port}"
    attach = ["-s", f"--triton-url={url}"]
    shown = pytester.runpytest_inprocess(*attach)
    shown.assert_outcomes(errors=1)
    shown.stdout.fnmatch_lines(["*it wants credentials: give them with --triton-header*"])
    if place == "line":
        attach += ["--triton-header", f"authorization: {CREDENTIALS}", "--triton-header=X-More: 1"]
    else:
        monkeypatch.setenv("GAITPERF_TRITON_HEADER", f"Authorization: {CREDENTIALS}\n\nX-More: 1\n")
    shown = pytester.runpytest_inprocess(*attach, "-vv", "--showlocals")
    shown.assert_outcomes(passed=1)
    shown.stdout.fnmatch_lines([f"*at {url} *"])
    assert "s3cret" not in shown.stdout.str() + shown.stderr.str()


def test_a_secret_is_in_no_file_of_a_run(project: Project, server: TritonServer) -> None:
    shown = project.run(
        *("--triton-header", f"Authorization: {CREDENTIALS}", "--gaitperf-update=missing"),
        *("-k", "throughput and b1-c1", "--gaitperf-json=results.json", "--junitxml=junit.xml"),
        *("--gaitperf-summary=summary.md", "--gaitperf-models=steady", "-vv"),
    )
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    assert (project.path / "results.json").is_file()
    assert "s3cret" not in shown.stdout.str() + shown.stderr.str()
    for path in project.path.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path


@pytest.mark.parametrize("header", ["s3cret", "A: s3cret\u20ac", "Host: s3cret"])
def test_a_bad_header_is_refused_without_showing_it(offline: Project, header: str) -> None:
    shown = offline.pytester.runpytest_inprocess(f"--triton-header={header}")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    assert "s3cret" not in shown.stdout.str() + shown.stderr.str()


def test_a_bad_variable_is_refused_without_showing_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAITPERF_TRITON_HEADER", "s3cret")
    shown = project.run()
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = shown.stdout.str() + shown.stderr.str()
    assert "GAITPERF_TRITON_HEADER: a header is given as 'Name: value'" in text
    assert "s3cret" not in text
