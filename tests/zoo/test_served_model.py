"""The served model.py, outside Triton.

``triton_python_backend_utils`` needs a C module that exists only in Triton's stub process, so a
fake of the few names that model.py uses stands in for it here; the plugin's own suite runs the
same file in a real server.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from pytest_gaitperf.zoo.networks import Variant
from pytest_gaitperf.zoo.repository import ensure_built

if TYPE_CHECKING:
    from pathlib import Path

VARIANT = Variant.parse("3D_fp32_97_batchd")
Array = npt.NDArray[np.float32]


class FakeTensor:
    def __init__(self, name: str, array: Array) -> None:
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array


class FakeResponse:
    def __init__(self, output_tensors: list[FakeTensor], error: Exception | None = None) -> None:
        self.output_tensors = output_tensors
        self.error = error


def fake_utils() -> ModuleType:
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor = FakeTensor
    module.InferenceResponse = FakeResponse
    module.TritonError = type("TritonError", (Exception,), {})
    module.TritonModelException = type("TritonModelException", (Exception,), {})
    # A fake request is the list of its tensors.
    module.get_input_tensor_by_name = lambda request, name: next(
        tensor for tensor in request if tensor.name() == name
    )
    utils: ModuleType = module
    return utils


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository")
    ensure_built(path, [VARIANT], lambda _: None)
    return path


Load = Callable[..., Any]


@pytest.fixture
def load(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake_utils())

    def load_model(version: str = "1", input_name: str = "input") -> Any:
        spec = importlib.util.spec_from_file_location(
            "served_model", repository / VARIANT.name / "1" / "model.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = {
            "max_batch_size": 32,
            "input": [{"name": input_name, "data_type": "TYPE_FP32"}],
            "output": [{"name": "code", "data_type": "TYPE_FP32"}],
        }
        model = module.TritonPythonModel()
        model.initialize(
            {
                "model_name": VARIANT.name,
                "model_config": json.dumps(config),
                "model_repository": str(repository / VARIANT.name),
                "model_version": version,
            }
        )
        return model

    return load_model


def samples(*batches: int) -> list[Array]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal((size, 25, 60, 60, 2), dtype=np.float32) for size in batches]


@pytest.mark.parametrize("sizes", [(1,), (4,), (1, 1), (1, 3, 2)])
def test_each_request_gets_the_codes_of_its_own_samples(
    load: Load, repository: Path, sizes: tuple[int, ...]
) -> None:
    batches = samples(*sizes)
    responses = load().execute([[FakeTensor("input", batch)] for batch in batches])
    session = onnxruntime.InferenceSession(repository / VARIANT.name / "1" / "model.onnx")
    assert len(responses) == len(sizes)
    for batch, response in zip(batches, responses, strict=True):
        (tensor,) = response.output_tensors
        assert tensor.name() == "code"
        assert tensor.as_numpy().flags.c_contiguous
        (alone,) = session.run(["code"], {"input": batch})
        np.testing.assert_allclose(tensor.as_numpy(), alone, rtol=0, atol=1e-5)


def test_the_requests_of_a_batch_run_at_once(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load()
    ran: list[int] = []
    session = model._session

    class Counting:
        def run(self, outputs: list[str], inputs: dict[str, Array]) -> Any:
            ran.append(len(inputs["input"]))
            return session.run(outputs, inputs)

    monkeypatch.setattr(model, "_session", Counting())
    model.execute([[FakeTensor("input", batch)] for batch in samples(2, 1, 3)])
    assert ran == [6]


def test_it_uses_one_thread(load: Load) -> None:
    options = load()._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_batch_that_cannot_run_fails_each_of_its_requests(load: Load) -> None:
    wrong = np.zeros((1, 2, 2, 2, 2), np.float32)
    responses = load().execute([[FakeTensor("input", wrong)], [FakeTensor("input", wrong)]])
    assert [response.output_tensors for response in responses] == [[], []]
    for response in responses:
        assert "cannot run the batch" in str(response.error)
    assert responses[0].error is not responses[1].error, "one that is shared crashes the server"


def test_missing_weights_say_how_to_build_them(load: Load) -> None:
    with pytest.raises(Exception, match=f"does not exist.*gaitperf models build {VARIANT.name}"):
        load(version="7")


def test_broken_weights_say_how_to_build_them_again(load: Load, repository: Path) -> None:
    broken = repository / VARIANT.name / "2"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(Exception, match=r"cannot load .*2/model\.onnx.*build --force"):
        load(version="2")


def test_a_config_with_another_input_is_refused(load: Load) -> None:
    with pytest.raises(Exception, match=r"names the input 'flow', but .* has input"):
        load(input_name="flow")


def test_without_onnxruntime_the_extra_is_named(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Exception, match=r"pip install 'pytest-gaitperf\[local\]'"):
        load()
