from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load.request import EncodedRequest, encode_http, input_tensors
from pytest_gaitperf.triton.models import ModelInfo, TensorSpec
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer


def ask(server: TritonServer, request: EncodedRequest) -> tuple[int, dict[str, object], bytes]:
    """Send the encoded bytes as they are; return status, JSON part and binary part."""
    head, _, body = request.data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split()
    connection = http.client.HTTPConnection(server.url, timeout=30)
    try:
        fields = dict(line.split(": ", 1) for line in lines)
        connection.request(method, path, body=body, headers=fields)
        answer = connection.getresponse()
        content = answer.read()
        length = int(answer.headers.get("Inference-Header-Content-Length", len(content)))
        return answer.status, json.loads(content[:length]), content[length:]
    finally:
        connection.close()


def encoded(
    server: TritonServer,
    model: str,
    batch_size: int = 1,
    version: str = "",
    shapes: dict[str, tuple[int, ...]] | None = None,
) -> EncodedRequest:
    workload = Workload(model, batch_size, 1, version)
    return encode_http(server.model(model, version), workload, server.url, shapes)


@pytest.mark.parametrize(
    ("model", "batch_size", "shape"),
    [
        ("identity", 1, [1, 16]),
        ("identity", 8, [8, 16]),
        ("int64", 2, [2, 2]),
        ("bool", 2, [2, 2]),
        ("fp16", 2, [2, 2]),
        ("uint8", 2, [2, 2]),
        ("bytes", 2, [2, 2]),
        ("unbatched", 1, [16]),
    ],
)
def test_an_identity_gives_back_what_was_sent(
    loaded: TritonServer, model: str, batch_size: int, shape: list[int]
) -> None:
    if model == "bytes" and loaded.notes:
        pytest.skip("BYTES cannot pass this stub with NumPy 2")
    request = encoded(loaded, model, batch_size)
    status, answer, tensors = ask(loaded, request)
    assert status == 200, answer
    assert isinstance(answer["outputs"], list)
    assert answer["outputs"][0]["shape"] == shape
    assert len(tensors) > 0
    assert request.data.endswith(tensors)


def test_tensors_travel_as_bytes_not_as_text(loaded: TritonServer) -> None:
    request = encoded(loaded, "large")
    assert 2_000_000 < request.body_bytes < 2_001_000
    assert len(request.data) - request.body_bytes < 400


def test_an_optional_input_is_left_out(loaded: TritonServer) -> None:
    request = encoded(loaded, "two", 3)
    assert b'"B"' in request.data
    assert b'"A"' not in request.data
    status, answer, tensors = ask(loaded, request)
    assert status == 200, answer
    assert len(tensors) == 3 * 4 * 4


def test_an_optional_input_with_a_shape_is_sent(loaded: TritonServer) -> None:
    request = encoded(loaded, "two", 3, shapes={"A": (2,)})
    assert b'"A"' in request.data
    assert ask(loaded, request)[0] == 200


def test_a_dynamic_tensor_takes_its_shape_from_the_grid(loaded: TritonServer) -> None:
    status, answer, tensors = ask(loaded, encoded(loaded, "dynamic", 2, shapes={"INPUT0": (5, 2)}))
    assert status == 200, answer
    assert len(tensors) == 2 * 5 * 2 * 4


@pytest.mark.parametrize(
    ("model", "shapes", "message"),
    [
        (
            "dynamic",
            {},
            r"'INPUT0' has the dynamic shape \[-1, 2\].* \[shapes.dynamic\] INPUT0 = \[16, 2\]",
        ),
        ("dynamic", {"INPUT0": (5, 3)}, r"shape \[-1, 2\], and the grid asks for \[5, 3\]"),
        ("dynamic", {"INPUT0": (5,)}, r"the grid asks for \[5\]"),
        ("identity", {"INPUT0": (17,)}, r"shape \[16\], and the grid asks for \[17\]"),
        ("identity", {"IMPUT0": (16,)}, "no input tensor 'IMPUT0'.*its inputs are INPUT0"),
    ],
)
def test_a_shape_that_does_not_fit_names_the_tensor(
    loaded: TritonServer, model: str, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        encoded(loaded, model, shapes=shapes)


def test_a_version_is_asked_for_by_its_number(loaded: TritonServer) -> None:
    for version, expected in (("2", "2"), ("10", "10"), ("", "10")):
        status, answer, _ = ask(loaded, encoded(loaded, "versioned", version=version))
        assert (status, answer["model_version"]) == (200, expected)


def test_the_same_bytes_in_every_session_and_others_with_another_seed(
    loaded: TritonServer,
) -> None:
    model = loaded.model("identity")
    assert encoded(loaded, "identity", 4) == encoded(loaded, "identity", 4)
    first, again = (input_tensors(model, 4, {})["INPUT0"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = input_tensors(model, 4, {}, seed=1)["INPUT0"]
    assert not np.array_equal(first, other)
    # No two samples of a batch are alike: a cache per sample would show.
    assert len({sample.tobytes() for sample in first}) == 4


def model_of(*inputs: TensorSpec, name: str = "model") -> ModelInfo:
    return ModelInfo(name, ("1",), 4, inputs, (), "python", decoupled=False)


def test_random_data_lies_where_models_expect_it() -> None:
    datatypes = ("FP16", "FP32", "FP64", "INT8", "INT32", "UINT8", "UINT64", "BOOL", "BYTES")
    model = model_of(*(TensorSpec(kind, kind, (200,), optional=False) for kind in datatypes))
    tensors = input_tensors(model, 3, {})
    assert all(array.shape == (3, 200) for array in tensors.values())
    for kind in ("FP16", "FP32", "FP64"):
        assert 0 <= tensors[kind].min() < 0.1
        assert 0.9 < tensors[kind].max() <= 1
    for kind in ("INT8", "INT32", "UINT8", "UINT64"):
        assert (tensors[kind].min(), tensors[kind].max()) == (0, 127)
    assert set(tensors["BOOL"].ravel().tolist()) == {False, True}
    assert {len(text) for text in tensors["BYTES"].ravel()} == {16}


def test_a_model_whose_inputs_are_all_optional_gets_them_all() -> None:
    model = model_of(
        TensorSpec("A", "FP32", (2,), optional=True), TensorSpec("B", "FP32", (2,), optional=True)
    )
    assert list(input_tensors(model, 1, {})) == ["A", "B"]


def test_a_datatype_that_cannot_be_generated_is_named() -> None:
    model = model_of(TensorSpec("X", "FP8", (2,), optional=False))
    with pytest.raises(ConfigurationError, match="input tensor 'X' has datatype FP8"):
        input_tensors(model, 1, {})


def test_a_strange_model_name_is_quoted() -> None:
    model = model_of(TensorSpec("X", "FP32", (2,), optional=False), name="gäit net/1")
    request = encode_http(model, Workload("gäit net/1", 1, 1), "127.0.0.1:8000")
    assert request.data.startswith(b"POST /v2/models/g%C3%A4it%20net%2F1/infer HTTP/1.1\r\n")
