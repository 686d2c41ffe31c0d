"""Encode inference requests, once, with tritonclient; the hot loop only moves their bytes.

Tensors travel in the request (inline, in Triton's binary form) or lie in shared memory, where the
request only says where. Every response carries, or writes there, all outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import numpy as np
from tritonclient.utils import serialize_byte_tensor

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.record import Requests
    from pytest_gaitperf.load.shared_memory import Area, SharedTensors
    from pytest_gaitperf.triton.models import ModelInfo
    from pytest_gaitperf.workload import Workload

Sample: TypeAlias = "Mapping[str, npt.NDArray[Any]]"
"""The input arrays of one request by tensor name, batch dimension included."""

_LARGEST_MESSAGE = 2**31 - 1
"""Protobuf's limit for one message, in bytes."""


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
    shared: SharedTensors | None = None,
) -> Requests:
    """Encode one ``POST /v2/models/M[/versions/V]/infer`` per sample, head and body in one buffer.

    Inline, all slots share the requests; with ``shared``, each slot has its own, whose outputs go
    to its own place.
    """
    # Not at the top: it imports gevent, 0.1 s that a load over gRPC need not pay.
    import tritonclient.http as triton_http  # noqa: PLC0415

    datatypes = {spec.name: spec.datatype for spec in model.inputs}
    path = f"/v2/models/{quote(workload.model, safe='')}"
    if workload.version:
        path += f"/versions/{quote(workload.version, safe='')}"

    def body_of(slot: int, index: int) -> tuple[bytes, int | None]:
        """Return body and length of its JSON; tritonclient's copy of the tensors ends here."""
        inputs = []
        for name, array in samples[index].items():
            tensor = triton_http.InferInput(name, list(array.shape), datatypes[name])
            if shared is None:
                tensor.set_data_from_numpy(array, binary_data=True)
            else:
                area = shared.input(index, name)
                tensor.set_shared_memory(shared.name, area.size, area.offset)
            inputs.append(tensor)
        outputs = []
        for spec in model.outputs:
            wanted = triton_http.InferRequestedOutput(spec.name, binary_data=True)
            if shared is not None:
                area = shared.output(slot, spec.name)
                wanted.set_shared_memory(shared.name, area.size, area.offset)
            outputs.append(wanted)
        body, json_length = triton_http.InferenceServerClient.generate_request_body(
            inputs, outputs=outputs
        )
        return bytes(body), json_length

    def request(slot: int, index: int) -> bytes:
        body, json_length = body_of(slot, index)
        head = [f"POST {path}/infer HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        if json_length is not None:
            head += [
                "Content-Type: application/octet-stream",
                f"Inference-Header-Content-Length: {json_length}",
            ]
        return "\r\n".join([*head, "", ""]).encode("ascii") + body

    slots = 1 if shared is None else shared.slots
    return [[request(slot, index) for index in range(len(samples))] for slot in range(slots)]


def encode_grpc(
    model: ModelInfo,
    workload: Workload,
    samples: Sequence[Sample],
    shared: SharedTensors | None = None,
) -> Requests:
    """Encode one serialized ``ModelInferRequest`` per sample; slots as in ``encode_http``.

    Raises
    ------
    ConfigurationError
        A message above 2 GiB, which protobuf cannot hold.
    """
    # Not at the top: it imports grpc, 0.4 s that a load over HTTP need not pay.
    from tritonclient.grpc import service_pb2  # noqa: PLC0415

    datatypes = {spec.name: spec.datatype for spec in model.inputs}

    def request(slot: int, index: int) -> bytes:
        message = service_pb2.ModelInferRequest(
            model_name=workload.model, model_version=workload.version
        )
        for name, array in samples[index].items():
            tensor = message.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
            if shared is None:
                message.raw_input_contents.append(tensor_bytes(array))
            else:
                _place(tensor, shared.name, shared.input(index, name))
        for spec in model.outputs:
            wanted = message.outputs.add(name=spec.name)
            if shared is not None:
                _place(wanted, shared.name, shared.output(slot, spec.name))
        size = message.ByteSize()
        if size > _LARGEST_MESSAGE:
            raise ConfigurationError(
                f"workload {workload.id}: a request of {size / 1e9:.1f} GB is above the 2 GiB that "
                "gRPC can send; use shared memory, HTTP, or a smaller batch"
            )
        return bytes(message.SerializeToString())

    slots = 1 if shared is None else shared.slots
    return [[request(slot, index) for index in range(len(samples))] for slot in range(slots)]


def _place(tensor: Any, region: str, area: Area) -> None:
    """Say in a protobuf tensor where in a region its bytes are."""
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = area.size
    tensor.parameters["shared_memory_offset"].int64_param = area.offset
