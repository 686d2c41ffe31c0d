"""Serve model.onnx on one CPU core: Triton's Python backend with onnxruntime inside.

Written by `gaitperf models`, for any number of inputs and outputs. Triton hands over the requests
that it batched; where the model has a batch dimension, their samples run as one batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # Triton's own

# The stub in nvidia-pytriton's wheel reads NumPy 1's arrays; NumPy 2's reach it only by DLPack,
# which in turn crashes it with NumPy 1. Texts have no DLPack.
_BY_DLPACK = int(np.__version__.partition(".")[0]) > 1


class TritonPythonModel:
    """One instance of the model: Triton calls each method from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights; an exception here is Triton's reason for not serving the model."""
        model = args["model_name"]
        config = json.loads(args["model_config"])
        weights = Path(args["model_repository"], args["model_version"], "model.onnx")
        if not weights.is_file():
            raise pb_utils.TritonModelException(
                f"{weights} does not exist; build it with: gaitperf models build {model}"
            )
        try:
            import onnxruntime  # noqa: PLC0415  # else Triton's log shows a bare traceback
        except ImportError as error:
            raise pb_utils.TritonModelException(
                f"{model} needs onnxruntime in Triton's Python ({error}); install it with: "
                "pip install 'pytest-gaitperf[local]'"
            ) from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(weights), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base of their own
            raise pb_utils.TritonModelException(
                f"onnxruntime cannot load {weights}: {error}; write it again with: "
                f"gaitperf models build --force {model} (or models import --force, if it is yours)"
            ) from error
        self._inputs: list[str] = [tensor["name"] for tensor in config["input"]]
        self._outputs: list[str] = [tensor["name"] for tensor in config["output"]]
        for what, names, tensors in (
            ("input", self._inputs, self._session.get_inputs()),
            ("output", self._outputs, self._session.get_outputs()),
        ):
            known = [tensor.name for tensor in tensors]
            for name in names:
                if name not in known:
                    raise pb_utils.TritonModelException(
                        f"config.pbtxt of {model} names the {what} {name!r}, but {weights} has "
                        f"{', '.join(known)}"
                    )
        # Triton has no tensors without dimensions: one of a single value stands for such a number.
        self._numbers = {tensor.name for tensor in self._session.get_inputs() if not tensor.shape}
        self._texts = {
            tensor["name"]
            for tensor in (*config["input"], *config["output"])
            if tensor["data_type"] == "TYPE_STRING"
        }
        self._batched = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests, in their order."""
        if not self._batched:
            return [self._answers([request])[0] for request in requests]
        return self._answers(requests)

    def _answers(self, requests: list[Any]) -> list[Any]:
        """Run the requests as one batch; all of them fail where it cannot run."""
        sizes: list[int] = []
        try:
            inputs = {}
            for name in self._inputs:
                # Views of Triton's buffer: the samples of a lone request are never copied.
                parts = [
                    self._array(pb_utils.get_input_tensor_by_name(request, name))
                    for request in requests
                ]
                sizes = [len(part) for part in parts] if self._batched else []
                inputs[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
            values = self._session.run(self._outputs, inputs)
        except Exception as error:  # noqa: BLE001  # reported to every client; see initialize
            why = f"onnxruntime cannot run the batch: {error}"
            # Each has an error of its own: one that several share crashes the server.
            return [pb_utils.InferenceResponse([], pb_utils.TritonError(why)) for _ in requests]
        if len(requests) == 1:
            return [pb_utils.InferenceResponse(list(map(self._tensor, self._outputs, values)))]
        ends = np.cumsum(sizes)[:-1]
        rows = zip(*(np.split(value, ends) for value in values))  # noqa: B905  # Python 3.8 has it not
        return [
            pb_utils.InferenceResponse(list(map(self._tensor, self._outputs, row))) for row in rows
        ]

    def _array(self, tensor: Any) -> Any:
        if tensor.name() in self._texts:
            value = tensor.as_numpy()
            # Triton has bytes; onnxruntime would take each one's repr() for its text.
            texts = [text.decode() for text in value.ravel()]
            return np.array(texts, dtype=object).reshape(value.shape)
        value = np.from_dlpack(tensor) if _BY_DLPACK else tensor.as_numpy()
        return value.reshape(()) if tensor.name() in self._numbers else value

    def _tensor(self, name: str, value: Any) -> Any:
        value = np.atleast_1d(value)
        if name in self._texts or not _BY_DLPACK:
            return pb_utils.Tensor(name, value)
        return pb_utils.Tensor.from_dlpack(name, value)

    def finalize(self) -> None:
        """Free the weights when Triton unloads the model."""
        del self._session
