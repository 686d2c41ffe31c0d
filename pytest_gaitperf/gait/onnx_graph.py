"""A network's description -> the bytes of an ONNX file with seeded random weights.

Imported only when weights must be built: numpy and onnx are heavy.
"""

from __future__ import annotations

from itertools import count
from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pytest_gaitperf.gait.networks import Convolution, Network


def build(network: Network, *, seed: int, opset: int, ir_version: int, producer: str) -> bytes:
    """Return the ONNX file: ``input`` [batch, ...] -> ``code`` [batch, code size], both FP32.

    The same arguments give the same bytes. Weights are uniform with He's variance, 2 / inputs
    (1 / inputs where no ReLU follows), so that activations keep their scale through the layers:
    K. He et al., "Delving Deep into Rectifiers", 2015.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    fresh = count()
    value = "input"

    def then(operator: str, *parameters: str, **attributes: Any) -> None:
        nonlocal value
        name = f"{operator.lower()}_{next(fresh)}"
        nodes.append(
            helper.make_node(operator, [value, *parameters], [name], name=name, **attributes)
        )
        value = name

    axes = len(network.input_shape)
    if network.channels_last:
        then("Transpose", perm=[0, axes, *range(1, axes)])
    flat = False
    shapes = network.weight_shapes()
    for index, (layer, shape) in enumerate(zip(network.layers, shapes, strict=True)):
        inputs = prod(shape[1:])
        random = np.random.PCG64(np.random.SeedSequence([seed, index]))
        weight = _uniform(random, shape, sqrt((6 if layer.relu else 3) / inputs))
        bias = _uniform(random, shape[:1], sqrt(1 / inputs))
        names = f"weight_{index}", f"bias_{index}"
        weights += [
            numpy_helper.from_array(weight, names[0]),
            numpy_helper.from_array(bias, names[1]),
        ]
        if isinstance(layer, Convolution):
            then("Conv", *names, kernel_shape=layer.kernel, strides=layer.strides)
        else:
            if not flat:
                then("Flatten")
                flat = True
            then("Gemm", *names, transB=1)
        if layer.relu:
            then("Relu")
        if isinstance(layer, Convolution) and layer.pool > 1:
            window = [layer.pool] * len(layer.kernel)
            then("MaxPool", kernel_shape=window, strides=window)
    if not flat:
        then("Flatten")
    nodes[-1].output[0] = "code"

    graph = helper.make_graph(
        nodes,
        "gait",
        [
            helper.make_tensor_value_info(
                "input", TensorProto.FLOAT, ["batch", *network.input_shape]
            )
        ],
        [helper.make_tensor_value_info("code", TensorProto.FLOAT, ["batch", network.code_size])],
        weights,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        producer_name=producer,
        ir_version=ir_version,
    )
    serialized: bytes = model.SerializeToString()
    return serialized


def _uniform(
    random: np.random.PCG64, shape: tuple[int, ...], bound: float
) -> npt.NDArray[np.float32]:
    """Draw from [-bound, bound) with 24 random bits per number.

    Taken from the raw stream of the bit generator, which numpy promises never to change (NEP 19);
    it promises no such thing for the methods of Generator, and the weights' hash must not depend
    on numpy's version.
    """
    size = prod(shape)
    bits = random.random_raw((size + 1) // 2).astype("<u8", copy=False).view("<u4")[:size]
    unit = (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (unit * np.float32(bound)).reshape(shape)
