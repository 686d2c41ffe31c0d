"""The arithmetic that descriptions count is that of the graphs."""

from __future__ import annotations

from math import prod

import onnx
import pytest
from onnx import shape_inference

from pytest_gaitperf.zoo import onnx_graph
from pytest_gaitperf.zoo.networks import NETWORKS, Chain, Convolution, Dense, Layer, Variant


def walked(variant: Variant) -> list[tuple[tuple[int, ...], int]]:
    """Return each layer's weights' shape and FLOPs, from the shapes in the graph."""
    network = variant.describe()
    weights = onnx_graph.seeded_weights(network, 1)
    model = onnx_graph.build(network, weights)
    # One sample: all shapes are numbers then.
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.output[:]
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    } | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    rows = []
    for node in graph.node:
        if node.op_type not in {"Conv", "Gemm", "MatMul"}:
            continue
        weight, output = shapes[node.input[1]], shapes[node.output[0]]
        inputs = shapes[node.input[0]][-1] if node.op_type == "MatMul" else prod(weight[1:])
        rows.append((weight, 2 * inputs * prod(output)))
    return rows


@pytest.mark.parametrize("network", sorted(NETWORKS))
@pytest.mark.parametrize("pruned", [0, 40, 90])
def test_layer_by_layer_the_description_counts_what_the_graph_computes(
    network: str, pruned: int
) -> None:
    variant = Variant(network, "fp32", pruned)
    layers = variant.describe().layers_with_weights()
    assert walked(variant) == [(layer.weight_shape, layer.flops) for layer in layers]
    assert variant.describe().flops == sum(layer.flops for layer in layers)


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_parameters_are_the_numbers_in_the_file(network: str) -> None:
    described = NETWORKS[network].pruned(40)
    weights = onnx_graph.seeded_weights(described, 1)
    model = onnx_graph.build(described, weights)
    stored = sum(
        prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    )
    assert stored == described.parameters


def test_gaitset_has_its_published_parameters() -> None:
    """OpenGait's program counts 2.59459 million for the same network."""
    # Frames: 5x5 1 -> 32, 3x3 32 -> 32 -> 64 -> 64 -> 128 -> 128; the set branch from the 64 on.
    frames = 25 * 32 + 9 * (32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    sets = 9 * (32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    assert NETWORKS["GaitSet"].parameters == frames + sets + 62 * 128 * 256 == 2_594_592


def test_flops_counted_by_hand() -> None:
    network = Chain(
        input_shape=(2, 7, 6),
        channels_last=False,
        layers=(Convolution(3, (2, 3), (1, 2), pool=2), Dense(5, relu=False)),
    )
    # 3 x 6 x 2 sums of 2 x 2 x 3 products, then 5 sums of 9.
    assert network.flops == 2 * (36 * 12 + 5 * 9)


def test_a_set_layer_runs_once_for_each_frame() -> None:
    layers = {layer.name: layer for layer in NETWORKS["GaitSet"].layers_with_weights()}
    assert list(layers) == [
        *("frame1", "frame2", "frame3", "frame4", "set1", "set2"),
        *("frame5", "frame6", "set3", "set4", "projection"),
    ]
    assert layers["frame3"].weight_shape == layers["set1"].weight_shape
    assert layers["frame3"].flops == 30 * layers["set1"].flops
    assert layers["projection"] == Layer("projection", (62, 128, 256), 0, (62, 256), 128, None)
    assert layers["projection"].flops == 2 * 62 * 128 * 256
