"""What a model directory gets for a target, and telling for which one a directory was built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_gaitperf.zoo.variants import Variant

CONFIG = "config.pbtxt"
_SERVED_BY = {
    "python": "local",
    "onnxruntime_onnx": "onnxruntime",
    "onnxruntime": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "tensorrt": "tensorrt",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. ``datatype`` as in KServe, e.g. ``FP32`` or ``BYTES``.

    ``dims`` are those in config.pbtxt: without the batch where the model has one; -1 varies.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as its clients see it; ``max_batch_size`` 0: its tensors have no batch dimension."""

    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Target(Protocol):
    """One way of serving a model."""

    @property
    def name(self) -> str:
        """The target as ``--target`` names it."""

    @property
    def weights(self) -> str:
        """The file of the weights, in the version's directory."""

    @property
    def max_batch_size(self) -> int:
        """The largest batch, for a model that has a batch dimension."""

    @property
    def compiler(self) -> Compiler | None:
        """What makes the weights' file of an ONNX file; None: it is the ONNX file itself."""

    def check(self, precision: str) -> None:
        """Raise ConfigurationError where the target cannot serve that precision."""

    def texts(self, model: ServedModel) -> dict[str, str]:
        """Return the text of the files beside the weights, by path in the model's directory."""


class Compiler(Protocol):
    """Makes a file for one kind of device of an ONNX file."""

    def recipe(self, precision: str) -> dict[str, Any]:
        """Return what, beside the ONNX file, determines the outcome, as JSON can hold it."""

    def onnx(self, variant: Variant) -> bytes:
        """Return the ONNX file of the reference network, as the compiler wants it."""

    def compiled(
        self, model: ServedModel, precision: str, onnx: Path, progress: Callable[[str], None]
    ) -> Path:
        """Make the weights' file beside the ONNX file and return its path."""


def check_onnx_precision(precision: str) -> None:
    """Refuse ``best`` where onnxruntime serves."""
    if precision == "best":
        raise ConfigurationError(
            "best leaves each layer's precision to TensorRT's builder: choose --target tensorrt, "
            "or fp32, fp16 or int8"
        )


def gait_model(variant: Variant, max_batch_size: int) -> ServedModel:
    """Return a reference network as its clients see it."""
    network = variant.describe()
    return ServedModel(
        variant.name,
        max_batch_size,
        (Tensor("input", "FP32", network.input_shape),),
        (Tensor("code", "FP32", (network.code_size,)),),
    )


def config_text(model: ServedModel, served_by: str, instance_group: str) -> str:
    """Return a config.pbtxt. ``served_by`` is its line of the backend or platform."""
    lines = [
        "# Written by `gaitperf models`.",
        f"name: {_quoted(model.name)}",
        served_by,
        f"max_batch_size: {model.max_batch_size}",
        *_tensors("input", model.inputs),
        *_tensors("output", model.outputs),
    ]
    if model.max_batch_size:
        lines += ["dynamic_batching {", "  max_queue_delay_microseconds: 0", "}"]
    lines += ["instance_group [", "  {", *(f"    {line}" for line in instance_group.split("\n"))]
    return "\n".join([*lines, "  }", "]", ""])


def _tensors(kind: str, tensors: Sequence[Tensor]) -> list[str]:
    lines = [f"{kind} ["]
    for tensor in tensors:
        datatype = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
        lines += [
            "  {",
            f"    name: {_quoted(tensor.name)}",
            f"    data_type: TYPE_{datatype}",
            f"    dims: [ {', '.join(map(str, tensor.dims))} ]",
            "  }" if tensor is tensors[-1] else "  },",
        ]
    return [*lines, "]"]


def _quoted(text: str) -> str:
    """Quote for protobuf's text format, which takes every byte as an octal escape."""
    return '"' + re.sub(r"[^ !#-\[\]-~]", lambda match: _octal(match[0]), text) + '"'


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode())


def built_for(directory: Path) -> str | None:
    """Return the target for which a model's directory was built, None where nothing says it.

    Another backend than the targets' own is returned as config.pbtxt calls it.
    """
    try:
        text = (directory / CONFIG).read_text("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {directory / CONFIG}: {error.strerror}; make it readable or choose "
            "another model repository"
        ) from error
    match = re.search(r'^\s*(?:platform|backend)\s*:\s*"([^"]*)"', text, re.MULTILINE)
    return _SERVED_BY.get(match[1], match[1]) if match else None
