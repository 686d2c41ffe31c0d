"""The committed model.py on the real server gives what the network gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton_http

from pytest_gaitperf.gait.repository import ensure_built
from pytest_gaitperf.gait.variants import Variant
from pytest_gaitperf.triton.options import ServerOptions
from pytest_gaitperf.triton.server import open_server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["3D_fp32_80_batchd", "2D_fp32_80_batchd"])
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
    assert answer is not None
    assert np.ptp(expected) > 0.1, "a network that answers alike to all says nothing"
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
