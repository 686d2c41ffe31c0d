"""Answers beside those that a data file knows: a wrong one is a failed request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.load.checked import Known, difference
from pytest_gaitperf.load.data import InputData, input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.slot import Slot
from pytest_gaitperf.load.wire_grpc import call_fields
from pytest_gaitperf.load.wire_http1 import ResponseError
from pytest_gaitperf.workload import Workload
from tests.load.driving import until
from tests.load.fake_http2 import DATA, END_HEADERS, HEAD, HEADERS, SETTINGS, frame
from tests.load.test_stream_rules import Sent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Protocol

PROTOCOLS = pytest.mark.parametrize("protocol", ["http", "grpc"])


def write(path: Path, samples: list[Any], answers: list[Any], *, name: str = "OUTPUT0") -> Path:
    """Write what is sent to a model with one input, and what it is to answer."""
    document = {
        "data": [{"INPUT0": sample} for sample in samples],
        "validation_data": [{name: answer} for answer in answers],
    }
    (path / "known.json").write_text(json.dumps(document))
    return path / "known.json"


def data_of(server: TritonServer, workload: Workload, path: Path) -> InputData:
    return input_data(server.model(workload.model), workload, str(path))


def run(server: TritonServer, workload: Workload, path: Path, answered: int = 30) -> LoadRecord:
    data = data_of(server, workload, path)
    assert data.answers, data.note
    with open_load(server, server.model(workload.model), workload, data) as load:
        return load.run(until(answered), 0.001)


def rows(*values: float) -> list[list[float]]:
    return [[value] * 16 for value in values]


@PROTOCOLS
@pytest.mark.parametrize("concurrency", [1, 4])
def test_right_answers_are_right(
    loaded: TritonServer, tmp_path: Path, protocol: Protocol, concurrency: int
) -> None:
    path = write(tmp_path, rows(1, 2, 3), rows(1, 2, 3))
    record = run(loaded, Workload("identity", 1, concurrency, protocol=protocol), path)
    assert (record.failures, record.failure_reasons) == (0, [])
    assert record.requests >= 30


@PROTOCOLS
def test_each_wrong_answer_is_a_failed_request_that_names_value_and_place(
    loaded: TritonServer, tmp_path: Path, protocol: Protocol
) -> None:
    answers = rows(1, 2, 3)
    answers[1][5] = 2.5
    path = write(tmp_path, rows(1, 2, 3), answers)
    record = run(loaded, Workload("identity", 1, 1, protocol=protocol), path)
    (reason,) = record.failure_reasons
    assert "wrong answer to request 1: OUTPUT0 is 2 at [0, 5], and 2.5 in valid" in reason
    assert abs(2 * record.failures - record.requests) <= 2, "one in three"


@PROTOCOLS
def test_a_batch_has_the_answers_of_its_samples(
    loaded: TritonServer, tmp_path: Path, protocol: Protocol
) -> None:
    workload = Workload("identity", 2, 1, protocol=protocol)
    path = write(tmp_path, rows(1, 2, 3), rows(1, 2, 3))
    assert run(loaded, workload, path).failures == 0
    write(tmp_path, rows(1, 2, 3), rows(1, 7, 3))
    record = run(loaded, workload, path)
    assert sorted(record.failure_reasons) == [
        f"wrong answer to request {index}: OUTPUT0 is 2 at [{row}, 0], and 7 in validation_data"
        for index, row in ((0, 1), (2, 0))
    ]


@PROTOCOLS
def test_answers_in_many_pieces_are_compared_whole(
    loaded: TritonServer, tmp_path: Path, protocol: Protocol
) -> None:
    zeros, wrong = [0.0] * 500_000, [0.0] * 500_000
    wrong[-1] = 1.0
    workload = Workload("large", 1, 2, protocol=protocol)
    assert run(loaded, workload, write(tmp_path, [zeros], [zeros]), 10).failures == 0
    # The last of two million bytes.
    (reason,) = run(loaded, workload, write(tmp_path, [zeros], [wrong]), 10).failure_reasons
    assert "OUTPUT0 is 0 at [0, 499999], and 1 in" in reason


@PROTOCOLS
@pytest.mark.parametrize(
    ("model", "values"), [("bytes", ("a", "b")), ("int64", (7, 8)), ("bool", (True, False))]
)
def test_whole_values_and_texts_must_be_equal(
    loaded: TritonServer, tmp_path: Path, protocol: Protocol, model: str, values: tuple[Any, Any]
) -> None:
    value, wrong = values
    workload = Workload(model, 1, 1, protocol=protocol)
    path = write(tmp_path, [[value] * 2], [[value] * 2])
    assert run(loaded, workload, path).failures == 0
    write(tmp_path, [[value] * 2], [[value, wrong]])
    assert run(loaded, workload, path).requests == 0


@PROTOCOLS
def test_an_error_of_the_model_is_said_as_ever(
    loaded: TritonServer, tmp_path: Path, protocol: Protocol
) -> None:
    path = write(tmp_path, rows(1), rows(1))
    record = run(loaded, Workload("flaky", 1, 1, protocol=protocol), path)
    assert record.failures
    assert all("fails, as it was told to" in reason for reason in record.failure_reasons)


def test_only_wrong_answers_end_the_load(loaded: TritonServer, tmp_path: Path) -> None:
    path = write(tmp_path, rows(1), rows(2))
    with pytest.raises(MeasurementError, match="100 of 100 requests failed: wrong answer to req"):
        run(loaded, Workload("identity", 1, 1), path, 1000)


@pytest.mark.parametrize(
    ("answers", "name", "problem"),
    [
        (rows(1), "OUTPUT0", "has 1 answers in 'validation_data', and 2 samples"),
        (rows(1, 2), "Y", "answer 0: model 'identity' has no output tensor 'Y'; its outputs are"),
        ([[1.0], [2.0]], "OUTPUT0", "answer 0: tensor 'OUTPUT0': has 1 values, the shape"),
        ([["x"] * 16] * 2, "OUTPUT0", "holds 'x', and the model wants FP32"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    loaded: TritonServer, tmp_path: Path, answers: list[Any], name: str, problem: str
) -> None:
    path = write(tmp_path, rows(1, 2), answers, name=name)
    with pytest.raises(ConfigurationError, match=problem):
        data_of(loaded, Workload("identity", 1, 1), path)
    path.write_text('{"data": [{"INPUT0": [1]}], "validation_data": 5}')


def test_answers_that_differ_in_their_outputs_or_are_no_objects_are_refused(
    loaded: TritonServer, tmp_path: Path
) -> None:
    path = write(tmp_path, rows(1, 2), rows(1, 2))
    document = json.loads(path.read_text())
    for broken, problem in (
        ([{"OUTPUT0": [1] * 16}, {}], "answer 1: holds nothing, and the first answer has OUTPUT0"),
        ([1, 2], "answer 0: is no object of tensors: 1"),
        (5, "has no list 'validation_data'"),
    ):
        path.write_text(json.dumps({**document, "validation_data": broken}))
        with pytest.raises(ConfigurationError, match=problem):
            data_of(loaded, Workload("identity", 1, 1), path)


def test_where_a_load_sees_no_answers_it_is_said(loaded: TritonServer, tmp_path: Path) -> None:
    path = write(tmp_path, rows(1), rows(2))
    data = data_of(loaded, Workload("identity", 1, 1, transport="shm"), path)
    assert data.answers == ()
    assert str(data.note).endswith("is not compared: the outputs lie in shared memory")


QUESTION = b"question"


def known(*, whole: bool) -> tuple[Known, Slot]:
    answers = Known([[QUESTION]], [{"Y": np.zeros((1, 4), np.float32)}], whole=whole)
    return answers, Slot(iter([QUESTION]))


def flood(feed: Callable[[bytearray, int], bool], *pieces: bytes) -> None:
    """Let the pieces come, and the last of them for two megabytes."""
    for piece in (*pieces, *pieces[-1:] * (2_000_000 // len(pieces[-1]))):
        feed(bytearray(piece), len(piece))


def test_an_answer_without_an_end_is_given_up_where_all_outputs_are_known() -> None:
    pieces = (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", bytes(100_000))
    answers, slot = known(whole=False)
    flood(answers.reader(slot).feed, *pieces)
    answers, slot = known(whole=True)
    with pytest.raises(ResponseError, match="an answer without an end"):
        flood(answers.reader(slot).feed, *pieces)


def test_and_over_grpc() -> None:
    pieces = (frame(HEADERS, END_HEADERS, 1, HEAD), frame(DATA, 0, 1, bytes(16_000)))
    wires = []
    for whole in (False, True):
        answers, slot = known(whole=whole)
        wire, settings = answers.wire(slot, Sent(), call_fields("h", 1)), frame(SETTINGS, 0, 0)
        wire.feed(bytearray(settings), len(settings))
        assert wire.send(QUESTION, 0) == len(QUESTION)
        wires.append(wire)
    flood(wires[0].feed, *pieces)
    with pytest.raises(ResponseError, match="an answer without an end"):
        flood(wires[1].feed, *pieces)


def output(**arrays: Any) -> Callable[[str], Any]:
    return arrays.get


def test_what_is_missing_or_of_another_shape_is_named() -> None:
    one = np.ones((1, 2), np.float32)
    assert difference(output(), {"Y": one}) == "it has no output 'Y'"
    found = difference(output(Y=one[0]), {"Y": one})
    assert found == "Y has the shape [2], and validation_data [1, 2]"


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-3), (np.float16, 1e-2)])
@given(scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]))
def test_floats_may_differ_by_a_share_of_the_largest(
    dtype: type[np.floating[Any]], close: float, scale: float, sign: int
) -> None:
    wanted = np.array([0.0, 0.25, 1.0]) * scale
    near, far = wanted.copy(), wanted.copy()
    near[1] += sign * 0.8 * close * scale
    far[1] += sign * 1.4 * close * scale
    known = {"Y": wanted.astype(dtype)}
    assert not difference(output(Y=near.astype(dtype)), known)
    assert difference(output(Y=far.astype(dtype)), known)


def test_what_is_not_finite_must_be_the_same() -> None:
    wanted = {"Y": np.array([np.nan, np.inf, 1.0], np.float32)}
    assert not difference(output(Y=wanted["Y"].copy()), wanted)
    for other in ([0, np.inf, 1], [np.nan, -np.inf, 1], [np.nan, np.inf, np.nan]):
        assert difference(output(Y=np.array(other, np.float32)), wanted)
