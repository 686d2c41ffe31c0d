"""Serve model.onnx on one CPU core: Triton's Python backend with onnxruntime inside.

Written by `gaitperf models build`. Triton hands over the requests that it batched; their samples
run as one batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # Triton's own

# The stub in nvidia-pytriton's wheel reads NumPy 1's arrays; NumPy 2's reach it only by DLPack,
# which in turn crashes it with NumPy 1.
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
                f"onnxruntime cannot load {weights}: {error}; build it again with: "
                f"gaitperf models build --force {model}"
            ) from error

        self._input: str = config["input"][0]["name"]
        self._output: str = config["output"][0]["name"]
        for what, name, known in (
            ("input", self._input, self._session.get_inputs()),
            ("output", self._output, self._session.get_outputs()),
        ):
            names = [tensor.name for tensor in known]
            if name not in names:
                raise pb_utils.TritonModelException(
                    f"config.pbtxt of {model} names the {what} {name!r}, but {weights} has "
                    f"{', '.join(names)}"
                )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests, in their order; all of them fail where the batch cannot run."""
        tensors = [pb_utils.get_input_tensor_by_name(request, self._input) for request in requests]
        # Both are views of Triton's buffer: a lone request is never copied.
        batches = [
            np.from_dlpack(tensor) if _BY_DLPACK else tensor.as_numpy() for tensor in tensors
        ]
        samples = batches[0] if len(batches) == 1 else np.concatenate(batches)
        try:
            (codes,) = self._session.run([self._output], {self._input: samples})
        except Exception as error:  # noqa: BLE001  # reported to every client; see initialize
            failure = pb_utils.TritonError(f"onnxruntime cannot run the batch: {error}")
            return [pb_utils.InferenceResponse([], failure) for _ in requests]
        ends = np.cumsum([len(batch) for batch in batches])
        make = pb_utils.Tensor.from_dlpack if _BY_DLPACK else pb_utils.Tensor
        return [
            pb_utils.InferenceResponse([make(self._output, part)])
            for part in np.split(codes, ends[:-1])
        ]

    def finalize(self) -> None:
        """Free the weights when Triton unloads the model."""
        del self._session
