"""The target ``onnxruntime``: the backend of Triton's containers, on the GPU."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_gaitperf.zoo.repository import MAX_BATCH_SIZE, WEIGHTS
from pytest_gaitperf.zoo.targets.target import (
    CONFIG,
    ServedModel,
    check_onnx_precision,
    config_text,
)


@dataclass(frozen=True, slots=True)
class Onnxruntime:
    """Serves the same ONNX file as ``local`` does; what has no GPU kernel runs on the CPU."""

    name: str = "onnxruntime"
    weights: str = WEIGHTS
    max_batch_size: int = MAX_BATCH_SIZE
    compiler: None = None

    def check(self, precision: str) -> None:
        """Refuse ``best``, which only TensorRT's builder knows."""
        check_onnx_precision(precision)

    def texts(self, model: ServedModel) -> dict[str, str]:
        """Return config.pbtxt."""
        served_by = 'platform: "onnxruntime_onnx"'
        return {CONFIG: config_text(model, served_by, "kind: KIND_GPU\ncount: 1")}
