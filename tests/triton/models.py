"""Tiny Python-backend models for tests against a real Triton."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a test model; ``datatype`` as in KServe, e.g. ``FP32`` or ``BYTES``."""

    name: str
    datatype: str = "FP32"
    shape: tuple[int, ...] = (16,)
    optional: bool = False


# The model that every test repository shares: the file is written with its settings as JSON, so
# that what a test asks for is what the model does.
_MODEL = '''\
"""A test model: output i is input i (or zeros of the output's shape), as slow as it is told."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils

SETTINGS = json.loads({settings!r})


# The stub reads NumPy's structures as they were in NumPy 1: with NumPy 2 its as_numpy() and
# Tensor() lose the item size, and numbers must pass through DLPack. With NumPy 1 that crashes.
DLPACK = int(np.__version__.partition(".")[0]) >= 2


def array_of(tensor, datatype):
    """Give an input as an array."""
    if datatype == "TYPE_STRING" or not DLPACK:
        return tensor.as_numpy()
    return np.array(np.from_dlpack(tensor))


def tensor_of(name, value):
    """Give an array as an output."""
    if value.dtype == object or not DLPACK:
        return pb_utils.Tensor(name, value)
    return pb_utils.Tensor.from_dlpack(name, value)


class TritonPythonModel:
    """Answers every request, except each Nth when told so."""

    def initialize(self, args):
        """Sleep, or fail, as told."""
        time.sleep(SETTINGS["initialize_sleep_s"])
        if SETTINGS["initialize_error"]:
            raise RuntimeError(SETTINGS["initialize_error"])
        self.seen = 0
        config = json.loads(args["model_config"])
        self.inputs = [(entry["name"], entry["data_type"]) for entry in config["input"]]
        self.outputs = [
            (entry["name"], pb_utils.triton_string_to_numpy(entry["data_type"]), entry["dims"])
            for entry in config["output"]
        ]
        self.batched = config["max_batch_size"] > 0

    def execute(self, requests):
        """Answer each request in turn."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Work for as long as told, then give the outputs."""
        self.seen += 1
        start = time.perf_counter()
        while time.perf_counter() - start < SETTINGS["sleep_s"] * SETTINGS["burn_fraction"]:
            pass
        time.sleep(max(0.0, SETTINGS["sleep_s"] - (time.perf_counter() - start)))
        if SETTINGS["fail_every"] and self.seen % SETTINGS["fail_every"] == 0:
            message = f"request {{self.seen}} fails, as it was told to"
            if SETTINGS["fail_by_raising"]:
                raise RuntimeError(message)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        given = [
            array_of(tensor, datatype)
            for name, datatype in self.inputs
            if (tensor := pb_utils.get_input_tensor_by_name(request, name)) is not None
        ]
        outputs = []
        for index, (name, dtype, dims) in enumerate(self.outputs):
            if SETTINGS["echo"]:
                value = given[index % len(given)]
            else:
                value = np.zeros([1 if size < 0 else size for size in dims], dtype)
                if self.batched:
                    value = np.broadcast_to(value, (len(given[0]), *value.shape)).copy()
            outputs.append(tensor_of(name, value))
        return pb_utils.InferenceResponse(outputs)
'''


def _tensors(kind: str, tensors: Sequence[Tensor]) -> str:
    lines = []
    for tensor in tensors:
        datatype = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
        optional = " optional: true" if tensor.optional else ""
        dims = ", ".join(str(size) for size in tensor.shape)
        lines.append(
            f'{kind} {{ name: "{tensor.name}" data_type: TYPE_{datatype}'
            f" dims: [{dims}]{optional} }}"
        )
    return "\n".join(lines)


def write_model(
    repository: Path,
    name: str,
    *,
    inputs: Sequence[Tensor] = (Tensor("INPUT0"),),
    outputs: Sequence[Tensor] | None = None,
    max_batch_size: int = 8,
    versions: Sequence[int] = (1,),
    instances: int = 1,
    sleep_s: float = 0.0,
    burn_fraction: float = 0.0,
    fail_every: int = 0,
    fail_by_raising: bool = False,
    initialize_sleep_s: float = 0.0,
    initialize_error: str = "",
    extra_config: str = "",
) -> Path:
    """Write one model into a repository and return its folder.

    ``outputs`` None: output i repeats input i (an identity); otherwise zeros of those shapes.
    Each request takes ``sleep_s`` seconds, of which ``burn_fraction`` (0 to 1) burns CPU. Each
    ``fail_every``-th request of an instance answers with an error (0: none), or, with
    ``fail_by_raising``, raises one: that fails the whole batch Triton made. ``initialize`` takes
    ``initialize_sleep_s`` seconds and raises ``initialize_error`` unless that is empty.
    ``extra_config`` is text for config.pbtxt.
    """
    echo = outputs is None
    if outputs is None:
        outputs = [
            Tensor(f"OUTPUT{index}", tensor.datatype, tensor.shape)
            for index, tensor in enumerate(inputs)
        ]
    settings = {
        "sleep_s": sleep_s,
        "burn_fraction": burn_fraction,
        "fail_every": fail_every,
        "fail_by_raising": fail_by_raising,
        "initialize_sleep_s": initialize_sleep_s,
        "initialize_error": initialize_error,
        "echo": echo,
    }
    folder = repository / name
    for version in versions:
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "model.py").write_text(
            _MODEL.format(settings=json.dumps(settings)), encoding="utf-8"
        )
    config = (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: {max_batch_size}\n'
        f"{_tensors('input', inputs)}\n{_tensors('output', outputs)}\n"
        f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]\n{extra_config}\n"
    )
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    return folder


def write_broken_config(repository: Path, name: str) -> Path:
    """Write a folder whose config.pbtxt is no protobuf text: the third line is broken."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: eight\n', encoding="utf-8"
    )
    return folder
