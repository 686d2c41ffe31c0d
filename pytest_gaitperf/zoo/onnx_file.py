"""ONNX files: who wrote one, and any of the user's checked and described as Triton will serve it.

onnx is heavy and optional, so only ``read`` imports it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.zoo import optional_packages
from pytest_gaitperf.zoo.targets import ONNX, PLAN

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_BYTES = (1 << 31) - 1
# Field numbers of ModelProto, in onnx.proto, and protobuf's wire types.
_PRODUCER_NAME, _GRAPH = 2, 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LONGEST_NAME = 1024
_CODE = (".py", ".pyc", ".so")
"""What Triton, and the Python of its backend, may load as code from beside a model."""
_DATATYPES = {
    "FLOAT": "FP32",
    "FLOAT16": "FP16",
    "DOUBLE": "FP64",
    "STRING": "BYTES",
    "BOOL": "BOOL",
    **{name: name for bits in (8, 16, 32, 64) for name in (f"INT{bits}", f"UINT{bits}")},
}
"""ONNX's element types that Triton's backends all take, in KServe's words."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A checked file. ``external`` are the files of weights beside it, relative to its directory.

    ``unbatched`` says why the model has no batch dimension in Triton, "" where it has one. A tensor
    may have no dimension at all.
    """

    producer: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    external: tuple[PurePosixPath, ...]
    unbatched: str

    def served_as(self, name: str, max_batch_size: int) -> ModelInfo:
        """Return the model as its clients see it, called ``name``: no tensor is a mere number."""
        batch = 0 if self.unbatched else max_batch_size
        inputs, outputs = (
            tuple(
                replace(each, shape=each.shape[1:] if batch else each.shape or (1,))
                for each in tensors
            )
            for tensors in (self.inputs, self.outputs)
        )
        return ModelInfo(name, ("1",), batch, inputs, outputs)


def read(path: Path) -> OnnxFile:
    """Check the file and read what it takes and gives.

    A first dimension without a number, in every input and output, is the batch. Raises
    ConfigurationError for what is not whole, too large, or nothing that Triton can serve.
    """
    with optional_packages(f"importing {path}", "import"):
        import onnx  # noqa: PLC0415  # heavy and optional
        from google.protobuf.message import DecodeError  # noqa: PLC0415  # comes with onnx

    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise ConfigurationError(
                f"{path} has {size / 1e9:.1f} GB, and protobuf reads no file of 2 GB and more: "
                "save the weights beside it, with onnx.save_model(model, path, "
                "save_as_external_data=True)"
            )
        model = onnx.load(path, load_external_data=False)
        external = _external(onnx, model, path)
        onnx.checker.check_model(str(path))  # by its path: that finds the external data
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except (DecodeError, onnx.checker.ValidationError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{path} is not a valid ONNX model: {reason}") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    # Old exporters list the weights among the inputs, as what can be given anew.
    given = [value for value in model.graph.input if value.name not in weights]
    if not given or not model.graph.output:
        raise ConfigurationError(f"{path} has no inputs or no outputs: it cannot be served")
    inputs = tuple(_tensor(onnx, value, path) for value in given)
    outputs = tuple(_tensor(onnx, value, path) for value in model.graph.output)
    unbatched = _unbatched((*inputs, *outputs))
    return OnnxFile(model.producer_name, inputs, outputs, external, unbatched)


def _tensor(onnx: Any, value: Any, path: Path) -> TensorSpec:
    if not isinstance(value.name, str):  # protobuf gives bytes for what is no text
        raise ConfigurationError(
            f"{path}: the name {value.name!r} of an input or output is no text"
        )
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ConfigurationError(
            f"{path}: {value.name} is a {str(kind).removesuffix('_type')}; Triton serves tensors"
        )
    number = value.type.tensor_type.elem_type
    names = {each: name for name, each in onnx.TensorProto.DataType.items()}
    datatype = names.get(number, f"number {number}")
    if datatype not in _DATATYPES:
        raise ConfigurationError(
            f"{path}: {value.name} is of type {datatype}; served can be {', '.join(_DATATYPES)}: "
            "cast it in the graph"
        )
    if not value.type.tensor_type.HasField("shape"):
        raise ConfigurationError(
            f"{path}: the number of dimensions of {value.name} is not in the file; infer shapes "
            "with onnx.shape_inference and save it again"
        )
    dims = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else -1
        for dim in value.type.tensor_type.shape.dim
    )
    return TensorSpec(value.name, _DATATYPES[datatype], dims)


def _unbatched(tensors: tuple[TensorSpec, ...]) -> str:
    if single := [tensor.name for tensor in tensors if not tensor.shape]:
        return f"{', '.join(single)} has no dimension"
    if fixed := [tensor.name for tensor in tensors if tensor.shape[0] != -1]:
        return f"the first dimension of {', '.join(fixed)} is a number"
    if flat := [tensor.name for tensor in tensors if len(tensor.shape) == 1]:
        return f"{', '.join(flat)} would have no dimension beside the batch"
    return ""


def _external(onnx: Any, model: Any, path: Path) -> tuple[PurePosixPath, ...]:
    """Return the files that hold weights; they must lie beside the model or below it.

    They are copied into the repository: none may become what Triton runs there.
    """
    found: dict[PurePosixPath, None] = {}
    for tensor in _tensors(onnx, model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        # Without a place: the file itself, which holds no such weights.
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = str(entries.get("location", ""))  # bytes where it is no text
        relative = PurePosixPath(location)
        if relative.is_absolute() or ".." in relative.parts:
            raise ConfigurationError(
                f"{path}: the weights {tensor.name} are in {location!r}, which is not beside the "
                "model; it is not followed: save the model with its weights in one directory"
            )
        code = relative.suffix in _CODE or "__pycache__" in relative.parts
        if code or str(relative) in (ONNX, PLAN):
            raise ConfigurationError(
                f"{path}: the weights {tensor.name} are in {location!r}, which Triton would take "
                f"for {'code and run' if code else 'the model itself'}: save the model again with "
                "its weights in a file of another name"
            )
        if not (path.parent / relative).is_file():
            raise ConfigurationError(
                f"{path}: the weights {tensor.name} are in {relative}, which is not there: copy it "
                f"into {path.parent}"
            )
        found[relative] = None
    return tuple(found)


def _tensors(onnx: Any, graph: Any) -> Iterator[Any]:
    """Yield all tensors of the graph and the graphs within."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from _tensors(onnx, attribute.g)


def producer(path: Path) -> str | None:
    """Return an ONNX file's producer name, "" where it has none, None where it is no ONNX file.

    Read from the outermost protobuf fields, without onnx; the file may be cut off behind it.
    """
    size = path.stat().st_size
    has_graph = False
    with path.open("rb") as file:
        while file.tell() < size:
            tag = _varint(file)
            if tag is None:
                return None
            field, wire = tag >> 3, tag & 7
            length = {_FIXED64: 8, _FIXED32: 4}.get(wire, size)
            if wire in (_VARINT, _BYTES) and (value := _varint(file)) is not None:
                length = value if wire == _BYTES else 0
            if field == 0 or file.tell() + length > size:
                return None
            if field == _PRODUCER_NAME and wire == _BYTES and length <= _LONGEST_NAME:
                return file.read(length).decode(errors="replace")
            has_graph = has_graph or field == _GRAPH
            file.seek(length, os.SEEK_CUR)
    return "" if has_graph else None


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80:  # the bit that says that more bytes follow
            return value
    return None
