"""Sequences of stateful models: on a real Triton, which refuses what is no whole sequence."""

from __future__ import annotations

import json
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.grpc import service_pb2

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.encode import encode_grpc, encode_http
from pytest_gaitperf.load.loops import OpenLoop, open_load
from pytest_gaitperf.load.sequences import sequence_requests
from pytest_gaitperf.measure.cell import model_of
from pytest_gaitperf.workload import Workload
from tests.load.driving import counted_since, post, until
from tests.load.fake_server import OK, FakeServer, Peer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.load.encode import Requests
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Protocol


def loads(server: TritonServer, workload: Workload, *answered: int) -> list[LoadRecord]:
    """Load the server one run after the other, each for so many answers."""
    model = model_of(server, workload)
    with open_load(server, model, workload, input_data(model, workload)) as load:
        return [load.run(until(count), 0.005) for count in answered]


def under_way(server: TritonServer) -> tuple[int, int]:
    """Ask the model "oldest" how many sequences it holds, and how many have ended."""
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        tensor = tritonclient.grpc.InferInput("INPUT0", [1, 16], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 16), np.float32))
        answer = client.infer(
            "oldest", [tensor], sequence_id=5, sequence_start=True, sequence_end=True
        )
    told = int(answer.as_numpy("OUTPUT0")[0, 0])
    return told // 1000, told % 1000


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    "load",
    [
        {"concurrency": 1},
        {"concurrency": 6},
        {"request_rate": 400.0, "sequences": 3},
        {"subjects": 8, "frame_rate": 25.0},
        {"concurrency": 3, "transport": "shm"},
    ],
    ids=["c1", "c6", "rate", "subjects", "shm"],
)
def test_triton_takes_every_request_of_many_sequences_at_once(
    loaded: TritonServer, protocol: Protocol, load: dict[str, Any]
) -> None:
    workload = Workload("state", 1, protocol=protocol, sequence_length=(2, 5), **load)
    before = loaded.statistics("state").inference_count
    records = loads(loaded, workload, 60, 60)
    assert [record.failure_reasons for record in records] == [[], []]
    requests = sum(record.requests for record in records)
    assert requests >= 120
    assert counted_since(loaded, "state", before, requests) == requests


def test_no_sequence_is_left_under_way_when_a_load_ends(loaded: TritonServer) -> None:
    before = under_way(loaded)
    assert before[0] == 0
    (record,) = loads(loaded, Workload("oldest", 1, 5, sequence_length=(1000, 1000)), 40)
    after = under_way(loaded)
    assert record.failures == 0
    assert after == (0, before[1] + 1 + 5), "the one that asked, and those of five slots"


def test_of_more_sequences_than_requests_those_that_began_are_ended() -> None:
    came: list[dict[str, Any]] = []

    def keep(peer: Peer) -> None:
        while True:
            came.append(json.loads(peer.request()))
            peer.send(OK)

    def encode(parameters: Mapping[str, bool | int]) -> Requests:
        return [[post(json.dumps(dict(parameters)).encode())]]

    with (
        FakeServer(keep) as server,
        OpenLoop(
            "127.0.0.1",
            server.port,
            [],
            [0, 1_000_000, 10**15],
            most_in_flight=8,
            sequences=sequence_requests(encode, "http", (5, 5)),
        ) as load,
    ):
        record = load.run(until(2), 0.001)
    assert (record.requests, record.failures) == (4, 0)
    assert [one["sequence_end"] for one in came] == [False, False, True, True]


def marked(
    protocol: Protocol, workload: Workload, server: TritonServer, slots: int, requests: int
) -> list[list[tuple[int, bool, bool]]]:
    """Return the id, start and end of the first requests of some slots."""
    model = server.model(workload.model)
    samples = input_data(model, workload).samples

    def encode(parameters: Mapping[str, bool | int]) -> Requests:
        if protocol == "grpc":
            return encode_grpc(model, workload, samples, parameters=parameters)
        return encode_http(model, workload, "x", samples, parameters=parameters)

    found = []
    for source in islice(sequence_requests(encode, protocol, workload.sequence_length), slots):
        rows = []
        for request in islice(source, requests):
            if protocol == "grpc":
                told = service_pb2.ModelInferRequest.FromString(request).parameters
                number = told["sequence_id"].int64_param
                flags = [told[f"sequence_{one}"].bool_param for one in ("start", "end")]
            else:
                head, _, body = request.partition(b"\r\n\r\n")
                size = int(head.partition(b"Inference-Header-Content-Length: ")[2].split()[0])
                parameters = json.loads(body[:size])["parameters"]
                number = parameters["sequence_id"]
                flags = [parameters[f"sequence_{one}"] for one in ("start", "end")]
                assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
            rows.append((number, *flags))
        found.append(rows)
    return found


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_lengths_are_drawn_between_the_two_and_ids_are_never_shared(
    loaded: TritonServer, protocol: Protocol
) -> None:
    workload = Workload("state", 1, 3, protocol=protocol, sequence_length=(2, 4))
    slots = marked(protocol, workload, loaded, 3, 200)
    numbers: set[int] = set()
    lengths: list[int] = []
    for rows in slots:
        starts = [index for index, row in enumerate(rows) if row[1]]
        for first, after in pairwise(starts):
            sequence = rows[first:after]
            assert len({number for number, _, _ in sequence}) == 1
            assert [end for _, _, end in sequence] == [False] * (len(sequence) - 1) + [True]
            assert sequence[0][0] not in numbers
            numbers.add(sequence[0][0])
            lengths.append(len(sequence))
    assert set(lengths) == {2, 3, 4}
    again = marked(protocol, workload, loaded, 3, 200)
    flags = [[[row[1:] for row in rows] for rows in found] for found in (slots, again)]
    assert flags[0] == flags[1], "the same lengths in every session"
    assert not numbers & {number for rows in again for number, _, _ in rows}


def test_a_sequence_of_one_request_begins_and_ends_with_it(loaded: TritonServer) -> None:
    workload = Workload("state", 1, 1, sequence_length=(1, 1))
    (rows,) = marked("http", workload, loaded, 1, 3)
    assert [row[1:] for row in rows] == [(True, True)] * 3


def test_what_the_model_refuses_is_counted_and_a_new_sequence_begins(
    loaded: TritonServer,
) -> None:
    """Triton gives a sequence up that is idle for a second."""
    workload = Workload("state", 1, request_rate=8.0, sequences=10, sequence_length=(3, 3))
    (record,) = loads(loaded, workload, 14)
    assert record.failures
    assert record.requests >= 10, "those that begin a sequence"
    assert all(
        "must specify the START flag" in reason and "max_sequence_idle_microseconds" in reason
        for reason in record.failure_reasons
    )


def test_a_workload_of_the_other_kind_is_refused_with_the_word_for_it(
    loaded: TritonServer,
) -> None:
    with pytest.raises(MeasurementError, match="stateful: give the workload the sequence_length"):
        model_of(loaded, Workload("state", 1, 1))
    with pytest.raises(MeasurementError, match="takes no sequences"):
        model_of(loaded, Workload("identity", 1, 1, sequence_length=(2, 2)))
    with pytest.raises(MeasurementError, match=r"decoupled.*streaming=True"):
        model_of(loaded, Workload("stream", 1, 1))
