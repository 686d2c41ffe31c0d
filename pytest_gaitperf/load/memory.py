"""What a load takes of this machine's memory, asked for before any of it is taken."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.arrays import free_memory
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.data import bytes_beside
from pytest_gaitperf.load.encode import tensor_bytes
from pytest_gaitperf.load.tensors import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.model import ModelInfo, TensorSpec
    from pytest_gaitperf.workload import Workload


def check_room(
    model: ModelInfo, workload: Workload, samples: Sequence[Sample], slots: int, *, beside: bool
) -> None:
    """Raise MeasurementError where the load's requests and answers do not fit into free memory.

    ``slots`` are the most in flight; ``beside``: the server is on this machine, and holds what is
    in flight once more. Outputs whose size the model leaves open count as nothing.
    """
    at_once = workload.concurrency or min(slots, math.ceil(workload.sends_per_s))
    requests = [sum(map(input_size, sample.values())) for sample in samples]
    answer = sum(fixed_size(spec, model, workload.batch_size) or 0 for spec in model.outputs)
    shared = workload.transport == "shm"
    parts = {
        "its requests": sum(requests) + len(samples) * bytes_beside(workload, slots),
        "its answers": (slots if shared else at_once) * answer,
        "the server's copies": 0 if shared or not beside else at_once * (max(requests) + answer),
    }
    needed, free = sum(parts.values()), free_memory()
    if needed > free:
        listed = ", ".join(f"{size / 1e9:.1f} for {name}" for name, size in parts.items() if size)
        raise MeasurementError(
            f"{needed / 1e9:.1f} GB of memory are needed ({listed}), and {free / 1e9:.1f} GB are "
            "free: give a smaller batch or shape, or fewer requests at once"
        )


def input_size(array: npt.NDArray[Any]) -> int:
    """Return how many bytes a tensor has as it travels."""
    return len(tensor_bytes(array)) if array.dtype == np.object_ else array.nbytes


def fixed_size(spec: TensorSpec, model: ModelInfo, batch_size: int) -> int | None:
    """Return how many bytes a tensor of a batch has, None where the model leaves that open."""
    dtype = numpy_dtype(spec.datatype)
    if dtype is None or dtype == np.object_ or any(size < 0 for size in spec.shape):
        return None
    elements = math.prod(spec.shape) * (batch_size if model.batched else 1)
    return elements * dtype.itemsize
