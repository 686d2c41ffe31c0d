"""Which process serves at a port."""

from __future__ import annotations

import os
import socket

import pytest

from pytest_gaitperf.triton.process import find_server


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees whose a listener is")
def test_what_listens_and_is_no_triton_is_not_taken_for_one() -> None:
    """Its CPU time, or that of another run's server, would be gated."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pid, reason = find_server("127.0.0.1", listener.getsockname()[1])
    assert pid is None
    assert "is no tritonserver, but " in reason


def test_a_server_elsewhere_has_no_process_here() -> None:
    assert find_server("192.0.2.1", 8000) == (None, "the server runs on another host (192.0.2.1)")
