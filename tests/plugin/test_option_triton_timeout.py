"""--triton-timeout: how long a started server may take to get ready."""

from __future__ import annotations

import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.plugin.baselines import UNMEASURED
from tests.triton.models import write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.slow
def test_a_server_that_gets_not_ready_in_time_is_stopped(offline: Project) -> None:
    write_model(offline.path / "model_repository", "lazy", initialize_sleep_s=60.0)
    shown = offline.run("--triton-timeout=3", "--gaitperf-models=lazy", offline.grid("lazy"))
    shown.assert_outcomes(errors=4)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert "Triton was not ready within 3 s and was stopped" in text
    assert "give more time with --triton-timeout" in text
    assert "Traceback" not in text


def test_a_server_that_is_starting_is_waited_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(triton_server): print('at', triton_server.version)")

    class Starting(BaseHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            """As a proxy whose server is not there, then a server with models to load, then one."""
            self.asked.append(self.path)
            status, body = 200, b'{"name": "triton", "version": "2.51.0"}'
            if len(self.asked) == 1:
                status = 503
            elif self.path.endswith("/ready") and self.asked.count(self.path) == 1:
                status = 400
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    def start() -> None:
        time.sleep(0.3)  # until then nobody listens there
        with ThreadingHTTPServer(("127.0.0.1", port), Starting) as server:
            done.append(server)
            server.serve_forever()

    done: list[ThreadingHTTPServer] = []
    thread = Thread(target=start)
    thread.start()
    shown = pytester.runpytest_inprocess(
        "-s", f"--triton-url=127.0.0.1:{port}", "--triton-timeout=9"
    )
    done[0].shutdown()
    thread.join()
    shown.assert_outcomes(passed=1)
    shown.stdout.fnmatch_lines(["*at 2.51.0*"])
    assert Starting.asked.count("/v2/health/ready") == 2


def test_a_bad_value_is_refused(offline: Project) -> None:
    offline.refuses("--triton-timeout", "soon", "'soon' is not a positive number of seconds")
