"""Files of answers that are known beforehand: stored outputs, and labels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.arrays import read_npy, read_npz
from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.files import read_bytes
from pytest_gaitperf.load.tensors import is_float
from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pytest_gaitperf.config.answers import Answers
    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.model import ModelInfo

    Array = npt.NDArray[Any]

_DIGITS = 12


def _read(path: Path, model: str) -> tuple[Path, dict[str, Array], str]:
    """Return a file's arrays, of a directory those of the model's, with its description."""
    if path.is_dir():
        path /= f"{model}.npz"
    try:
        content = read_bytes(path)
        arrays = {"": read_npy(content)} if path.suffix == ".npy" else read_npz(content)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: is no NumPy file: {error}") from error
    digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
    return path, arrays, f"{path.name} sha256:{digest}"


class Stored:
    """Outputs of a reference that were stored: arrays by name, one row for each sample.

    Raises ConfigurationError for a file that cannot be read, or has not as many as ``samples``.
    """

    def __init__(self, path: Path, model: ModelInfo, samples: int) -> None:
        path, self._arrays, self.description = _read(path, model.name)
        self._strings = {name for name, one in self._arrays.items() if one.dtype.kind not in "biuf"}
        for name, array in self._arrays.items():
            if not array.ndim or len(array) != samples:
                rows = len(array) if array.ndim else "no"
                raise ConfigurationError(
                    f"{path}: has {rows} rows of {name!r}, and the data {count(samples, 'sample')}"
                )
        if not self._arrays:
            raise ConfigurationError(f"{path}: holds no outputs")

    def answer(self, index: int, _sample: Sample) -> dict[str, Array | None]:
        """Return the outputs of a sample, a batch of one left out."""
        rows = {name: array[index] for name, array in self._arrays.items()}
        return {
            name: None if name in self._strings else without_batch(np.asarray(row))
            for name, row in rows.items()
        }


def without_batch(array: Array) -> Array:
    """Return an array without the sizes of 1 in front: a batch of one, or of a fixed one."""
    while array.ndim > 1 and len(array) == 1:
        array = array[0]
    return array


class Labels:
    """What the samples are, and how many of them a model gets right.

    Raises ConfigurationError for a file that cannot be read, or holds no labels.
    """

    def __init__(self, asked: Answers, model: str) -> None:
        path, arrays, self.description = _read(Path(asked.labels), model)
        found = arrays.get("labels", next(iter(arrays.values())) if len(arrays) == 1 else None)
        if found is None or found.ndim != 1:
            there = (f"{name or 'an array'} {list(one.shape)}" for name, one in arrays.items())
            raise ConfigurationError(
                f"{path}: has no array 'labels' with one label for each sample: it has "
                + (", ".join(there) or "no array")
            )
        self._path, self._labels, self._how = path, found, asked.score
        self._answers: list[Array] = []
        self._output = ""

    def check(self, samples: int) -> None:
        """Raise ConfigurationError unless there are as many as the data has samples."""
        if len(self._labels) != samples:
            raise ConfigurationError(
                f"{self._path}: has {count(len(self._labels), 'label')}, and the data "
                f"{count(samples, 'sample')}"
            )
        if self._how == "top-1" and self._labels.dtype.kind not in "iu":
            raise ConfigurationError(
                f"{self._path}: holds {self._labels.dtype}: labels for top-1 are whole numbers "
                "from 0 on; for a network of embeddings give score = 'rank-1'"
            )

    def add(self, given: Mapping[str, Array | None]) -> None:
        """Add a model's answer to the next sample: its first output that can hold a label."""
        if not self._output:
            self._output = next(filter(lambda name: self._fits(given[name]), given), "")
            if not self._output:
                raise MeasurementError(f"no output can be held against labels for {self._how}")
            self.description += f", {self._how} of {self._output}"
        array = given.get(self._output)
        if array is None:
            raise MeasurementError(f"it did not answer {self._output} each time")
        if self._how == "rank-1":
            self._answers.append(array.astype(np.float32).ravel())
        else:
            self._answers.append(array.ravel() if array.size == 1 else self._class(array))

    def _fits(self, array: Array | None) -> bool:
        if array is None:
            return False
        if self._how == "rank-1":
            return is_float(array.dtype)
        return array.size > 1 if is_float(array.dtype) else array.size == 1

    def _class(self, array: Array) -> Array:
        values = array.astype(np.float64).ravel()
        if int(self._labels.max()) >= values.size or int(self._labels.min()) < 0:
            raise ConfigurationError(
                f"{self._path}: labels from {self._labels.min()} to {self._labels.max()}, and "
                f"{self._output} has {values.size} values; for a network of embeddings give "
                "score = 'rank-1'"
            )
        return np.array([-1 if np.isnan(values).any() else int(values.argmax())])

    def score(self) -> float:
        """Return the share of the samples that the model gets right."""
        labels = self._labels[: len(self._answers)]
        if self._how == "top-1":
            return float((np.concatenate(self._answers) == labels).mean())
        if len({one.size for one in self._answers}) > 1:
            raise MeasurementError(f"its {self._output} is not of one size: there is no distance")
        return rank_1(np.stack(self._answers), labels)


def rank_1(embeddings: Array, labels: Array) -> float:
    """Return the share of samples whose nearest other one has the same label (leave one out).

    ``embeddings`` are (n, size), by Euclidean distance. A sample whose label no other has cannot be
    found, and is not looked for. Raises MeasurementError where that is true of all.
    """
    values, counts = np.unique(labels, return_counts=True)
    probes = np.flatnonzero(np.isin(labels, values[counts > 1]))
    if not probes.size:
        raise MeasurementError("each label is that of one sample only: none can be found again")
    found = 0
    for probe in probes:
        distances = np.square(embeddings - embeddings[probe], dtype=np.float64).sum(axis=1)
        distances[probe] = np.inf
        distances[np.isnan(distances)] = np.inf
        nearest = int(distances.argmin())
        found += bool(np.isfinite(distances[nearest]) and labels[nearest] == labels[probe])
    return found / probes.size
