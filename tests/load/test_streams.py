"""Decoupled models, whose answers come through a gRPC stream, on a real Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.workload import Workload
from tests.load.driving import counted_since, until

if TYPE_CHECKING:
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer


def streamed(server: TritonServer, model: str, answered: int, **load: Any) -> LoadRecord:
    workload = Workload(model, 1, streaming=True, **(load or {"concurrency": 2}))
    info = server.model(model)
    given = input_data(info, workload)
    with open_load(server, info, workload, given) as opened:
        return opened.run(until(answered), 0.005)


@pytest.mark.parametrize(("model", "answers"), [("stream", 4), ("last", 2), ("identity", 1)])
@pytest.mark.parametrize("load", [{"concurrency": 1}, {"concurrency": 3}, {"request_rate": 100.0}])
def test_each_answer_is_counted_and_each_request_once(
    loaded: TritonServer, model: str, answers: int, load: dict[str, Any]
) -> None:
    before = loaded.statistics(model).inference_count
    record = streamed(loaded, model, 12, **load)
    assert record.failure_reasons == []
    assert len(record.answers_ns) == answers * record.requests
    assert len(record.firsts_ns) == record.requests >= 12
    assert counted_since(loaded, model, before, record.requests) == record.requests


def test_the_first_answer_comes_before_the_last_by_as_much_as_the_model_takes(
    loaded: TritonServer,
) -> None:
    record = streamed(loaded, "stream", 10, concurrency=1)
    starts, ends = record.times()
    firsts = np.array(record.firsts_ns)
    assert (firsts - starts >= 10_000_000).all(), "the model sleeps so long before it"
    assert (ends - starts >= 16_000_000).all(), "three more follow, 2 ms apart"
    assert np.median(firsts - starts) < np.median(ends - starts) - 3_000_000
    answers = np.array(record.answers_ns)
    assert (np.diff(answers) >= 0).all()
    assert record.receive_ns < 0.2 * (ends - firsts).sum(), "what is waited for is not receiving"


def test_a_request_without_an_answer_has_no_first_one(loaded: TritonServer) -> None:
    record = streamed(loaded, "silent", 10)
    assert (record.failures, len(record.answers_ns)) == (0, 0)
    assert set(record.firsts_ns) == {0}


def test_a_request_that_fails_is_one_failure_and_its_stream_goes_on(loaded: TritonServer) -> None:
    record = streamed(loaded, "broken", 40)
    answered = record.requests + record.failures
    assert abs(record.failures - answered / 4) <= 1
    assert record.failure_reasons == ["gRPC: it fails, as it was told to"]
    assert len(record.answers_ns) == 2 * record.requests


def test_hundreds_of_answers_that_come_in_one_piece_are_told_apart(loaded: TritonServer) -> None:
    record = streamed(loaded, "many", 3)
    assert record.failure_reasons == []
    assert len(record.answers_ns) == 500 * record.requests


def test_messages_that_are_longer_than_the_servers_windows_go_through(
    loaded: TritonServer,
) -> None:
    """2 MB each: the call's window is opened again and again while the stream stays."""
    record = streamed(loaded, "large", 8)
    assert record.failure_reasons == []
    assert len(record.answers_ns) == record.requests


def test_a_model_that_is_not_there_fails_with_the_words_of_the_server(
    loaded: TritonServer,
) -> None:
    workload = Workload("no such", 1, 1, streaming=True)
    info = loaded.model("stream")
    given = input_data(info, workload)
    with (
        open_load(loaded, info, workload, given) as opened,
        pytest.raises(MeasurementError, match="unknown model: 'no such'"),
    ):
        opened.run(until(1000), 0.005)
