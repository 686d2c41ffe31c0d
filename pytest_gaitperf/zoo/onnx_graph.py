"""ONNX models of the networks: the graph with its weights, seeded or a user's own.

numpy and onnx are heavy and optional: only what builds or imports weights imports this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pytest_gaitperf.zoo.networks import Chain, Convolution, Network, SetNetwork, Stage
from pytest_gaitperf.zoo.variants import CALIBRATION_SAMPLES, IR_VERSION, OPSET, PRODUCER, SEED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_gaitperf.zoo.variants import Variant

Array = npt.NDArray[np.float32]
Weights = tuple[Array, ...]
"""A layer's weights, of its ``weight_shape``, and where it has biases these."""


def reference(variant: Variant, *, tensorrt: bool = False) -> bytes:
    """Return the variant's ONNX file, with seeded weights: the same bytes every time.

    The file is for onnxruntime, or for TensorRT's parser: that converts to FP16 itself, and takes
    INT8 from a graph with scales. On another CPU or onnxruntime the scales of INT8 may differ in
    their last digits.
    """
    network = variant.describe()
    model = build(network, seeded_weights(network, SEED))
    content: bytes = converted(model, variant, tensorrt=tensorrt).SerializeToString()
    return content


def converted(model: onnx.ModelProto, variant: Variant, *, tensorrt: bool) -> onnx.ModelProto:
    """Return the variant's FP32 model in its precision, for onnxruntime or TensorRT's parser."""
    if variant.precision not in {"fp16", "int8"} or (variant.precision == "fp16" and tensorrt):
        return model
    from pytest_gaitperf.zoo import precision  # noqa: PLC0415  # onnxruntime is optional, too

    if variant.precision == "int8":
        return precision.to_int8(model, calibration_samples(variant), tensorrt=tensorrt)
    return precision.to_fp16(model)


def calibration_samples(variant: Variant) -> Iterator[Array]:
    """Yield seeded random inputs in [0, 1), each a batch of one: what the load generator sends."""
    random = np.random.PCG64(np.random.SeedSequence([SEED, 0xCA11]))
    for _ in range(CALIBRATION_SAMPLES):
        yield uniform(random, (1, *variant.describe().input_shape), 0.5) + np.float32(0.5)


def seeded_weights(network: Network, seed: int) -> list[Weights]:
    """Return random weights for each of the network's layers; the same seed gives the same ones.

    Uniform with the variance 2 / (1 + slope^2) / inputs, and 1 / inputs where no rectifier follows,
    so that activations keep their scale through the layers: K. He et al., "Delving Deep into
    Rectifiers", 2015.
    """
    drawn: list[Weights] = []
    for index, layer in enumerate(network.layers_with_weights()):
        random = np.random.PCG64(np.random.SeedSequence([seed, index]))
        gain = 1.0 if layer.slope is None else 2 / (1 + layer.slope**2)
        weights = uniform(random, layer.weight_shape, sqrt(3 * gain / layer.inputs))
        biases = uniform(random, (layer.biases,), sqrt(1 / layer.inputs))
        drawn.append((weights, biases) if layer.biases else (weights,))
    return drawn


def build(
    network: Network, weights: Sequence[Weights], producer: str = PRODUCER
) -> onnx.ModelProto:
    """Return the model: ``input`` [batch, ...] -> ``code`` [batch, code size], both FP32.

    ``weights`` holds those of each of ``network.layers_with_weights()``, in that order. They become
    the initializers ``weight_0``, ``bias_0``, ``weight_1``... The same arguments give the same
    bytes.
    """
    graph = _Graph(weights)
    graph.append(network)
    graph.nodes[-1].output[0] = "code"
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "gait",
            [
                helper.make_tensor_value_info(
                    "input", TensorProto.FLOAT, ["batch", *network.input_shape]
                )
            ],
            [
                helper.make_tensor_value_info(
                    "code", TensorProto.FLOAT, ["batch", network.code_size]
                )
            ],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name=producer,
        ir_version=IR_VERSION,
    )
    return model


@dataclass
class _Graph:
    """Nodes in the making. Values are named after the node that gives them."""

    weights: Sequence[Weights]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)
    _layers: count[int] = field(default_factory=count)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = f"{operator.lower()}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def next_weights(self) -> list[str]:
        """Add the next layer's weights; return their names."""
        index = next(self._layers)
        names = []
        for name, values in zip(("weight", "bias"), self.weights[index], strict=False):
            names.append(f"{name}_{index}")
            self.initializers.append(numpy_helper.from_array(values, names[-1]))
        return names

    def reshaped(self, value: str, shape: Sequence[int]) -> str:
        """Reshape: 0 keeps the dimension in that place, -1 is what is left."""
        name = f"shape_{'_'.join(map(str, shape))}"
        if name not in (tensor.name for tensor in self.initializers):
            self.initializers.append(numpy_helper.from_array(np.array(shape, np.int64), name))
        return self.add("Reshape", value, name)

    def append(self, network: Network) -> None:
        """Add the nodes from ``input`` to the network's code; the last one gives the code."""
        if isinstance(network, Chain):
            self._chain(network)
        elif isinstance(network, SetNetwork):
            self._set(network)
        else:
            raise TypeError(f"no graph is known for a {type(network).__name__}")

    def _chain(self, network: Chain) -> None:
        value, axes = "input", len(network.input_shape)
        if network.channels_last:
            value = self.add("Transpose", value, perm=[0, axes, *range(1, axes)])
        flat = False
        for layer in network.layers:
            names = self.next_weights()
            if isinstance(layer, Convolution):
                sizes = {"kernel_shape": layer.kernel, "strides": layer.strides}
                value = self.add("Conv", value, *names, **sizes)
            else:
                if not flat:
                    value = self.add("Flatten", value)
                    flat = True
                value = self.add("Gemm", value, *names, transB=1)
            if layer.relu:
                value = self.add("Relu", value)
            if isinstance(layer, Convolution) and layer.pool > 1:
                window = [layer.pool] * len(layer.kernel)
                value = self.add("MaxPool", value, kernel_shape=window, strides=window)
        if not flat:
            self.add("Flatten", value)

    def _set(self, network: SetNetwork) -> None:
        frames, height, width, channels = network.input_shape

        def run(value: str, stage: Stage) -> str:
            for kernel in stage.kernels:
                pads = [(kernel - 1) // 2] * 2 + [kernel // 2] * 2
                sizes = {"kernel_shape": [kernel] * 2, "pads": pads}
                value = self.add("Conv", value, *self.next_weights(), **sizes)
                value = self.add("LeakyRelu", value, alpha=network.slope)
            if stage.pool > 1:
                window = [stage.pool] * 2
                value = self.add("MaxPool", value, kernel_shape=window, strides=window)
            return value

        # With one channel, channels last and channels first are the same numbers.
        each, merged = self.reshaped("input", (-1, channels, height, width)), ""
        for stage in network.stages:
            each = run(each, stage)
            merged = run(merged, stage) if merged else ""
            height, width = height // stage.pool, width // stage.pool
            together = self.reshaped(each, (-1, frames, stage.filters, height, width))
            pooled = self.add("ReduceMax", together, axes=[1], keepdims=0)
            merged = self.add("Add", merged, pooled) if merged else pooled

        strips = []
        for bins in network.bins:
            for branch in (pooled, merged):
                places = self.reshaped(branch, (0, 0, bins, -1))
                parts = [
                    self.add(f"Reduce{kind}", places, axes=[3], keepdims=0)
                    for kind in ("Mean", "Max")
                ]
                strips.append(self.add("Add", *parts))
        # [batch, channels, strips] -> [strips, batch, channels], for one product for each strip.
        rows = self.add("Transpose", self.add("Concat", *strips, axis=2), perm=[2, 0, 1])
        projected = self.add("MatMul", rows, *self.next_weights())
        self.add("Flatten", self.add("Transpose", projected, perm=[1, 0, 2]))


def uniform(random: np.random.PCG64, shape: tuple[int, ...], bound: float) -> Array:
    """Draw from [-bound, bound) with 24 random bits per number, alike on every machine.

    Taken from the raw stream of the bit generator, which numpy promises never to change (NEP 19);
    it promises no such thing for the methods of Generator, and the weights' hash must not depend
    on numpy's version.
    """
    size = prod(shape)
    bits = random.random_raw((size + 1) // 2).astype("<u8", copy=False).view("<u4")[:size]
    unit = (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (unit * np.float32(bound)).reshape(shape)
