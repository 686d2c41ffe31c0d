"""Models and their data: config.pbtxt, ONNX, Keras' HDF5, and input data of the user's own."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load.datafile import read_samples
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.triton.models import read_config
from pytest_gaitperf.zoo import keras_file, onnx_file
from tests.fuzz.device_targets import archive_of, array_bytes
from tests.fuzz.mutating import BYTES, JSON, TEXT
from tests.fuzz.target import SEPARATOR, Target, as_file, parts

if TYPE_CHECKING:
    from pathlib import Path

_SHAPES: dict[str, tuple[int, ...]] = {"X": (2, 2), "S": (-1,), "I": ()}
_MODEL = ModelInfo(
    name="model",
    versions=("1",),
    max_batch_size=8,
    inputs=(
        TensorSpec("X", "FP32", (2, 2), optional=False),
        TensorSpec("S", "BYTES", (-1,), optional=True),
        TensorSpec("I", "UINT8", (), optional=True),
    ),
    outputs=(),
    backend="python",
    decoupled=False,
)
_ONE = ModelInfo("one", ("1",), 8, _MODEL.inputs[:1], (), "python", decoupled=False)


def _config(data: bytes, directory: Path) -> None:
    folder = directory / "model"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    info = read_config(as_file("config.pbtxt", data, folder))
    (info.signature + info.backend).encode()
    assert info.name == "model"
    assert info.max_batch_size >= 0
    assert all(-1 <= size < 1 << 63 for each in info.inputs for size in each.shape)


_CONFIG = b"""name: "model"
backend: "onnxruntime"  # a comment
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1, 60, 60 ] optional: true } ]
output [ { name: "code" data_type: TYPE_STRING dims: [ 256 ] } ]
version_policy: { specific { versions: [ 1, 3 ] } }
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters: { key: "x" value: { string_value: "y" } }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
model_transaction_policy { decoupled: false }
"""


def _samples(path: Path, model: ModelInfo, shapes: dict[str, tuple[int, ...]] = _SHAPES) -> None:
    tensors, _, _ = read_samples(path, model, shapes)
    counts = {len(array) for array in tensors.values()}
    assert len(counts) == 1
    assert counts != {0}
    for spec in model.inputs:
        if spec.name in tensors:
            sizes = tensors[spec.name].shape[1:]
            wanted = shapes[spec.name]
            assert len(sizes) == len(wanted)
            assert all(want in (-1, size) for size, want in zip(sizes, wanted, strict=True))


def _data_json(data: bytes, directory: Path) -> None:
    _samples(as_file("data.json", data, directory), _MODEL)


def _data_npy(data: bytes, directory: Path) -> None:
    _samples(as_file("data.npy", data, directory), _ONE)


def _data_npz(data: bytes, directory: Path) -> None:
    _samples(as_file("data.npz", data, directory), _MODEL)


def _data_members(data: bytes, directory: Path) -> None:
    _samples(as_file("data.npz", archive_of(("X", "S", "I"), data), directory), _MODEL)


def _data_raw(data: bytes, directory: Path) -> None:
    """perf_analyzer's directory, with a file for each tensor."""
    folder = directory / "raw" / "model"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip("XSI", parts(data, 3), strict=True):
        (folder / name).write_bytes(content)
    _samples(folder.parent, _MODEL, {**_SHAPES, "S": (2,)})


def _json_seeds() -> tuple[bytes, ...]:
    plain = {"data": [{"X": [[1, 2.5], [3, 4]], "I": [7]}, {"X": [1, 2, 3, 4], "I": [8]}]}
    shaped = {
        "data": [
            [
                {
                    "X": {"content": [1, 2, 3, 4], "shape": [2, 2]},
                    "S": {"content": ["a"], "shape": [1]},
                }
            ],
            [{"X": {"b64": "AAAAAAAAAAAAAAAAAAAAAA=="}, "S": {"b64": "AQAAAGE=", "shape": [1]}}],
        ]
    }
    with_text = {"data": [{"X": [1, 2, 3, 4], "S": {"content": ["a"], "shape": [1]}, "I": [7]}]}
    return tuple(json.dumps(document).encode() for document in (plain, shaped, with_text))


def _arrays() -> dict[str, Any]:
    return {
        "X": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
        "S": np.array([["a"], ["bb"], ["c"]]),
        "I": np.array([1, 2, 3], np.uint8),
    }


def _npy_seeds() -> tuple[bytes, ...]:
    arrays = (_arrays()["X"], np.ones((2, 2), np.float64), np.array([{"a": 1}], object))
    return tuple(array_bytes(array) for array in arrays)


def _npz_seeds() -> tuple[bytes, ...]:
    found = []
    for save in (np.savez, np.savez_compressed):
        packed = io.BytesIO()
        save(packed, **_arrays())
        found.append(packed.getvalue())
    return tuple(found)


def _members() -> tuple[bytes, ...]:
    return (SEPARATOR.join(array_bytes(array) for array in _arrays().values()),)


def _onnx_model(data: bytes, directory: Path) -> None:
    path = as_file("model.onnx", data, directory)
    onnx_file.producer(path)
    found = onnx_file.read(path)
    served = found.served_as("model", 8)
    for tensor in (*served.inputs, *served.outputs):
        assert all(size == -1 or size > 0 for size in tensor.shape)
        tensor.name.encode()


@cache
def _onnx_seeds() -> tuple[bytes, ...]:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weight],
    )
    model = helper.make_model(
        graph, producer_name="pytorch", opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.checker.check_model(model)
    inside: bytes = model.SerializeToString()
    moved = onnx.TensorProto()
    moved.CopyFrom(weight)
    del moved.float_data[:]
    moved.data_location = onnx.TensorProto.EXTERNAL
    moved.external_data.add(key="location", value="weights.bin")
    del model.graph.initializer[:]
    model.graph.initializer.append(moved)
    return inside, model.SerializeToString()


def _keras(data: bytes, directory: Path) -> None:
    found = keras_file.read(as_file("weights.h5", data, directory))
    for layer in found.layers:
        assert all(array.dtype == np.float32 for array in layer.arrays.values())


@cache
def _keras_seeds() -> tuple[bytes, ...]:
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Dense", "config": {"name": "dense"}}]},
    }
    found = []
    for kind in (2, 3):
        packed = io.BytesIO()
        with h5py.File(packed, "w", libver="earliest") as file:
            if kind == 2:
                file.attrs["model_config"] = json.dumps(config)
                root = file.create_group("model_weights")
                root.attrs["layer_names"] = [b"dense"]
                group = root.create_group("dense")
                group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
                group["dense/kernel:0"] = np.ones((2, 2), np.float32)
                group["dense/bias:0"] = np.ones(2, np.float16)
            else:
                file["layers/dense/vars/0"] = np.ones((2, 2), np.float32)
                file["layers/dense/vars/1"] = np.ones(2, np.float32)
        found.append(packed.getvalue())
    return tuple(found)


_ERROR = (ConfigurationError,)

TARGETS = (
    Target("config-pbtxt", _config, lambda: (_CONFIG,), TEXT, "config.pbtxt", _ERROR),
    Target("data-json", _data_json, _json_seeds, JSON, "data.json", _ERROR, 1.5),
    Target("data-npy", _data_npy, _npy_seeds, BYTES, "data.npy", _ERROR),
    Target("data-npz", _data_npz, _npz_seeds, BYTES, "data.npz", _ERROR),
    Target(
        "data-raw",
        _data_raw,
        lambda: (SEPARATOR.join((bytes(16), b"a\nbb\n", b"\7")),),
        BYTES,
        "raw/model",
        (ConfigurationError,),
    ),
    Target("data-members", _data_members, _members, BYTES, "data.npz", _ERROR),
    Target("onnx", _onnx_model, _onnx_seeds, BYTES, "model.onnx", _ERROR, 0.5),
    Target("keras", _keras, _keras_seeds, BYTES, "weights.h5", _ERROR, 0.3),
)
