from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import check_writable, write_output
from pytest_gaitperf.triton import api
from tests.load.fake_server import FakeServer, Peer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"."),
    ],
    ids=["head", "body"],
)
def test_an_answer_that_drips_ends_in_time(first: bytes, drop: bytes) -> None:
    def drip(peer: Peer) -> None:
        peer.head()
        peer.send(first)
        while True:
            peer.send(drop)
            time.sleep(0.05)

    with FakeServer(drip) as server:
        answer = api.Api("127.0.0.1", server.port).probe(0.4)
    assert answer == api.Listener(None, "it did not answer within 0.4 s")


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_LARGEST_ANSWER", 1 << 20)

    def flood(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(bytes(1 << 16))

    with FakeServer(flood) as server:
        answer = api.Api("127.0.0.1", server.port).probe(10.0)
    assert answer.server_id is None
    assert "its answer has no end" in answer.text


def test_results_sent_to_a_device_leave_the_device(tmp_path: Path) -> None:
    path = tmp_path / "null"
    path.symlink_to("/dev/null")
    check_writable(path)
    write_output(path, b"results")
    assert path.is_symlink()
    assert path.is_char_device()


def test_results_sent_to_a_full_device_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "full"
    path.symlink_to("/dev/full")
    with pytest.raises(GaitperfError, match=r"full cannot be written \("):
        write_output(path, b"results")
    assert path.is_char_device()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any pipe")
def test_a_pipe_that_is_not_ours_is_named_before_measuring(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o400)
    with pytest.raises(GaitperfError, match="it is not writable"):
        check_writable(path)
