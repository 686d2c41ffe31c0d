"""Serve a reference network with torch on a GPU: Triton's Python backend, half precision.

The layers and weights are read from model.onnx; only the operators of the reference networks are
known. Tensors pass by DLPack, so that NumPy's version does not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # Triton's own
from torch.nn import functional


class TritonPythonModel:
    """One instance on one GPU."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights onto the GPU."""
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        graph = onnx.load(path).graph
        self.device = torch.device("cuda", int(args["model_instance_device_id"]))
        self.nodes = [
            (node, {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute})
            for node in graph.node
        ]
        self.weights = {
            item.name: torch.from_numpy(onnx.numpy_helper.to_array(item).copy())
            .to(self.device)
            .half()
            for item in graph.initializer
        }
        self.input, self.output = graph.input[0].name, graph.output[0].name
        torch.set_num_threads(1)  # its idle CPU threads spin, on every core
        torch.backends.cudnn.benchmark = False  # batch sizes vary: no search at each new one

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests as one batch."""
        parts = [
            torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, self.input).to_dlpack())
            for request in requests
        ]
        codes = self._run(torch.cat(parts).to(self.device, torch.float16)).float().cpu()
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack(self.output, part.contiguous())]
            )
            for part in codes.split([len(part) for part in parts])
        ]

    def _run(self, samples: torch.Tensor) -> torch.Tensor:
        values = {self.input: samples, **self.weights}
        for node, given in self.nodes:
            values[node.output[0]] = _apply(
                node.op_type, [values[name] for name in node.input], given
            )
        return values[self.output]


def _apply(operator: str, inputs: list[torch.Tensor], given: dict[str, Any]) -> torch.Tensor:
    if operator == "Conv":
        convolve = functional.conv3d if inputs[0].dim() == 5 else functional.conv2d
        return convolve(*inputs, stride=tuple(given["strides"]))
    if operator == "MaxPool":
        return functional.max_pool2d(
            inputs[0], tuple(given["kernel_shape"]), tuple(given["strides"])
        )
    if operator == "Relu":
        return inputs[0].relu()
    if operator == "Transpose":
        return inputs[0].permute(*given["perm"])
    if operator == "Flatten":
        return inputs[0].flatten(1)
    if operator == "Gemm":
        return functional.linear(*inputs)
    raise pb_utils.TritonModelException(f"operator {operator} is not one of a reference network")
