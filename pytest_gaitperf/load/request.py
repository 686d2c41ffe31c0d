"""What is sent: random data for a model's inputs, the same in every session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pytest_gaitperf.triton.models import ModelInfo, TensorSpec

DATA_SEED = 20_26
"""Seed of the random input data: the same bytes in every session."""

_BYTES_LENGTH = 16
_INTEGER_RANGE = 128


def random_tensor(
    spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator
) -> npt.NDArray[Any]:
    """Return a tensor of ``shape``: floats in [0, 1), integers in [0, 128), 16-byte strings.

    Small non-negative integers are valid token ids and class indices for most models.
    """
    if spec.datatype == "BYTES":
        letters = generator.integers(ord("a"), ord("z") + 1, (*shape, _BYTES_LENGTH), np.uint8)
        return letters.view(f"S{_BYTES_LENGTH}").reshape(shape).astype(np.object_)
    dtype = triton_to_np_dtype(spec.datatype)
    if dtype is None:
        raise ConfigurationError(
            f"input tensor {spec.name!r} has datatype {spec.datatype}, which cannot be generated; "
            "models with it cannot be measured"
        )
    kind = np.dtype(dtype).kind
    if kind == "f":
        return generator.random(shape, dtype=np.float32).astype(dtype)
    if kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    return generator.integers(0, _INTEGER_RANGE, shape).astype(dtype)


def input_tensors(
    model: ModelInfo,
    batch_size: int,
    shapes: Mapping[str, tuple[int, ...]],
    seed: int = DATA_SEED,
) -> dict[str, npt.NDArray[Any]]:
    """Return random data for the inputs of ``model``, by tensor name.

    ``shapes`` gives the shape (without the batch dimension) of tensors that the model leaves
    dynamic. An optional input is left out unless it has a shape there, or all inputs are optional.

    Raises
    ------
    ConfigurationError
        A dynamic tensor without a shape, a shape that contradicts the model's, or one of a tensor
        that the model does not have.
    """
    names = [spec.name for spec in model.inputs]
    unknown = [name for name in shapes if name not in names]
    if unknown:
        raise ConfigurationError(
            f"model {model.name!r} has no input tensor {unknown[0]!r}, to which the grid gives a "
            f"shape; its inputs are {', '.join(names)}"
        )
    generator = np.random.default_rng(seed)
    tensors = {}
    all_optional = all(spec.optional for spec in model.inputs)
    for spec in model.inputs:
        if spec.optional and spec.name not in shapes and not all_optional:
            continue
        shape = shapes.get(spec.name, spec.shape)
        fits = len(shape) == len(spec.shape) and all(
            given > 0 and wanted in (-1, given)
            for given, wanted in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            declared = list(spec.shape)
            problem = (
                f"has the shape {declared}, and the grid asks for {list(shape)}"
                if spec.name in shapes
                else f"has the dynamic shape {declared}"
            )
            raise ConfigurationError(
                f"model {model.name!r}: input tensor {spec.name!r} {problem}; give its shape in "
                f"the grid file, e.g. [shapes.{model.name}] {spec.name} = "
                f"{[size if size > 0 else 16 for size in spec.shape]}"
            )
        full = (batch_size, *shape) if model.max_batch_size > 0 else shape
        tensors[spec.name] = random_tensor(spec, full, generator)
    return tensors
