"""The target ``local``: Triton's Python backend with onnxruntime inside, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from pytest_gaitperf.zoo.repository import MAX_BATCH_SIZE, VERSION, WEIGHTS
from pytest_gaitperf.zoo.targets.target import (
    CONFIG,
    ServedModel,
    check_onnx_precision,
    config_text,
)


@dataclass(frozen=True, slots=True)
class Local:
    """Serves any ONNX file; the reference networks have files of their own (``repository``)."""

    name: str = "local"
    weights: str = WEIGHTS
    max_batch_size: int = MAX_BATCH_SIZE
    compiler: None = None

    def check(self, precision: str) -> None:
        """Refuse ``best``, which only TensorRT's builder knows."""
        check_onnx_precision(precision)

    def texts(self, model: ServedModel) -> dict[str, str]:
        """Return config.pbtxt, and a model.py for any number of inputs and outputs."""
        templates = resources.files("pytest_gaitperf.zoo.templates")
        return {
            CONFIG: config_text(model, 'backend: "python"', "kind: KIND_CPU\ncount: 1"),
            f"{VERSION}/model.py": templates.joinpath("any_model.py").read_text("utf-8"),
        }
