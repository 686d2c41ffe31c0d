from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load import encode
from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.load.encode import encode_grpc, encode_http, tensor_bytes
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.triton.server import TritonServer

Answer = tuple[list[int], bytes, str]

CASES = [
    ("identity", 1, [1, 16]),
    ("identity", 8, [8, 16]),
    ("int64", 2, [2, 2]),
    ("bool", 2, [2, 2]),
    ("fp16", 2, [2, 2]),
    ("uint8", 2, [2, 2]),
    ("bytes", 2, [2, 2]),
    ("unbatched", 1, [16]),
]


def ask_http(server: TritonServer, request: bytes) -> Answer:
    """Send the bytes as they are; return shape and bytes of the output, and the version."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split()
    connection = http.client.HTTPConnection(server.url, timeout=30)
    try:
        fields = dict(line.split(": ", 1) for line in lines)
        connection.request(method, path, body=body, headers=fields)
        answer = connection.getresponse()
        content = answer.read()
        length = int(answer.headers.get("Inference-Header-Content-Length", len(content)))
    finally:
        connection.close()
    document = json.loads(content[:length])
    assert answer.status == 200, document
    return document["outputs"][0]["shape"], content[length:], document["model_version"]


def ask_grpc(server: TritonServer, request: bytes) -> Answer:
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer: Any = service_pb2.ModelInferResponse.FromString(call(request, timeout=30))
    return list(answer.outputs[0].shape), answer.raw_output_contents[0], answer.model_version


def encoded(
    server: TritonServer,
    model: str,
    batch_size: int = 1,
    version: str = "",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    protocol: str = "http",
) -> bytes:
    workload = Workload(model, batch_size, 1, version)
    info = server.model(model, version)
    samples = [input_tensors(info, batch_size, shapes or {})]
    if protocol == "grpc":
        ((request,),) = encode_grpc(info, workload, samples)
    else:
        ((request,),) = encode_http(info, workload, server.url, samples)
    return request


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("model", "batch_size", "shape"), CASES)
def test_an_identity_gives_back_what_was_sent(
    loaded: TritonServer, model: str, batch_size: int, shape: list[int], protocol: str
) -> None:
    if model == "bytes" and loaded.notes:
        pytest.skip("BYTES cannot pass this stub with NumPy 2")
    request = encoded(loaded, model, batch_size, protocol=protocol)
    answer = {"http": ask_http, "grpc": ask_grpc}[protocol](loaded, request)
    assert answer[0] == shape
    (array,) = input_tensors(loaded.model(model), batch_size, {}).values()
    assert answer[1] == tensor_bytes(array)
    assert answer[1] in request


def test_tensors_travel_as_bytes_not_as_text(loaded: TritonServer) -> None:
    for protocol in ("http", "grpc"):
        assert 2_000_000 < len(encoded(loaded, "large", protocol=protocol)) < 2_000_600


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_optional_input_is_sent_only_with_a_shape(loaded: TritonServer, protocol: str) -> None:
    ask = {"http": ask_http, "grpc": ask_grpc}[protocol]
    choices: tuple[dict[str, tuple[int, ...]], ...] = ({}, {"A": (2,)})
    for shapes in choices:
        request = encoded(loaded, "two", 3, shapes=shapes, protocol=protocol)
        assert (b"INT64" in request) == ("A" in shapes)
        assert ask(loaded, request)[0] == [3, 4]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_version_is_asked_for_by_its_number(loaded: TritonServer, protocol: str) -> None:
    ask = {"http": ask_http, "grpc": ask_grpc}[protocol]
    for version, expected in (("2", "2"), ("10", "10"), ("", "10")):
        request = encoded(loaded, "versioned", version=version, protocol=protocol)
        assert ask(loaded, request)[2] == expected


def test_each_sample_is_a_request_of_its_own(loaded: TritonServer) -> None:
    info, workload = loaded.model("identity"), Workload("identity", 1, 3)
    samples = [{"INPUT0": np.full((1, 16), value, np.float32)} for value in range(4)]
    for slots, ask in (
        (encode_http(info, workload, loaded.url, samples), ask_http),
        (encode_grpc(info, workload, samples), ask_grpc),
    ):
        (requests,) = slots  # the same for every slot
        answers = [np.frombuffer(ask(loaded, request)[1], np.float32)[0] for request in requests]
        assert answers == [0, 1, 2, 3]


def test_a_strange_model_name_is_quoted() -> None:
    model = ModelInfo("gäit net/1", ("1",), 4, (_X,), (), "python", decoupled=False)
    workload = Workload("gäit net/1", 1, 1)
    ((request,),) = encode_http(model, workload, "h:1", [{"X": np.zeros((1, 2), np.float32)}])
    assert request.startswith(b"POST /v2/models/g%C3%A4it%20net%2F1/infer HTTP/1.1\r\nHost: h:1\r")


def test_a_message_that_protobuf_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_LARGEST_MESSAGE", 5000)
    model = ModelInfo("big", ("1",), 0, (_X,), (), "python", decoupled=False)
    workload = Workload("big", 1, 1)
    with pytest.raises(ConfigurationError, match=r"big-b1-c1: .* above the 2 GiB that gRPC"):
        encode_grpc(model, workload, [{"X": np.zeros(2000, np.float32)}])


_X = TensorSpec("X", "FP32", (2,), optional=False)
