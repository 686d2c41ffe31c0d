"""Values as a tensor of a model's datatype holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_gaitperf.model import TensorSpec

    Array = npt.NDArray[Any]

_BF16_BYTES = 2


def numpy_dtype(datatype: str) -> np.dtype[Any] | None:
    """Return what NumPy calls a datatype of KServe's; None for one that it cannot hold."""
    dtype = triton_to_np_dtype(datatype)
    # An older tritonclient has BF16 for FP32, which is longer.
    none = dtype is None or (datatype == "BF16" and np.dtype(dtype).itemsize != _BF16_BYTES)
    return None if none else np.dtype(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a datatype holds decimals; NumPy does not say so of BF16."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def dtype_of(where: str, spec: TensorSpec) -> np.dtype[Any]:
    """Return NumPy's datatype of a tensor; ConfigurationError where it has none."""
    if (dtype := numpy_dtype(spec.datatype)) is None:
        raise ConfigurationError(f"{where}: data of datatype {spec.datatype} cannot be read")
    return dtype


def cast_to(where: str, array: Array, spec: TensorSpec, *, exact: bool) -> Array:
    """Return the array in the tensor's datatype; without ``exact`` decimals may be rounded.

    Raises ConfigurationError for a value that it does not have.
    """
    dtype = dtype_of(where, spec)
    if dtype == np.object_:
        return texts_of(where, array)
    if array.dtype.kind not in "biuf":
        raise ConfigurationError(
            f"{where}: holds values of type {array.dtype}, and the model wants {spec.datatype}"
        )
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        # No file of NumPy's has BF16: it is rounded to.
        if exact and dtype.name != "bfloat16":
            # The sign is compared too: -1 becomes 255, and comes back as -1.
            lost = (cast.astype(array.dtype) != array) | ((cast < 0) != (array < 0))
        else:
            lost = np.isinf(cast) & np.isfinite(array)
        if array.dtype.kind == "f":
            # An infinity may come back from the largest integer: that is none.
            lost = lost & ~np.isnan(array) if is_float(dtype) else lost | ~np.isfinite(array)
    if lost.any():
        first = tuple(np.argwhere(lost)[0])
        sample = f" of sample {first[0]}" if exact else ""
        raise not_held(where, f"{array[first]}{sample}", spec, dtype)
    return cast


def not_held(
    where: str, value: object, spec: TensorSpec, dtype: np.dtype[Any]
) -> ConfigurationError:
    """Return the error for a value that the tensor's datatype does not have."""
    return ConfigurationError(
        f"{where}: the value {value} cannot be held by the model's {spec.datatype}: convert the "
        f"data first, e.g. with .astype({dtype.name!r})"
    )


def texts_of(where: str, array: Array) -> Array:
    """Return strings as bytes, in an array of objects; ConfigurationError for anything else."""
    texts = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    if not all(isinstance(text, bytes) for text in texts):
        raise ConfigurationError(f"{where}: holds {array.dtype}, and the model wants strings")
    result = np.empty(len(texts), np.object_)
    result[:] = texts
    return result.reshape(array.shape)
