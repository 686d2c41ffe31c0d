"""Every network in every precision computes what its description says.

The judge is a plain evaluation of the description in float64 (``evaluating.py``), independent of
onnx, onnxruntime and our graphs. Networks are pruned by 90 %, so that it takes seconds.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo import onnx_graph
from pytest_gaitperf.zoo.networks import LOCAL_PRECISIONS, NETWORKS, SEED, Variant, estimated_bytes
from pytest_gaitperf.zoo.targets import LOCAL
from tests.zoo.evaluating import evaluate

Array = npt.NDArray[np.float32]

# Root mean square of the error over the SD of the code.
TOLERANCES = {"fp32": 1e-5, "fp16": 0.005, "int8": 0.1}
SMALL = [Variant(network, kind, 90) for network in NETWORKS for kind in LOCAL_PRECISIONS]


@cache
def built(variant: Variant) -> bytes:
    return onnx_graph.reference(variant)


def samples(variant: Variant, batch: int) -> Array:
    return np.random.default_rng(11).random(
        (batch, *variant.describe().input_shape), dtype=np.float32
    )


def served(content: bytes, batch: Array) -> Array:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (codes,) = session.run(["code"], {"input": batch})
    return np.asarray(codes)


@cache
def expected(network: str) -> npt.NDArray[np.float64]:
    described = NETWORKS[network].pruned(90)
    sample = samples(Variant(network, "fp32", 90), 1)[0].astype(np.float64)
    return evaluate(described, onnx_graph.seeded_weights(described, SEED), sample)


def error(code: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((code - truth) ** 2)) / truth.std())


@pytest.mark.parametrize("variant", SMALL, ids=lambda variant: variant.name)
def test_the_code_is_that_of_the_description(variant: Variant) -> None:
    truth = expected(variant.network)
    assert truth.std() > 0.1, "a code that is all alike says nothing"
    (code,) = served(built(variant), samples(variant, 1))
    assert code.dtype == np.float32
    assert error(code, truth) < TOLERANCES[variant.precision]


@pytest.mark.parametrize("variant", SMALL, ids=lambda variant: variant.name)
def test_a_batch_of_any_precision_equals_its_samples_one_by_one(variant: Variant) -> None:
    batch = samples(variant, 3)
    alone = np.concatenate([served(built(variant), batch[i : i + 1]) for i in range(3)])
    assert error(served(built(variant), batch), alone) < 1e-3
    assert len({row.tobytes() for row in alone}) == 3


def test_the_frames_of_a_set_have_no_order() -> None:
    variant = Variant("GaitSet", "fp32", 90)
    batch = samples(variant, 1)
    shuffled = np.ascontiguousarray(batch[:, np.random.default_rng(5).permutation(30)])
    code = served(built(variant), batch)
    np.testing.assert_allclose(served(built(variant), shuffled), code, rtol=0, atol=1e-5)
    repeated = np.ascontiguousarray(batch[:, [*range(29), 0]])
    assert not np.allclose(served(built(variant), repeated), code, atol=1e-4)


class QuantizeLinear(OpRun):
    """The operator of opset 13, which onnx's own evaluator leaves out."""

    # What later opsets added comes along, as None.
    def _run(
        self, value: Array, scale: Array, zero: npt.NDArray[np.int8], axis: int, **_: object
    ) -> tuple[npt.NDArray[np.int8]]:
        info = np.iinfo(zero.dtype)
        levels = np.rint(value / _along(scale, value, axis)) + _along(zero, value, axis)
        return (np.clip(levels, info.min, info.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """The operator of opset 13."""

    def _run(
        self, levels: Array, scale: Array, zero: Array, axis: int, **_: object
    ) -> tuple[Array]:
        centred = levels.astype(np.float32) - _along(zero, levels, axis).astype(np.float32)
        return (centred * _along(scale, levels, axis),)


def _along(values: npt.NDArray[Any], like: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    if values.size == 1:
        return values.reshape(())
    shape = [1] * like.ndim
    shape[axis] = -1
    return values.reshape(shape)


def referee(model: onnx.ModelProto, sample: Array) -> npt.NDArray[np.float64]:
    onnx.checker.check_model(model, full_check=True)
    evaluator = ReferenceEvaluator(model, new_ops=[QuantizeLinear, DequantizeLinear])
    outputs = evaluator.run(["code"], {"input": sample})
    assert isinstance(outputs, list)
    return np.asarray(outputs[0], np.float64)


@pytest.mark.parametrize("network", sorted(NETWORKS))
@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_onnxruntime_and_the_reference_evaluator_agree_on_converted_graphs(
    network: str, kind: str
) -> None:
    """Both round, at other places: they differ by less than the conversion itself may cost."""
    variant = Variant(network, kind, 90)
    sample = samples(variant, 1)
    reference = referee(onnx.load_from_string(built(variant)), sample)
    assert error(served(built(variant), sample), reference) < TOLERANCES[kind] / 2


@cache
def for_tensorrt(network: str) -> onnx.ModelProto:
    return onnx_graph.to_int8(
        onnx.load_from_string(built(Variant(network, "fp32", 90))),
        onnx_graph.calibration_samples(Variant(network, "int8", 90)),
        tensorrt=True,
    )


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_the_graph_for_tensorrt_computes_the_code(network: str) -> None:
    """By the reference evaluator only: its weights have 8 bits, which overflow in some CPUs."""
    (code,) = referee(for_tensorrt(network), samples(Variant(network, "int8", 90), 1))
    assert error(code, expected(network)) < TOLERANCES["int8"]


def dtypes(content: bytes) -> dict[str, int]:
    graph = onnx.load_from_string(content).graph
    return {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_fp16_has_all_weights_in_fp16_and_its_tensors_in_fp32() -> None:
    content = built(Variant("GaitSet", "fp16", 90))
    model = onnx.load_from_string(content)
    kinds = {kind for name, kind in dtypes(content).items() if not name.startswith("shape")}
    assert kinds == {onnx.TensorProto.FLOAT16}
    ends = [*model.graph.input, *model.graph.output]
    assert [end.type.tensor_type.elem_type for end in ends] == [onnx.TensorProto.FLOAT] * 2
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 2


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_int8_quantizes_every_layer_by_filter_and_symmetrically(network: str) -> None:
    """No weight is left in FP32; zero points are 0, as TensorRT wants; scales are per filter."""
    variant = Variant(network, "int8", 90)
    graph = onnx.load_from_string(built(variant)).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = variant.describe().layers_with_weights()
    weights = [values[f"weight_{index}_quantized"] for index in range(len(layers))]
    assert [weight.shape for weight in weights] == [layer.weight_shape for layer in layers]
    assert {weight.dtype for weight in weights} == {np.dtype(np.int8)}
    # 7 bits: two products of 8 bits overflow the 16 bits in which x86 without VNNI adds them.
    assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) == 64
    for index, layer in enumerate(layers):
        # QLinearMatMul of older onnxruntimes takes one scale for stacked matrices.
        scales = 1 if layer.name == "projection" else layer.weight_shape[0]
        assert values[f"weight_{index}_scale"].size == scales
    for name, value in values.items():
        if name.endswith("zero_point"):
            assert not value.any()


def test_int8_for_tensorrt_keeps_its_weights_and_biases_in_fp32() -> None:
    kinds = dtypes(for_tensorrt("2D").SerializeToString())
    assert {kinds[f"{what}_{i}"] for what in ("weight", "bias") for i in range(6)} == {
        onnx.TensorProto.FLOAT
    }


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_a_conversion_gives_the_same_bytes_again(kind: str) -> None:
    variant = Variant("3D", kind, 90)
    assert onnx_graph.reference(variant) == built(variant)


@pytest.mark.parametrize("kind", LOCAL_PRECISIONS)
def test_a_file_is_about_as_large_as_estimated(kind: str) -> None:
    variant = Variant("2D", kind, 90)
    assert len(built(variant)) == pytest.approx(estimated_bytes(variant), rel=0.03)


def test_best_is_none_for_a_cpu() -> None:
    with pytest.raises(ConfigurationError, match=r"TensorRT's builder.*fp32, fp16 or int8"):
        LOCAL.check("3D_best_0_batchd", "best")
