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


def write_ensemble(repository: Path, name: str, *steps: str) -> Path:
    """Write an ensemble of such models, each of which takes what the one before gives."""
    between = ["INPUT0", *(f"after_{step}" for step in steps[:-1]), "OUTPUT0"]
    made = ",".join(
        f'{{ model_name: "{step}" model_version: -1 '
        f'input_map {{ key: "INPUT0" value: "{between[place]}" }} '
        f'output_map {{ key: "OUTPUT0" value: "{between[place + 1]}" }} }}'
        for place, step in enumerate(steps)
    )
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        f'name: "{name}"\nplatform: "ensemble"\nmax_batch_size: 8\n'
        f"{_tensors('input', [Tensor('INPUT0')])}\n{_tensors('output', [Tensor('OUTPUT0')])}\n"
        f"ensemble_scheduling {{ step [ {made} ] }}\n",
        encoding="utf-8",
    )
    return folder


def write_broken_config(repository: Path, name: str) -> Path:
    """Write a folder whose config.pbtxt is no protobuf text: the third line is broken."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: eight\n', encoding="utf-8"
    )
    return folder


_STATEFUL = '''\
"""A test model with a state: the output is the sum of what a sequence has sent so far."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils

SETTINGS = json.loads({settings!r})
START, END = 1, 2
DLPACK = int(np.__version__.partition(".")[0]) >= 2


class TritonPythonModel:
    """Keeps a sum for each sequence, and refuses one that it has not seen begin."""

    def initialize(self, args):
        """Begin without sequences."""
        self.sums = {{}}
        self.ended = 0

    def execute(self, requests):
        """Answer each request in turn."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Add the input to the sum of its sequence."""
        time.sleep(SETTINGS["sleep_s"])
        name, flags = request.correlation_id(), request.flags()
        if flags & START:
            if name in self.sums:
                return self.refusal(f"sequence {{name}} begins a second time")
            self.sums[name] = 0.0
        if name not in self.sums:
            return self.refusal(f"sequence {{name}} goes on and has not begun")
        tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
        self.sums[name] = self.sums[name] + np.array(np.from_dlpack(tensor) if DLPACK else
                                                     tensor.as_numpy())
        value = np.array(self.sums[name], np.float32)
        if flags & END:
            del self.sums[name]
            self.ended += 1
        if SETTINGS["told"]:
            value = np.full_like(value, len(self.sums) * 1000 + self.ended)
        output = (
            pb_utils.Tensor.from_dlpack("OUTPUT0", value)
            if DLPACK
            else pb_utils.Tensor("OUTPUT0", value)
        )
        return pb_utils.InferenceResponse([output])

    def refusal(self, why):
        """Answer with an error."""
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(why))
'''

_DECOUPLED = '''\
"""A test model that is decoupled: it gives as many answers as told, in time, to each request."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils

SETTINGS = json.loads({settings!r})
DLPACK = int(np.__version__.partition(".")[0]) >= 2


class TritonPythonModel:
    """Sends its answers one after the other."""

    def initialize(self, args):
        """Begin to count."""
        self.seen = 0

    def execute(self, requests):
        """Answer each request in turn."""
        for request in requests:
            self.answer(request)

    def answer(self, request):
        """Send the answers, and that there are no more with the last of them or behind it."""
        sender = request.get_response_sender()
        self.seen += 1
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        if SETTINGS["fail_every"] and self.seen % SETTINGS["fail_every"] == 0:
            error = pb_utils.TritonError("it fails, as it was told to")
            sender.send(pb_utils.InferenceResponse(error=error), flags=final)
            return
        answers = SETTINGS["answers"]
        for index in range(answers):
            time.sleep(SETTINGS["first_s"] if not index else SETTINGS["gap_s"])
            value = np.full((1, 16), float(index), np.float32)
            output = (
                pb_utils.Tensor.from_dlpack("OUTPUT0", value)
                if DLPACK
                else pb_utils.Tensor("OUTPUT0", value)
            )
            last = index == answers - 1 and SETTINGS["final_with_last"]
            answer = pb_utils.InferenceResponse([output])
            sender.send(answer, flags=final) if last else sender.send(answer)
        if not (answers and SETTINGS["final_with_last"]):
            sender.send(flags=final)
'''


def write_stateful_model(
    repository: Path,
    name: str,
    *,
    sleep_s: float = 0.0,
    told: bool = False,
    strategy: str = "direct { }",
    max_batch_size: int = 8,
) -> Path:
    """Write a model with sequence batching: OUTPUT0 sums up what a sequence sent as INPUT0.

    It refuses a request of a sequence that did not begin. ``told``: OUTPUT0 is instead how many
    sequences have begun and not ended, times 1000, and how many have ended.
    """
    batching = f"sequence_batching {{ {strategy} }}"
    folder = write_model(repository, name, max_batch_size=max_batch_size, extra_config=batching)
    settings = json.dumps({"sleep_s": sleep_s, "told": told})
    (folder / "1" / "model.py").write_text(_STATEFUL.format(settings=settings), encoding="utf-8")
    return folder


def write_decoupled_model(
    repository: Path,
    name: str,
    *,
    answers: int = 4,
    first_s: float = 0.01,
    gap_s: float = 0.002,
    final_with_last: bool = False,
    fail_every: int = 0,
    extra_config: str = "",
) -> Path:
    """Write a decoupled model: ``answers`` to each request, the first after ``first_s``.

    The others follow ``gap_s`` apart; that there are no more comes with the last, or behind it.
    """
    config = f"model_transaction_policy {{ decoupled: true }}\n{extra_config}"
    folder = write_model(repository, name, extra_config=config)
    settings = json.dumps(
        {
            "answers": answers,
            "first_s": first_s,
            "gap_s": gap_s,
            "final_with_last": final_with_last,
            "fail_every": fail_every,
        }
    )
    (folder / "1" / "model.py").write_text(_DECOUPLED.format(settings=settings), encoding="utf-8")
    return folder
