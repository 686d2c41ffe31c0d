"""The committed model.py on the real server gives what the network gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton_http

from pytest_gaitperf.load.encode import encode_grpc, encode_http
from pytest_gaitperf.load.loops import ClosedLoop
from pytest_gaitperf.load.shared_memory import SharedTensors
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from pytest_gaitperf.zoo.networks import Variant
from pytest_gaitperf.zoo.repository import ensure_built

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from pytest_gaitperf.triton.server import TritonServer


@pytest.mark.parametrize(
    "name",
    [
        "3D_fp32_80_batchd",
        pytest.param("2D_fp16_80_batchd", marks=pytest.mark.slow),
        pytest.param("GaitSet_int8_80_batchd", marks=pytest.mark.slow),
    ],
)
def test_the_server_answers_as_the_network_does(tmp_path: Path, name: str) -> None:
    variant = Variant.parse(name)
    ensure_built(tmp_path, [variant], print)
    weights = tmp_path / name / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    shape = (3, *session.get_inputs()[0].shape[1:])
    samples = np.random.default_rng(7).standard_normal(shape, dtype=np.float32)
    (expected,) = session.run(None, {"input": samples})
    with open_server(ServerOptions(mode="local", repository=tmp_path, models=(name,))) as server:
        client = triton_http.InferenceServerClient(server.url)
        try:
            tensor = triton_http.InferInput("input", list(shape), "FP32")
            tensor.set_data_from_numpy(samples)
            answer = client.infer(name, [tensor]).as_numpy("code")
        finally:
            client.close()
        through_memory = _through_shared_memory(server, name, samples)
    for code in through_memory:
        np.testing.assert_allclose(code, expected.ravel(), rtol=1e-4, atol=1e-5)
    assert answer is not None
    assert np.ptp(expected) > 0.1, "a network that answers alike to all says nothing"
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


def _through_shared_memory(
    server: TritonServer, name: str, samples: npt.NDArray[np.float32]
) -> list[npt.NDArray[np.float32]]:
    """Return what the model writes into the region: asked over HTTP, and over gRPC."""
    model, workload, inputs = (
        server.model(name),
        Workload(name, len(samples), 2),
        [{"input": samples}],
    )
    codes = []
    with SharedTensors(Api(server.host, server.http_port), model, workload, inputs, 2) as shared:
        place = shared.places.outputs[1]["code"]
        content = slice(place.offset, place.offset + place.size)
        for load in (
            ClosedLoop(
                server.host,
                server.http_port,
                encode_http(model, workload, server.url, inputs, shared.places),
                workload.concurrency,
            ),
            ClosedLoop(
                server.host,
                server.grpc_port,
                encode_grpc(model, workload, inputs, shared.places),
                workload.concurrency,
                protocol="grpc",
            ),
        ):
            shared.memory[content] = bytes(place.size)
            with load:
                record = load.run(lambda record, _now_ns: record.requests < 2, 0.01)
            assert record.failures == 0
            codes.append(np.frombuffer(shared.memory[content], np.float32))
    return codes
