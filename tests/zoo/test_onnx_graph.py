"""The ONNX graphs compute what the description says, by an evaluator that is not onnxruntime."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from pytest_gaitperf.zoo import onnx_graph
from pytest_gaitperf.zoo.networks import REFERENCE_VARIANTS, SEED, Variant

Array = npt.NDArray[np.float32]
TINY = tuple(Variant(network, "fp32", 97) for network in ("3D", "2D", "GaitSet"))


def built(variant: Variant, seed: int = SEED) -> bytes:
    network = variant.describe()
    model = onnx_graph.build(network, onnx_graph.seeded_weights(network, seed))
    content: bytes = model.SerializeToString()
    return content


def samples(variant: Variant, batch: int) -> Array:
    shape = (batch, *variant.describe().input_shape)
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


def served(content: bytes, batch: Array) -> Array:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (codes,) = session.run(["code"], {"input": batch})
    return np.asarray(codes)


# The whole GaitSet takes the evaluator 8 s.
@pytest.mark.parametrize(
    "variant",
    [
        REFERENCE_VARIANTS[0],
        *(
            pytest.param(variant, marks=pytest.mark.slow)
            for variant in (*REFERENCE_VARIANTS[1:3], Variant("GaitSet", "fp32", 70))
        ),
    ],
    ids=lambda variant: variant.name,
)
def test_onnxruntime_agrees_with_the_reference_evaluator(variant: Variant) -> None:
    content = built(variant)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    sample = samples(variant, 1)
    outputs = ReferenceEvaluator(model).run(["code"], {"input": sample})
    assert isinstance(outputs, list)
    expected = np.asarray(outputs[0])
    codes = served(content, sample)
    assert codes.shape == (1, variant.describe().code_size)
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-4 * float(np.std(expected)))
    # He's scale: the code is neither lost nor blown up (GaitSet adds maxima on its way).
    assert 0.1 < float(np.std(codes)) < 20


@pytest.mark.parametrize("variant", TINY, ids=lambda variant: variant.name)
def test_a_batch_equals_its_samples_one_by_one(variant: Variant) -> None:
    content = built(variant)
    batch = samples(variant, 5)
    alone = np.concatenate([served(content, batch[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(served(content, batch), alone, rtol=0, atol=1e-5)
    assert len({row.tobytes() for row in alone}) == 5


@pytest.mark.parametrize(
    ("name", "spatial"),
    [
        (
            "3D",
            [(23, 28, 28), (21, 13, 13), (10, 6, 6), (4, 2, 2), (2, 1, 1), (1, 1, 1), (1, 1, 1)],
        ),
        ("2D", [(54, 54), (23, 23), (9, 9), (3, 3)]),
    ],
)
def test_layers_have_the_shapes_of_the_architecture(
    name: str, spatial: list[tuple[int, ...]]
) -> None:
    variant = Variant(name, "fp32", 0)
    inferred = shape_inference.infer_shapes(
        onnx.load_from_string(built(variant)), check_type=True, strict_mode=True
    )
    dims = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    }
    nodes = inferred.graph.node
    convolutions = [dims[node.output[0]] for node in nodes if node.op_type == "Conv"]
    assert [tuple(shape[2:]) for shape in convolutions] == spatial
    assert dims["input"] == ["batch", *variant.describe().input_shape]
    assert dims["code"] == ["batch", variant.describe().code_size]
    assert {shape[0] for shape in dims.values()} == {"batch"}
    assert [entry.version for entry in inferred.opset_import] == [13]


def test_the_3d_input_is_channels_last() -> None:
    """Exchanging the flow's x and y changes the code; they are the last axis."""
    content = built(TINY[0])
    sample = samples(TINY[0], 1)
    first = onnx.load_from_string(content).graph.node[0]
    assert first.op_type == "Transpose"
    assert list(first.attribute[0].ints) == [0, 4, 1, 2, 3]
    assert not np.allclose(served(content, sample), served(content, sample[..., ::-1].copy()))


@pytest.mark.parametrize("variant", TINY, ids=lambda variant: variant.name)
def test_the_same_recipe_gives_the_same_bytes(variant: Variant) -> None:
    assert built(variant) == built(variant)
    assert built(variant, seed=1) != built(variant, seed=2)


def test_weights_are_uniform_with_the_variance_of_he() -> None:
    variant = Variant.parse("3D_fp32_40_batchd")
    tensors = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(built(variant)).graph.initializer
    }
    for index, layer in enumerate(variant.describe().layers_with_weights()):
        weight = tensors[f"weight_{index}"]
        inputs = weight[0].size
        gain = 1 if layer.slope is None else 2
        assert weight.shape == layer.weight_shape
        assert float(np.var(weight)) == pytest.approx(gain / inputs, rel=0.05)
        assert abs(float(np.mean(weight))) < 0.05 * float(np.std(weight))
        assert float(np.abs(weight).max()) <= (3 * gain / inputs) ** 0.5 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("3D_fp32_97_batchd", "50b3eba66742fc41cabd41c08867f020f3e54a55d88bb0780ad128e3d9ca107c"),
        ("2D_fp32_97_batchd", "bac4dc0941cb860a121cad66d571d950f16dfec717b5d8c18f92b644962e6630"),
        (
            "GaitSet_fp32_97_batchd",
            "c3622b3c8e7a9e3c71663a3747ceb5492ddfe354e2b3b6577da037711dd7743b",
        ),
    ],
)
def test_the_graph_is_the_one_of_its_definition_number(name: str, digest: str) -> None:
    """Weights and nodes are pinned, on every numpy, onnx and Python.

    Where this fails on purpose, raise GRAPH_DEFINITION, so that everybody's weights are rebuilt.
    """
    graph = onnx.load_from_string(built(Variant.parse(name))).graph
    content = hashlib.sha256()
    for node in graph.node:
        attributes = [
            (entry.name, list(entry.ints) or entry.i or entry.f) for entry in node.attribute
        ]
        description = (node.op_type, list(node.input), list(node.output), sorted(attributes))
        content.update(repr(description).encode())
    for tensor in graph.initializer:
        content.update(numpy_helper.to_array(tensor).astype("<f4").tobytes())
    assert content.hexdigest() == digest
