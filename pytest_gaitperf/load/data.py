"""What is sent: random data, zeros or a user's file, as the arrays and the bytes of whole requests.

Requests are encoded once; the hot loop only moves their bytes. Tensors travel in
the request (inline, in Triton's binary form) or lie in shared memory, where the request only says
where. Every response carries, or writes there, all outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pytest_gaitperf.arrays import MOST_DIMENSIONS, free_memory
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load.datafile import read_samples
from pytest_gaitperf.load.tensors import is_float, numpy_dtype
from pytest_gaitperf.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from pytest_gaitperf.model import ModelInfo, TensorSpec
    from pytest_gaitperf.workload import Workload

Sample: TypeAlias = "Mapping[str, npt.NDArray[Any]]"
"""The arrays of one request, or of an answer, by tensor name, batch dimension included."""

DATA_SEED = 20_26
"""Seed of the random input data: the same bytes in every session."""

DEFAULT_DATA = f"random, seed {DATA_SEED}"
"""The description of data that nobody asked for."""

MOST_BYTES = 256 * 10**6
"""How much memory the different requests of a cell may take."""

MOST_IN_FLIGHT = 256
"""Connections of an open loop at most.

Enough that a server which stalls for 300 ms at 500 requests a second has them all, as it would in
the field, and few enough for the usual limit of 1024 open files. More wait in the client.
"""
FEWEST_SLOTS = 16
_SECONDS_IN_FLIGHT = 4.0
_REQUEST_BYTES = 1024
_PLACES_IN_A_SEQUENCE = 4

_BYTES_LENGTH = 16
_INTEGER_RANGE = 128


@dataclass(frozen=True, slots=True)
class InputData:
    """The requests of a cell: ``samples`` are sent in rotation, each a whole batch.

    ``description`` is the same wherever the data is; ``note`` is what the user should know.
    ``answers`` are the outputs that are known, sample by sample; () where nothing is.
    """

    samples: tuple[Sample, ...]
    description: str
    note: str | None = None
    answers: tuple[Sample, ...] = ()


def input_data(model: ModelInfo, workload: Workload, source: str = "random") -> InputData:
    """Return what the workload's requests carry: ``random``, ``zeros``, or a file's samples.

    A file's samples fill requests in rotation, each as often as every other; beyond ``MOST_BYTES``
    the rest is left out. Raises ConfigurationError, with file, tensor and sample, for data that
    does not fit the model, a dynamic tensor without a shape, a request that memory cannot hold, and
    a file of no use, or not the one that the workload names.
    """
    shapes, size = dict(workload.shapes), workload.batch_size
    if source == "random":
        tensors = input_tensors(model, size, shapes, ranges=dict(workload.ranges))
        ranges = "".join(f", {name} in [{low}, {high}]" for name, (low, high) in workload.ranges)
        return InputData((tensors,), DEFAULT_DATA + ranges)
    if source == "zeros":
        tensors = input_tensors(model, size, shapes)
        zeros = {
            name: np.full_like(array, b"") if array.dtype == np.object_ else np.zeros_like(array)
            for name, array in tensors.items()
        }
        return InputData((zeros,), "zeros")
    given = resolved_shapes(model, shapes, strict=False)
    arrays, description, answers = read_samples(Path(source), model, given)
    if not description.endswith(workload.data):
        raise ConfigurationError(
            f"{source}: is {description}, and was {workload.data} when the run began: run again, "
            "and leave the data alone meanwhile"
        )
    count = len(next(iter(arrays.values())))
    distinct = math.lcm(count, size) // size
    tensor_bytes = sum(
        array.nbytes if array.dtype != np.object_ else sum(map(len, array.flat))
        for array in arrays.values()
    )
    request_bytes = tensor_bytes / count * size + bytes_beside(workload, slots_of(workload))
    fit = max(int(MOST_BYTES / request_bytes), 1)
    notes = []
    if fit < distinct:
        notes.append(
            f"only {min(fit * size, count)} of the {count} samples of {source} are sent: requests "
            f"of more than {MOST_BYTES / 1e6:.0f} MB are not kept"
        )
    if answers and (unseen := _unseen(workload)):
        notes.append(f"the validation_data of {source} is not compared: {unseen}")
        answers = {}
    requests = range(min(distinct, fit))

    def cut(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Sample, ...]:
        rows = [
            np.arange(index * size, (index + 1) * size) % count if model.batched else index
            for index in requests
        ]
        return tuple({name: array[row] for name, array in arrays.items()} for row in rows)

    return InputData(
        cut(arrays), description, "; ".join(notes) or None, cut(answers) if answers else ()
    )


def slots_of(workload: Workload) -> int:
    """Return how many requests may be in flight, of a search at most.

    Of an open loop that is what is due in four seconds. A server that is further behind has a
    backlog anyway, and what is in flight has to be waited for at the end of the load. In a recorded
    burst more may be due.
    """
    if workload.concurrency or workload.at_once:
        return workload.concurrency or workload.at_once
    due = math.ceil(_SECONDS_IN_FLIGHT * workload.sends_per_s)
    most = workload.trace or workload.search
    return MOST_IN_FLIGHT if most else min(max(due, FEWEST_SLOTS), MOST_IN_FLIGHT)


def bytes_beside(workload: Workload, slots: int) -> int:
    """Return about how much the requests of a sample take beside its tensors, a kilobyte each.

    Where memory is shared each slot has its own, and of sequences there is one for each place.
    """
    places = 1 if workload.sequence_length == (0, 0) else _PLACES_IN_A_SEQUENCE
    return _REQUEST_BYTES * places * (slots if workload.transport == "shm" else 1)


def _unseen(workload: Workload) -> str:
    """Say why a load does not see the answers that it gets, "" where it does."""
    if workload.transport == "shm":
        return "the outputs lie in shared memory"
    if workload.streaming:
        return "a request has many answers"
    return "a sequence has a state" if workload.sequence_length != (0, 0) else ""


def single_samples(
    model: ModelInfo, workload: Workload, source: str, most: int, *, whole: bool
) -> tuple[Iterator[Sample], int]:
    """Return samples to be sent one by one, and how many the data has: as many differ as can.

    Random ones are the same in every session, and no two alike. Of a file they are the first
    ``most``, or the ``whole``. Raises as ``input_data``.
    """
    if source != "random":
        one_by_one = replace(workload, batch_size=1)
        samples = input_data(model, one_by_one, source).samples
        return iter(samples if whole else samples[:most]), len(samples)
    shapes, ranges = dict(workload.shapes), dict(workload.ranges)
    seeds = range(DATA_SEED, DATA_SEED + most)
    return (input_tensors(model, 1, shapes, seed, ranges) for seed in seeds), most


_STRING_BYTES = 130
"""What a random string of 16 bytes takes in all of its forms."""


def check_inputs(
    model: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Raise ConfigurationError for shapes that the model cannot have, and unknown tensors."""
    resolved_shapes(model, shapes, strict=False)
    _check_names(model, ranges, "a range")


def resolved_shapes(
    model: ModelInfo, shapes: Mapping[str, tuple[int, ...]], *, strict: bool = True
) -> dict[str, tuple[int, ...]]:
    """Return the shape of every input, without the batch dimension: the grid's or the model's.

    Raises ConfigurationError for a shape that contradicts the model's, one of a tensor that the
    model does not have, and, if ``strict``, a dynamic tensor without one.
    """
    _check_names(model, shapes, "a shape")
    sent = _sent(model, shapes)
    resolved = {}
    for spec in model.inputs:
        shape = shapes.get(spec.name, spec.shape)
        fits = len(shape) == len(spec.shape) and all(
            wanted in (-1, given) for given, wanted in zip(shape, spec.shape, strict=True)
        )
        if not fits or (strict and spec in sent and min(shape, default=1) < 0):
            declared = list(spec.shape)
            leading = len(shape) - len(spec.shape)
            problem = (
                f"has the shape {declared}, and the grid asks for {list(shape)}"
                if spec.name in shapes
                else f"has the dynamic shape {declared}"
            )
            if leading == 1 and model.batched:
                problem += ", which must be without the batch dimension"
            elif leading == -1 and not model.batched:
                problem += ", which must be whole: the model takes no batches (max_batch_size 0)"
            raise ConfigurationError(
                f"model {model.name!r}: input tensor {spec.name!r} {problem}; give its shape in "
                f"the grid file, e.g. [shapes.{model.name}] {spec.name} = "
                f"{[size if size > 0 else 16 for size in spec.shape]}"
            )
        resolved[spec.name] = shape
    return resolved


def input_tensors(
    model: ModelInfo,
    batch_size: int,
    shapes: Mapping[str, tuple[int, ...]],
    seed: int = DATA_SEED,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Return random data for the inputs of ``model``, by tensor name.

    ``shapes`` gives the shape (without the batch dimension) of tensors that the model leaves
    dynamic, ``ranges`` the lowest and the highest value of a tensor. An optional input is left out
    unless it has a shape there, or all inputs are optional. Raises as ``resolved_shapes``, and for
    a range that contradicts the model.
    """
    ranges = ranges or {}
    _check_names(model, ranges, "a range")
    generator = np.random.default_rng(seed)
    batch = (batch_size,) if model.batched else ()
    resolved = resolved_shapes(model, shapes)
    full = {spec: (*batch, *resolved[spec.name]) for spec in _sent(model, shapes)}
    _check_sizes(model, full)
    return {
        spec.name: random_tensor(spec, shape, generator, ranges.get(spec.name))
        for spec, shape in full.items()
    }


def _sent(model: ModelInfo, shapes: Mapping[str, tuple[int, ...]]) -> list[TensorSpec]:
    needed = [spec for spec in model.inputs if not spec.optional or spec.name in shapes]
    all_optional = all(spec.optional for spec in model.inputs)
    return list(model.inputs) if all_optional else needed


def _check_sizes(model: ModelInfo, full: Mapping[TensorSpec, tuple[int, ...]]) -> None:
    """Refuse, before any is made, tensors that NumPy has no shape for, or memory no room.

    Each is there four times: as it is drawn, in its datatype, encoded, and in the request.
    """
    for spec, shape in full.items():
        if len(shape) > MOST_DIMENSIONS:
            raise ConfigurationError(
                f"model {model.name!r}: input tensor {spec.name!r} has {len(shape)} dimensions, "
                f"and at most {MOST_DIMENSIONS} can be sent"
            )
    sizes = {}
    for spec, shape in full.items():
        dtype = numpy_dtype(spec.datatype)
        each = _STRING_BYTES if spec.datatype == "BYTES" or dtype is None else 4 * dtype.itemsize
        sizes[spec] = math.prod(shape) * each
    free = free_memory()
    if sum(sizes.values()) > free:
        largest = max(sizes, key=lambda spec: sizes[spec])
        raise ConfigurationError(
            f"model {model.name!r}: input tensor {largest.name!r} of the shape "
            f"{list(full[largest])} takes {sizes[largest] / 1e9:.1f} GB of the "
            f"{sum(sizes.values()) / 1e9:.1f} GB of a request, and {free / 1e9:.1f} GB of memory "
            "are free: give a smaller shape or batch"
        )


def _check_names(model: ModelInfo, given: Mapping[str, object], what: str) -> None:
    names = [spec.name for spec in model.inputs]
    if unknown := [name for name in given if name not in names]:
        raise ConfigurationError(
            f"model {model.name!r} has no input tensor {unknown[0]!r}, to which the grid gives "
            f"{what}{did_you_mean(unknown[0], names)} its inputs are {', '.join(names)}"
        )


def random_tensor(
    spec: TensorSpec,
    shape: tuple[int, ...],
    generator: np.random.Generator,
    limits: tuple[float, float] | None = None,
) -> npt.NDArray[Any]:
    """Return a tensor of ``shape``: floats in [0, 1), integers in [0, 128), 16-byte strings.

    Small non-negative integers are valid token ids and class indices for most models. With
    ``limits`` numbers lie between the two, both included where they are whole.
    """
    if spec.datatype == "BYTES" and limits is None:
        letters = generator.integers(ord("a"), ord("z") + 1, (*shape, _BYTES_LENGTH), np.uint8)
        return letters.view(f"S{_BYTES_LENGTH}").reshape(shape).astype(np.object_)
    if (dtype := numpy_dtype(spec.datatype)) is None:
        raise ConfigurationError(
            f"input tensor {spec.name!r} has datatype {spec.datatype}, which cannot be generated; "
            "models with it cannot be measured"
        )
    if limits is not None:
        _check_limits(spec, dtype, limits)
        if is_float(dtype):
            return generator.uniform(*limits, shape).astype(dtype)
        return generator.integers(int(limits[0]), int(limits[1]), shape, dtype, endpoint=True)
    if is_float(dtype):
        return generator.random(shape, dtype=np.float32).astype(dtype)
    return generator.integers(0, 2 if dtype.kind == "b" else _INTEGER_RANGE, shape).astype(dtype)


def _check_limits(spec: TensorSpec, dtype: np.dtype[Any], limits: tuple[float, float]) -> None:
    where = f"input tensor {spec.name!r}: the range [{limits[0]}, {limits[1]}]"
    if not is_float(dtype) and dtype.kind not in "iu":
        raise ConfigurationError(f"{where} makes no sense for {spec.datatype}: leave it out")
    # BF16 ends a little before FP32.
    of = dtype if dtype.kind == "f" else np.dtype(np.float32)
    info = np.finfo(of) if is_float(dtype) else np.iinfo(dtype)
    whole = is_float(dtype) or all(float(limit).is_integer() for limit in limits)
    if not whole or limits[0] < info.min or limits[1] > info.max:
        raise ConfigurationError(
            f"{where} has limits that {spec.datatype} does not have: give "
            f"{'numbers' if is_float(dtype) else 'whole numbers'} from {info.min} to {info.max}"
        )
