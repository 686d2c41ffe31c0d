"""Tensors in system shared memory: one region, written once, that the server maps too.

The region's name exists only while the server maps it, a moment before any data is in it: it is
unlinked then, and the kernel frees the memory when the last of the two processes lets go of it,
however they end. What can be left behind is a registration on a server that outlives us; the name
carries our process's id, so that the next run takes back those of processes that are gone.

``tritonclient.utils.shared_memory`` is not used: it keeps the name until the end, and it does not
reserve the memory, so that a full /dev/shm kills the process by SIGBUS.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import secrets
import time
from contextlib import suppress
from http.client import OK, HTTPException
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pytest_gaitperf.errors import MeasurementError, ServerError
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.lease import SHARED_MEMORY, abandoned, prefix, sweep
from pytest_gaitperf.load.encode import Area, Places, encode_http, tensor_bytes
from pytest_gaitperf.load.memory import fixed_size, input_size
from pytest_gaitperf.load.sequences import whole_sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.way import Way
    from pytest_gaitperf.workload import Workload

_ALIGNMENT = 64
"""No two tensors share a cache line: two slots' outputs are written at the same time."""
_IN_USE_S = 10.0
"""How long a request that was given up may keep the region in use."""
_REFUSES_WHILE_IN_USE = (2, 51)
"""The oldest version of which it was seen that it does not unmap a region in use."""
_INLINE_INSTEAD = "or use inline tensors"


class ServerApi(Protocol):
    """What is asked of the server at ``url``; a refusal is a ServerError."""

    url: str
    authority: str
    way: Way

    def metadata(self) -> tuple[str, str]:
        """Return the server's id and version."""

    def infer(self, request: bytes) -> tuple[int, int, bytes]:
        """Send an encoded request; return status, length of the JSON, and the whole answer."""

    def register_region(self, name: str, key: str, size: int) -> None:
        """Let the server map ``size`` bytes of the shared memory object ``key``."""

    def unregister_region(self, name: str) -> None:
        """Let the server unmap a region."""

    def regions(self) -> list[str]:
        """Return the names of the registered regions."""


class SharedTensors:
    """The inputs of all samples, and room for the outputs of each slot, registered at the server.

    ``places`` says where: the inputs are written once and read by all slots; the outputs of each
    slot have a place of their own. An output whose size the model leaves open gets the size that it
    has in one inline inference of each sample: create this before the server's counters are read.
    Use as a context manager; close it after the load has drained, for the server may write to it
    until then; ``in_use`` says whether it may where an error ends the load. Raises MeasurementError
    where the server cannot map this host's memory, /dev/shm is too small, or a size cannot be
    found, and ServerError where the server does not answer.
    """

    def __init__(
        self,
        api: ServerApi,
        model: ModelInfo,
        workload: Workload,
        samples: Sequence[Sample],
        slots: int,
    ) -> None:
        self.name = prefix("tensors") + secrets.token_hex(4)
        self.in_use: Callable[[], bool] = lambda: False
        self._api = api
        self._end = 0
        sizes = _output_sizes(api, model, workload, samples)
        inputs = [
            {name: self._reserve(input_size(array)) for name, array in sample.items()}
            for sample in samples
        ]
        outputs = [
            {name: self._reserve(size) for name, size in sizes.items()} for _ in range(slots)
        ]
        self.places = Places(self.name, inputs, outputs)
        self.memory = self._map()
        try:
            # Take back what processes that are gone registered: the server holds their memory.
            for name in filter(abandoned, api.regions()):
                with suppress(ServerError):  # one that is in use after all is not ours to judge
                    api.unregister_region(name)
            for sample, areas in zip(samples, inputs, strict=True):
                for name, array in sample.items():
                    start, size = areas[name]
                    if array.dtype == np.object_:
                        self.memory[start : start + size] = tensor_bytes(array)
                        continue
                    # Straight into the region: no copy of a large tensor in between.
                    np.frombuffer(self.memory, array.dtype, array.size, start)[:] = array.ravel()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.close(drained=kind is None or not self.in_use())

    def close(self, *, drained: bool = True) -> None:
        """Unregister the region and free the memory; idempotent.

        A server that may still work on requests (not ``drained``) refuses that until it is done.
        Where it is gone, or works on for 10 s, or is so old that it would unmap the memory under
        the model's hands and crash, it keeps the region: the next run takes it back.
        """
        if self.memory.closed:
            return
        self.memory.close()
        with suppress(ServerError):
            version = () if drained else re.findall(r"\d+", self._api.metadata()[1])
            if not drained and tuple(map(int, version[:2])) < _REFUSES_WHILE_IN_USE:
                return
        deadline = time.monotonic() + _IN_USE_S
        while True:
            try:
                self._api.unregister_region(self.name)
            except ServerError as error:
                if "in use" in str(error) and time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
            return

    def _reserve(self, size: int) -> Area:
        area = Area(self._end, size)
        self._end += -(-max(size, 1) // _ALIGNMENT) * _ALIGNMENT
        return area

    def _map(self) -> mmap.mmap:
        """Create the region, let the server map it, take its name away, and map it too."""
        sweep()  # a process may have been killed in the moment before it had unlinked
        path = SHARED_MEMORY / self.name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MeasurementError(
                f"no shared memory can be made in {SHARED_MEMORY} ({error.strerror}): make it "
                f"writable, {_INLINE_INSTEAD}"
            ) from error
        try:
            try:
                os.ftruncate(descriptor, self._end)
                self._register()
            finally:
                path.unlink(missing_ok=True)
            # Memory that is not there is an error here; later it would be a SIGBUS.
            os.posix_fallocate(descriptor, 0, self._end)
            return mmap.mmap(descriptor, self._end)
        except BaseException as error:
            with suppress(ServerError):
                self._api.unregister_region(self.name)
            if isinstance(error, OSError):
                raise self._too_small(error) from error
            raise
        finally:
            os.close(descriptor)

    def _register(self) -> None:
        try:
            self._api.register_region(self.name, f"/{self.name}", self._end)
        except ServerError as error:
            why = f"{error}; it takes no shared memory: use inline tensors"
            if "open shared memory region" in str(error):
                why = (
                    f"Triton at {self._api.url} cannot open shared memory of this host: it runs on "
                    "another host, as another user, or in a container without --ipc=host; start it "
                    f"with that, {_INLINE_INSTEAD}"
                )
            raise MeasurementError(why) from error

    def _too_small(self, error: OSError) -> MeasurementError:
        needed = math.ceil(self._end / 2**20)
        state = os.statvfs(SHARED_MEMORY)
        free = state.f_bavail * state.f_frsize / 2**20
        return MeasurementError(
            f"{needed} MiB of shared memory are needed, and {SHARED_MEMORY} has {free:.0f} MiB "
            f"free ({error.strerror}): enlarge it (mount -o remount,size=..., in a container "
            f"--shm-size=...), use a smaller batch or fewer requests at once, {_INLINE_INSTEAD}"
        )


def _output_sizes(
    api: ServerApi, model: ModelInfo, workload: Workload, samples: Sequence[Sample]
) -> dict[str, int]:
    """Return the bytes of each output: by the metadata, else by asking for them once."""
    sizes = {spec.name: fixed_size(spec, model, workload.batch_size) for spec in model.outputs}
    known = {name: size for name, size in sizes.items() if size is not None}
    if len(known) == len(sizes):
        return known
    told = {} if workload.sequence_length == (0, 0) else whole_sequence()
    (requests,) = encode_http(model, workload, api.authority, samples, way=api.way, parameters=told)
    answers = [_answered_sizes(api, request) for request in requests]
    return {name: max(answer.get(name, 0) for answer in answers) for name in sizes}


def _answered_sizes(api: ServerApi, request: bytes) -> dict[str, int]:
    """Send one inline request and return the bytes of each output in the answer."""
    try:
        status, json_length, content = api.infer(request)
        document = parse_json(content[:json_length])
        if status == OK:
            return _declared_sizes(document, len(content))
        reason = document.get("error", document)
    except (OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"an answer of an unknown form ({error})"
    raise MeasurementError(
        f"the sizes of the outputs are not fixed, and asking for them once failed: {reason}"
    )


def _declared_sizes(document: Any, most: int) -> dict[str, int]:
    sizes = {
        str(output["name"]): int(output["parameters"]["binary_data_size"])
        for output in document["outputs"]
    }
    if not all(0 <= size <= most for size in sizes.values()):
        raise ValueError(f"its outputs cannot have {sizes} bytes")
    return sizes
