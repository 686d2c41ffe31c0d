"""An ONNX model in FP32 -> the same model in FP16 or INT8.

Imported only when weights must be converted: onnx and onnxruntime are heavy and optional. Input and
output stay FP32, so that the same requests can be sent to every precision.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnxruntime import quantization

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

_QUANTIZED = ["Conv", "Gemm", "MatMul"]


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its weights and its arithmetic declared FP16."""
    path = list(sys.path)
    try:
        from onnxruntime.transformers import float16  # noqa: PLC0415  # only its side effect:
    finally:
        sys.path[:] = path  # the package puts its own directory on the path
    converted: onnx.ModelProto = float16.convert_float_to_float16(_copy(model), keep_io_types=True)
    # The cast of the input comes last in its list of nodes; ONNX wants it before its use.
    nodes = sorted(converted.graph.node, key=lambda node: "input" not in node.input)
    converted.graph.ClearField("node")
    converted.graph.node.extend(nodes)
    return _as(model, converted)


def to_int8(
    model: onnx.ModelProto, samples: Iterable[npt.NDArray[np.float32]], *, tensorrt: bool = False
) -> onnx.ModelProto:
    """Return the model with quantized convolutions and products: QDQ, symmetric, statically scaled.

    Weights have a scale for each filter, stacked matrices one in all; activations have the range
    that they take for ``samples``, batches of the input. For onnxruntime weights are stored in INT8
    and biases in INT32, and the weights use 7 bits: on x86 without VNNI two products of 8 bits
    overflow the 16 bits in which they are added. ``tensorrt`` is for TensorRT, whose parser takes
    no INT32 biases, and older ones no stored INT8 weights: both stay FP32, and the weights get
    their scales in the graph (8 bits).
    """
    with tempfile.TemporaryDirectory() as directory:
        source, result = Path(directory, "fp32.onnx"), Path(directory, "int8.onnx")
        onnx.save(_copy(model), source)
        quantization.quantize_static(
            source,
            result,
            _Samples(samples),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
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


class _Samples(quantization.CalibrationDataReader):  # type: ignore[misc]  # it is untyped
    """Feeds the samples to the calibration."""

    def __init__(self, samples: Iterable[npt.NDArray[np.float32]]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return the next batch, or None at the end."""
        batch = next(self._samples, None)
        return None if batch is None else {"input": batch}


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
