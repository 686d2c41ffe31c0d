"""ONNX models of the networks: the graph with its weights, and the same in FP16 or INT8.

numpy and onnx are heavy and optional: only what builds or imports weights imports this module. In
every precision input and output stay FP32, so that the same requests can be sent.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from itertools import count
from math import prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pytest_gaitperf.lease import prefix
from pytest_gaitperf.zoo.networks import (
    CALIBRATION_SAMPLES,
    IR_VERSION,
    OPSET,
    PRODUCER,
    SEED,
    Chain,
    Convolution,
    Network,
    SetNetwork,
    Stage,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_gaitperf.zoo.networks import Variant

Array = npt.NDArray[np.float32]
Weights = tuple[Array, ...]
"""A layer's weights, of its ``weight_shape``, and where it has biases these."""


def reference(variant: Variant, *, tensorrt: bool = False) -> bytes:
    """Return the variant's ONNX file, with seeded weights: the same bytes every time.

    The file is for onnxruntime, or for TensorRT's parser. On another CPU or onnxruntime the scales
    of INT8 may differ in their last digits.
    """
    network = variant.describe()
    model = build(network, seeded_weights(network, SEED))
    content: bytes = converted(model, variant, tensorrt=tensorrt).SerializeToString()
    return content


def converted(model: onnx.ModelProto, variant: Variant, *, tensorrt: bool) -> onnx.ModelProto:
    """Return the variant's FP32 model in its precision, for onnxruntime or TensorRT's parser."""
    if not converts(variant.precision, tensorrt=tensorrt):
        return model
    if variant.precision == "int8":
        return to_int8(model, calibration_samples(variant), tensorrt=tensorrt)
    return to_fp16(model)


def converts(precision: str, *, tensorrt: bool) -> bool:
    """Say whether onnxruntime converts to it: TensorRT's builder makes FP16, and best, itself."""
    return precision == "int8" or (precision == "fp16" and not tensorrt)


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

    ``weights`` are those of ``network.layers_with_weights()``. They become the initializers
    ``weight_0``, ``bias_0``, ``weight_1``... The same arguments give the same bytes.
    """
    graph = _Graph(weights)
    if isinstance(network, Chain):
        graph.chain(network)
    elif isinstance(network, SetNetwork):
        graph.set_network(network)
    else:
        raise TypeError(f"no graph is known for a {type(network).__name__}")
    graph.nodes[-1].output[0] = "code"
    ends = {"input": network.input_shape, "code": (network.code_size,)}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])]
        for name, shape in ends.items()
    )
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(graph.nodes, "gait", inputs, outputs, graph.initializers),
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

    def chain(self, network: Chain) -> None:
        """Add the nodes from ``input`` to the network's code."""
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

    def set_network(self, network: SetNetwork) -> None:
        """Add the nodes from ``input`` to the network's code."""
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

    The raw stream of the bit generator is what numpy promises never to change (NEP 19).
    """
    size = prod(shape)
    bits = random.random_raw((size + 1) // 2).astype("<u8", copy=False).view("<u4")[:size]
    unit = (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (unit * np.float32(bound)).reshape(shape)


def _converters() -> tuple[Any, Any]:
    """Import onnxruntime's converters, in this order; they put a directory on the path."""
    path = list(sys.path)
    try:
        from onnxruntime import quantization  # noqa: PLC0415  # heavy and optional
        from onnxruntime.transformers import float16  # noqa: PLC0415
    finally:
        sys.path[:] = path
    return quantization, float16


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its weights and its arithmetic declared FP16."""
    _, float16 = _converters()
    converted: onnx.ModelProto = float16.convert_float_to_float16(_copy(model), keep_io_types=True)
    # The cast of the input comes last in its list of nodes; ONNX wants it before its use.
    nodes = sorted(converted.graph.node, key=lambda node: "input" not in node.input)
    converted.graph.ClearField("node")
    converted.graph.node.extend(nodes)
    return _as(model, converted)


def to_int8(
    model: onnx.ModelProto, samples: Iterable[Array], *, tensorrt: bool = False
) -> onnx.ModelProto:
    """Return the model with quantized convolutions and products: QDQ, symmetric, statically scaled.

    Weights have a scale for each filter, stacked matrices one in all; activations have the range
    that they take for ``samples``, batches of the input. For onnxruntime weights are stored in INT8
    and biases in INT32, and the weights use 7 bits: on x86 without VNNI two products of 8 bits
    overflow the 16 bits in which they are added. ``tensorrt`` is for TensorRT, whose parser takes
    no INT32 biases, and older ones no stored INT8 weights: both stay FP32, and the weights get
    their scales in the graph (8 bits).
    """
    quantization, _ = _converters()

    class Samples(quantization.CalibrationDataReader):  # type: ignore[name-defined,misc]
        def get_next(self) -> dict[str, Array] | None:
            batch = next(given, None)
            return None if batch is None else {"input": batch}

    given = iter(samples)
    with tempfile.TemporaryDirectory(prefix=prefix("onnx")) as directory:
        source, result = Path(directory, "fp32.onnx"), Path(directory, "int8.onnx")
        onnx.save(_copy(model), source)
        quantization.quantize_static(
            source,
            result,
            Samples(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            reduce_range=not tensorrt,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={
                "QDQOpTypePerChannelSupportToAxis": {"MatMul": -1},
                "TensorQuantOverrides": {
                    name: [{"symmetric": True, "reduce_range": not tensorrt}]
                    for name in _stacked(model)
                },
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": not tensorrt,
                "AddQDQPairToWeight": tensorrt,
            },
        )
        return _as(model, onnx.load(result))


def _stacked(model: onnx.ModelProto) -> list[str]:
    """Return the names of weights that are several matrices; kernels want one scale for them."""
    multiplied = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    weights = model.graph.initializer
    return [
        weight.name for weight in weights if weight.name in multiplied and len(weight.dims) > 2
    ]  # the axes of a matrix


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy: the converters change what they are given."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # What their preparation would do (shapes known, nothing to fold) holds for a graph of ours;
    # without the mark it is asked for by a warning.
    onnx.helper.set_model_props(copy, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return copy


def _as(model: onnx.ModelProto, converted: onnx.ModelProto) -> onnx.ModelProto:
    """Name the model's maker as before, and drop what the converters noted for themselves."""
    converted.producer_name = model.producer_name
    converted.ClearField("producer_version")
    converted.ir_version = model.ir_version
    converted.ClearField("metadata_props")
    converted.graph.ClearField("value_info")
    return converted
