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
from tritonclient.utils import deserialize_bytes_tensor

from pytest_gaitperf.arrays import MOST_UNPACKED, read_npy, read_npz
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import parse_json, read_bytes
from pytest_gaitperf.load.tensors import cast_to, dtype_of, is_float, not_held, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from pytest_gaitperf.model import ModelInfo, TensorSpec

    Array = npt.NDArray[Any]

_SUFFIXES = (".npz", ".npy", ".json")
_DIGEST_DIGITS = 12
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_samples(
    path: Path, model: ModelInfo, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Array], str, dict[str, Array]]:
    """Read the samples for a model; of a directory, the file that has the model's name.

    ``shapes`` are those of the inputs, without the batch dimension, -1 where any size will do.
    Numbers must be held exactly by the tensor's datatype; only decimals of a JSON text are rounded.
    Returns arrays of the shape (samples, *shape of the tensor), a description with the file's name,
    the number of samples and a hash of the content, and arrays of the outputs that it knows. Raises
    ConfigurationError for no such file, and samples or outputs that do not fit the model's.
    """
    path, content, raw = _content(path, model.name)
    document: Any = None
    if path.is_dir():
        tensors = _from_raw(path, raw, model, shapes)
    elif path.suffix == ".json":
        document = _document(path, content)
        tensors = _from_json(path, document, model, shapes)
    else:
        tensors = _from_numpy(path, content, model, shapes)
    counts = {name: len(array) for name, array in tensors.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigurationError(f"{path}: the tensors have different numbers of samples: {listed}")
    count = next(iter(counts.values()), 0)
    if not count:
        raise ConfigurationError(f"{path}: holds no samples for model {model.name!r}")
    description = f"{path.name}, samples: {count}, {_digest(content)}"
    return tensors, description, _answers(path, document, model, count)


def identity(source: str, model: str) -> str:
    """Return what ``Workload.data`` is for random data, zeros, or a file or directory of files.

    Raises ConfigurationError for a file that is not there, or cannot be read.
    """
    known = {"random": "", "zeros": "zeros"}
    return known[source] if source in known else _digest(_content(Path(source), model)[1])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]}"


def _content(path: Path, model: str) -> tuple[Path, bytes, dict[str, bytes]]:
    """Return a model's file, of a directory the one that has its name, and what is in it.

    Of a directory of perf_analyzer's that is its raw files, and each by its name, the tensor's.
    """
    if path.is_dir():
        path = _of_model(path, model)
    if path.is_dir():
        raw = _raw_files(path)
        parts = (b"%b %d\n%b" % (name.encode(), len(raw[name]), raw[name]) for name in raw)
        return path, b"".join(parts), raw
    if path.suffix not in _SUFFIXES:
        raise ConfigurationError(
            f"{path}: input data is read from {', '.join(_SUFFIXES)} files, not {path.suffix!r}"
        )
    try:
        return path, read_bytes(path, MOST_UNPACKED), {}
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


def _raw_files(directory: Path) -> dict[str, bytes]:
    try:
        files = sorted(path for path in directory.iterdir() if path.is_file())
        return {path.name: read_bytes(path, MOST_UNPACKED) for path in files}
    except OSError as error:
        raise ConfigurationError(f"{directory}: cannot be read: {error.strerror}") from error


def _from_raw(
    directory: Path,
    files: Mapping[str, bytes],
    model: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Array]:
    """Read a file for each tensor: its bytes as they travel, or a text for each line."""
    _check_tensors(f"{directory}", files, model)
    tensors = {}
    for spec in model.inputs:
        if spec.name not in files:
            continue
        where, content = f"{directory / spec.name}", files[spec.name]
        shape, dtype = shapes[spec.name], dtype_of(where, spec)
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
            tensors[spec.name] = cast_to(where, array, spec, exact=True)
    return tensors


def _document(path: Path, content: bytes) -> Any:
    try:
        return parse_json(content)
    except ValueError as error:
        raise _unreadable(path, "JSON", error) from error


def _from_json(
    path: Path, document: Any, model: ModelInfo, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    steps = _steps(path, document, "data")
    for where, step in steps.items():
        _check_tensors(where, step, model)
    return _collected(steps, model.inputs, shapes)


def _answers(path: Path, document: Any, model: ModelInfo, samples: int) -> dict[str, Array]:
    """Read what a file's document says that the model answers to each sample.

    That is its ``validation_data``; of a file that is no JSON there is no document.
    """
    steps = _steps(path, document, "validation_data") if document is not None else {}
    if not steps:
        return {}
    if len(steps) != samples:
        raise ConfigurationError(
            f"{path}: has {len(steps)} answers in 'validation_data', and {samples} samples"
        )
    names = [spec.name for spec in model.outputs]
    given = list(next(iter(steps.values())))
    for where, step in steps.items():
        if unknown := [name for name in step if name not in names]:
            raise ConfigurationError(
                f"{where}: model {model.name!r} has no output tensor {unknown[0]!r}; its outputs "
                f"are {', '.join(names)}"
            )
        if list(step) != given:
            raise ConfigurationError(
                f"{where}: holds {', '.join(step) or 'nothing'}, and the first answer has "
                f"{', '.join(given) or 'nothing'}"
            )
    return _collected(steps, model.outputs, {spec.name: spec.shape for spec in model.outputs})


def _steps(path: Path, document: Any, key: str) -> dict[str, dict[str, Any]]:
    """Return the objects of tensors of a document's list, by where they are; streams in turn."""
    found = document.get(key) if isinstance(document, dict) else None
    if found is None and key != "data":
        return {}
    if not isinstance(found, list):
        raise ConfigurationError(
            f"{path}: has no list {key!r}: it must be in perf_analyzer's input format, "
            f'{{"{key}": [{{"TENSOR": [values]}}, ...]}}'
        )
    flat = [step for item in found for step in (item if isinstance(item, list) else [item])]
    what = "sample" if key == "data" else "answer"
    steps = {f"{path}: {what} {index}": step for index, step in enumerate(flat)}
    for where, step in steps.items():
        if not isinstance(step, dict):
            raise ConfigurationError(f"{where}: is no object of tensors: {str(step)[:60]}")
    return steps


def _collected(
    steps: Mapping[str, Mapping[str, Any]],
    specs: Iterable[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Array]:
    collected: dict[str, list[Array]] = {}
    for spec in specs:
        for where, step in steps.items():
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
    dtype = dtype_of(where, spec)
    if dtype == np.object_:
        return texts_of(where, array)
    given = array.tolist()
    if is_float(dtype):
        given = [_SPECIAL.get(each, each) if isinstance(each, str) else each for each in given]
    if strange := [each for each in given if not isinstance(each, (int, float))]:
        raise ConfigurationError(
            f"{where}: holds {strange[0]!r:.40}, and the model wants {spec.datatype}"
        )
    if is_float(dtype):
        try:
            return cast_to(where, np.array(given, np.float64), spec, exact=False)
        except OverflowError:
            raise ConfigurationError(
                f"{where}: holds a number of hundreds of digits, which is no {spec.datatype}"
            ) from None
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for each in given:
        if not (low <= each <= high and each == int(each)):
            raise not_held(where, each, spec, dtype)
    return np.array([int(each) for each in given], dtype)


def _from_base64(where: str, text: Any, spec: TensorSpec) -> Array:
    try:
        raw = base64.b64decode(text, validate=True)
        if spec.datatype == "BYTES":
            return deserialize_bytes_tensor(raw)  # type: ignore[no-any-return] # untyped
        return np.frombuffer(raw, dtype_of(where, spec))
    except (TypeError, ValueError, binascii.Error, struct.error) as error:
        raise ConfigurationError(
            f"{where}: 'b64' is not the base64 of a {spec.datatype} tensor's bytes ({error})"
        ) from error


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
