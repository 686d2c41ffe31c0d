"""Samples as the bytes of whole requests, encoded once; the hot loop only moves them.

Tensors travel in the request (inline, in Triton's binary form) or lie in shared memory, where the
request only says where. Every response carries, or writes there, all outputs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from tritonclient.utils import serialize_byte_tensor

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.model import model_path
from pytest_gaitperf.way import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.workload import Workload

_LARGEST_MESSAGE = 2**31 - 1
"""Protobuf's limit for one message, in bytes."""
_NONE: Mapping[str, bool | int] = MappingProxyType({})


class Area(NamedTuple):
    """A tensor's place in a region of shared memory, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where tensors lie in a region of shared memory, by name: of each sample, and of each slot."""

    region: str
    inputs: Sequence[Mapping[str, Area]]
    outputs: Sequence[Mapping[str, Area]]


Requests: TypeAlias = "Sequence[Sequence[bytes]]"
"""What is sent: slot i sends the requests of ``requests[i % len(requests)]`` in rotation."""


def tensor_bytes(array: npt.NDArray[Any]) -> bytes:
    """Return a tensor as it travels: C order, and each string of a BYTES tensor with its length."""
    if array.dtype == np.object_:
        serialized = serialize_byte_tensor(array)
        return bytes(serialized.item()) if serialized.size else b""
    return array.tobytes()


def encode_http(
    model: ModelInfo,
    workload: Workload,
    host: str,
    samples: Sequence[Sample],
    places: Places | None = None,
    *,
    way: Way = PLAIN,
    parameters: Mapping[str, bool | int] = _NONE,
) -> Requests:
    """Encode one ``POST /v2/models/M[/versions/V]/infer`` per sample, head and body in one buffer.

    Inline, all slots share the requests; with ``places``, each slot has its own, whose outputs go
    to its own place. ``parameters`` are those of each request.
    """
    datatypes = {spec.name: spec.datatype for spec in model.inputs}
    path = way.prefix + model_path(workload.model, workload.version)
    told = [f"Host: {host}", *(f"{name}: {value}" for name, value in way.headers)]

    def request(slot: int, index: int) -> bytes:
        inputs: list[dict[str, Any]] = []
        tensors: list[bytes] = []
        for name, array in samples[index].items():
            if places is None:
                tensors.append(tensor_bytes(array))
                place: dict[str, Any] = {"binary_data_size": len(tensors[-1])}
            else:
                place = _place(places.region, places.inputs[index][name])
            tensor = {"name": name, "shape": list(array.shape), "datatype": datatypes[name]}
            inputs.append({**tensor, "parameters": place})
        outputs = []
        for spec in model.outputs:
            place = {"binary_data": True}
            if places is not None:
                place = _place(places.region, places.outputs[slot][spec.name])
            outputs.append({"name": spec.name, "parameters": place})
        asked: dict[str, Any] = {"inputs": inputs, "outputs": outputs}
        if parameters:
            asked = {"parameters": parameters, **asked}
        document = json.dumps(asked).encode()
        length = len(document) + sum(map(len, tensors))
        head = [f"POST {path}/infer HTTP/1.1", *told, f"Content-Length: {length}"]
        if tensors:
            head.append("Content-Type: application/octet-stream")
            head.append(f"Inference-Header-Content-Length: {len(document)}")
        return b"".join(["\r\n".join([*head, "", ""]).encode("latin-1"), document, *tensors])

    return _for_slots(request, samples, places)


def encode_grpc(
    model: ModelInfo,
    workload: Workload,
    samples: Sequence[Sample],
    places: Places | None = None,
    *,
    parameters: Mapping[str, bool | int] = _NONE,
) -> Requests:
    """Encode one serialized ``ModelInferRequest``, below 2 GiB, per sample; see ``encode_http``."""
    # Not at the top: it imports grpc, 0.4 s that a load over HTTP need not pay.
    from tritonclient.grpc import service_pb2  # noqa: PLC0415

    datatypes = {spec.name: spec.datatype for spec in model.inputs}

    def place(tensor: Any, region: str, area: Area) -> None:
        for key, value in _place(region, area).items():
            kind = "string_param" if isinstance(value, str) else "int64_param"
            setattr(tensor.parameters[key], kind, value)

    def request(slot: int, index: int) -> bytes:
        message = service_pb2.ModelInferRequest(
            model_name=workload.model, model_version=workload.version
        )
        for key, value in parameters.items():
            kind = "bool_param" if isinstance(value, bool) else "int64_param"
            setattr(message.parameters[key], kind, value)
        for name, array in samples[index].items():
            tensor = message.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
            if places is None:
                message.raw_input_contents.append(tensor_bytes(array))
            else:
                place(tensor, places.region, places.inputs[index][name])
        for spec in model.outputs:
            wanted = message.outputs.add(name=spec.name)
            if places is not None:
                place(wanted, places.region, places.outputs[slot][spec.name])
        size = message.ByteSize()
        if size > _LARGEST_MESSAGE:
            raise ConfigurationError(
                f"workload {workload.id}: a request of {size / 1e9:.1f} GB is above the 2 GiB that "
                "gRPC can send; use shared memory, HTTP, or a smaller batch"
            )
        return bytes(message.SerializeToString())

    return _for_slots(request, samples, places)


def _for_slots(
    request: Callable[[int, int], bytes], samples: Sequence[Sample], places: Places | None
) -> Requests:
    slots = 1 if places is None else len(places.outputs)
    return [[request(slot, index) for index in range(len(samples))] for slot in range(slots)]


def _place(region: str, area: Area) -> dict[str, Any]:
    """Return the parameters of a tensor that lies in shared memory."""
    return {
        "shared_memory_region": region,
        "shared_memory_byte_size": area.size,
        "shared_memory_offset": area.offset,
    }
