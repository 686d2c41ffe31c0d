"""A user's input data: .npz, .npy, or JSON in perf_analyzer's input format."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import math
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from pytest_gaitperf.arrays import MOST_UNPACKED, read_npy, read_npz
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pytest_gaitperf.model import ModelInfo, TensorSpec

    Array = npt.NDArray[Any]

_SUFFIXES = (".npz", ".npy", ".json")
_DIGEST_DIGITS = 12
_BF16_BYTES = 2
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_samples(
    path: Path, model: ModelInfo, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Array], str]:
    """Read the samples for a model; of a directory, the file that has the model's name.

    ``shapes`` are those of the inputs, without the batch dimension, -1 where any size will do.
    Numbers must be held exactly by the tensor's datatype; only decimals of a JSON text are rounded.
    Returns arrays of the shape (samples, *shape of the tensor), and a description with the file's
    name, the number of samples and a hash of the content. Raises ConfigurationError for no such
    file, and samples that do not fit the model's inputs.
    """
    path, content = _content(path, model.name)
    if path.is_dir():
        tensors = _from_raw(path, model, shapes)
    elif path.suffix == ".json":
        tensors = _from_json(path, content, model, shapes)
    else:
        tensors = _from_numpy(path, content, model, shapes)
    counts = {name: len(array) for name, array in tensors.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigurationError(f"{path}: the tensors have different numbers of samples: {listed}")
    count = next(iter(counts.values()), 0)
    if not count:
        raise ConfigurationError(f"{path}: holds no samples for model {model.name!r}")
    return tensors, f"{path.name}, samples: {count}, {_digest(content)}"


def identity(source: str, model: str) -> str:
    """Return what ``Workload.data`` is for random data, zeros, or a file or directory of files.

    Raises ConfigurationError for a file that is not there, or cannot be read.
    """
    known = {"random": "", "zeros": "zeros"}
    return known[source] if source in known else _digest(_content(Path(source), model)[1])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]}"


def _content(path: Path, model: str) -> tuple[Path, bytes]:
    """Return a model's file, of a directory the one that has its name, and what is in it."""
    if path.is_dir():
        path = _of_model(path, model)
    if path.is_dir():
        return path, _raw_content(path)
    if path.suffix not in _SUFFIXES:
        raise ConfigurationError(
            f"{path}: input data is read from {', '.join(_SUFFIXES)} files, not {path.suffix!r}"
        )
    try:
        return path, read_bytes(path, MOST_UNPACKED)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error


def _of_model(directory: Path, model: str) -> Path:
    found = [path for suffix in _SUFFIXES if (path := directory / f"{model}{suffix}").is_file()]
    if (raw := directory / model).is_dir():
        found.append(raw)
    if len(found) != 1:
        names = ", ".join(f"{model}{suffix}" for suffix in _SUFFIXES)
        raise ConfigurationError(
            f"{directory}: has {'none' if not found else 'more than one'} of {names}: put one file "
            f"for model {model!r} there, or measure other models with --gaitperf-models"
        )
    return found[0]


def _raw_content(directory: Path) -> bytes:
    """Return the names and the content of perf_analyzer's raw files, one for each tensor."""
    try:
        files = sorted(path for path in directory.iterdir() if path.is_file())
        contents = [(path.name.encode(), read_bytes(path, MOST_UNPACKED)) for path in files]
    except OSError as error:
        raise ConfigurationError(f"{directory}: cannot be read: {error.strerror}") from error
    return b"".join(b"%b %d\n%b" % (name, len(raw), raw) for name, raw in contents)


def _from_raw(
    directory: Path, model: ModelInfo, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    """Read a file for each tensor: its bytes as they travel, or a text for each line."""
    files = {path.name: path for path in directory.iterdir() if path.is_file()}
    _check_tensors(f"{directory}", files, model)
    tensors = {}
    for spec in model.inputs:
        if spec.name not in files:
            continue
        where, content = f"{files[spec.name]}", read_bytes(files[spec.name], MOST_UNPACKED)
        shape, dtype = shapes[spec.name], _dtype(f"{files[spec.name]}", spec)
        if min(shape, default=1) < 0:
            raise ConfigurationError(
                f"{where}: the model leaves its shape open: give it in the grid"
            )
        if dtype == np.object_:
            flat = np.array([*content.splitlines(), None], np.object_)[:-1]
        elif len(content) % dtype.itemsize:
            raise ConfigurationError(f"{where}: {len(content)} bytes are no {spec.datatype} values")
        else:
            flat = np.frombuffer(content, dtype)
        if flat.size != math.prod(shape):
            raise ConfigurationError(
                f"{where}: has {flat.size} values, the shape {list(shape)} needs {math.prod(shape)}"
            )
        tensors[spec.name] = flat.reshape((1, *shape))
    return tensors


def _from_numpy(
    path: Path, content: bytes, model: ModelInfo, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    names = [spec.name for spec in model.inputs]
    single = path.suffix == ".npy"
    if single and len(names) != 1:
        raise ConfigurationError(
            f"{path}: one array, but model {model.name!r} has the inputs {', '.join(names)}: use "
            "an .npz file with one array for each"
        )
    if single and zipfile.is_zipfile(io.BytesIO(content)):
        raise ConfigurationError(f"{path}: is an archive: name it .npz")
    try:
        arrays = {names[0]: read_npy(content)} if single else read_npz(content)
    except ValueError as error:
        raise _unreadable(path, f"a NumPy {'array' if single else 'archive'}", error) from error
    _check_tensors(f"{path}", arrays, model)
    tensors = {}
    for spec in model.inputs:
        if spec.name in arrays:
            where, array = f"{path}: tensor {spec.name!r}", arrays[spec.name]
            shape = shapes[spec.name]
            if array.ndim == len(shape):  # without the dimension of samples it is one
                array = array[np.newaxis]
            of_sample = array.shape[1:] if array.ndim > len(shape) else array.shape
            _check_shape(where, of_sample, shape)
            tensors[spec.name] = _cast(where, array, spec, exact=True)
    return tensors


def _from_json(
    path: Path, content: bytes, model: ModelInfo, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    try:
        document = parse_json(content)
    except ValueError as error:
        raise _unreadable(path, "JSON", error) from error
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise ConfigurationError(
            f"{path}: has no list 'data': it must be in perf_analyzer's input format, "
            '{"data": [{"TENSOR": [values]}, ...]}'
        )
    steps = [step for item in data for step in (item if isinstance(item, list) else [item])]
    collected: dict[str, list[Array]] = {}
    for index, step in enumerate(steps):
        where = f"{path}: sample {index}"
        if not isinstance(step, dict):
            raise ConfigurationError(f"{where}: is no object of tensors: {str(step)[:60]}")
        _check_tensors(where, step, model)
        for spec in model.inputs:
            if spec.name not in step:
                continue
            at = f"{where}: tensor {spec.name!r}"
            array = _json_tensor(at, step[spec.name], spec, shapes[spec.name])
            before = collected.setdefault(spec.name, [])
            if before and before[0].shape != array.shape:
                raise ConfigurationError(
                    f"{at}: has the shape {list(array.shape)}, and the first sample has "
                    f"{list(before[0].shape)}: samples of one file must be of one shape"
                )
            before.append(array)
    return {name: np.stack(arrays) for name, arrays in collected.items()}


def _json_tensor(where: str, value: Any, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Read values, ``{"content": values, "shape": sizes}`` or ``{"b64": text}``."""
    given = shape
    if isinstance(value, dict):
        sizes, value = value.get("shape", list(shape)), value.get("content", value)
        if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
            raise ConfigurationError(f"{where}: its shape must be a list of sizes, not {sizes!r}")
        given = tuple(sizes)
    if isinstance(value, dict):
        flat = _from_base64(where, value.get("b64"), spec)
    else:
        try:
            np.asarray(value)
        except (ValueError, OverflowError) as error:  # rows of different lengths
            raise ConfigurationError(f"{where}: its values have no shape ({error})") from error
        flat = _json_values(where, np.asarray(value, np.object_).ravel(), spec)
    if min(given, default=1) < 0:
        raise ConfigurationError(
            f"{where}: the model leaves its shape open: write "
            '{"content": values, "shape": sizes}, or give the shape in the grid'
        )
    _check_shape(where, given, shape)
    if flat.size != math.prod(given):
        raise ConfigurationError(
            f"{where}: has {flat.size} values, the shape {list(given)} needs {math.prod(given)}"
        )
    return flat.reshape(given)


def _json_values(where: str, array: Array, spec: TensorSpec) -> Array:
    """Return what JSON holds in the tensor's datatype, without a float between the two.

    Decimals are rounded to it; the texts NaN, Infinity and -Infinity stand for what JSON has not.
    """
    dtype = _dtype(where, spec)
    if dtype == np.object_:
        return _texts(where, array)
    given = array.tolist()
    if is_float(dtype):
        given = [_SPECIAL.get(each, each) if isinstance(each, str) else each for each in given]
    if strange := [each for each in given if not isinstance(each, (int, float))]:
        raise ConfigurationError(
            f"{where}: holds {strange[0]!r:.40}, and the model wants {spec.datatype}"
        )
    if is_float(dtype):
        try:
            return _cast(where, np.array(given, np.float64), spec, exact=False)
        except OverflowError:
            raise ConfigurationError(
                f"{where}: holds a number of hundreds of digits, which is no {spec.datatype}"
            ) from None
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for each in given:
        if not (low <= each <= high and each == int(each)):
            raise _not_held(where, each, spec, dtype)
    return np.array([int(each) for each in given], dtype)


def _from_base64(where: str, text: Any, spec: TensorSpec) -> Array:
    try:
        raw = base64.b64decode(text, validate=True)
        if spec.datatype == "BYTES":
            return deserialize_bytes_tensor(raw)  # type: ignore[no-any-return] # untyped
        return np.frombuffer(raw, _dtype(where, spec))
    except (TypeError, ValueError, binascii.Error, struct.error) as error:
        raise ConfigurationError(
            f"{where}: 'b64' is not the base64 of a {spec.datatype} tensor's bytes ({error})"
        ) from error


def numpy_dtype(datatype: str) -> np.dtype[Any] | None:
    """Return what NumPy calls a datatype of KServe's; None for one that it cannot hold."""
    dtype = triton_to_np_dtype(datatype)
    # An older tritonclient has BF16 for FP32, which is longer.
    none = dtype is None or (datatype == "BF16" and np.dtype(dtype).itemsize != _BF16_BYTES)
    return None if none else np.dtype(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a datatype holds decimals; NumPy does not say so of BF16."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _dtype(where: str, spec: TensorSpec) -> np.dtype[Any]:
    if (dtype := numpy_dtype(spec.datatype)) is None:
        raise ConfigurationError(f"{where}: data of datatype {spec.datatype} cannot be read")
    return dtype


def _cast(where: str, array: Array, spec: TensorSpec, *, exact: bool) -> Array:
    """Return the array in the tensor's datatype; without ``exact`` decimals may be rounded."""
    dtype = _dtype(where, spec)
    if dtype == np.object_:
        return _texts(where, array)
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
        raise _not_held(where, f"{array[first]}{sample}", spec, dtype)
    return cast


def _not_held(
    where: str, value: object, spec: TensorSpec, dtype: np.dtype[Any]
) -> ConfigurationError:
    return ConfigurationError(
        f"{where}: the value {value} cannot be held by the model's {spec.datatype}: convert the "
        f"data first, e.g. with .astype({dtype.name!r})"
    )


def _texts(where: str, array: Array) -> Array:
    """Return strings as bytes, in an array of objects."""
    texts = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    if not all(isinstance(text, bytes) for text in texts):
        raise ConfigurationError(f"{where}: holds {array.dtype}, and the model wants strings")
    result = np.empty(len(texts), np.object_)
    result[:] = texts
    return result.reshape(array.shape)


def _check_tensors(where: str, given: Mapping[str, object], model: ModelInfo) -> None:
    names = [spec.name for spec in model.inputs]
    if unknown := [name for name in given if name not in names]:
        raise ConfigurationError(
            f"{where}: model {model.name!r} has no input tensor {unknown[0]!r}; its inputs are "
            f"{', '.join(names)}"
        )
    needed = [spec.name for spec in model.inputs if not spec.optional]
    if missing := [name for name in needed if name not in given]:
        raise ConfigurationError(
            f"{where}: has no tensor {missing[0]!r}, which model {model.name!r} needs"
        )


def _check_shape(where: str, given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    fits = len(given) == len(shape) and all(
        wanted in (-1, size) and size >= 0 for size, wanted in zip(given, shape, strict=True)
    )
    if not fits:
        raise ConfigurationError(
            f"{where}: has the shape {list(given)} per sample, and the model wants {list(shape)}"
        )


def _unreadable(path: Path, what: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"{path}: cannot be read as {what}: {error}")
