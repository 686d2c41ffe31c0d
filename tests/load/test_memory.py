"""Memory is asked for before it is taken, and what no memory holds is refused at once."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pytest_gaitperf import arrays
from pytest_gaitperf.arrays import free_memory, read_npz
from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.load import data, memory, tensors
from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable


BESIDE = 1024
"""What a request takes beside its tensors."""


def model(shape: tuple[int, ...], datatype: str = "FP32") -> ModelInfo:
    spec = TensorSpec("X", datatype, shape)
    return ModelInfo("m", ("1",), 8, (spec,), (spec,))


@pytest.mark.parametrize(
    ("shape", "datatype", "says"),
    [
        ((1 << 32, 1 << 32), "FP32", "GB of memory are free"),
        ((1 << 40,), "BYTES", "GB of memory are free"),
        ((1,) * 10_000, "FP32", "10001 dimensions, and at most 32 can be sent"),
        ((1,) * 40, "INT64", "41 dimensions"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(
    shape: tuple[int, ...], datatype: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        input_tensors(model(shape, datatype), 1, {})


def test_what_counts_is_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "free_memory", lambda: 4 * 4 * 100)
    assert input_tensors(model((100,)), 1, {})["X"].shape == (1, 100)
    with pytest.raises(ConfigurationError, match="memory are free"):
        input_tensors(model((101,)), 1, {})
    assert 0 < free_memory() < 1 << 50


def packed(write: Callable[[zipfile.ZipFile], None]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    return file.getvalue()


def test_an_archive_that_grows_beyond_the_free_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(1 << 18))
    content = packed(lambda archive: archive.writestr("X.npy", array.getvalue()))
    assert len(content) < 10_000
    assert read_npz(content)["X"].size == 1 << 18
    monkeypatch.setattr(arrays, "free_memory", lambda: 8 << 20)
    with pytest.raises(ValueError, match="2 MiB unpacked, which are held 5 times, and 8 MiB"):
        read_npz(content)


def test_an_archive_of_more_short_strings_than_python_can_hold_is_refused() -> None:
    count = 9 << 20
    array = io.BytesIO()
    np.save(array, np.zeros(count, "S1"))
    content = packed(lambda archive: archive.writestr("X.npy", array.getvalue()))
    assert len(content) < 20_000
    with pytest.raises(ValueError, match="strings, which fill the memory"):
        read_npz(content)


@pytest.mark.parametrize(
    ("load", "beside", "needed"),
    [
        ({"concurrency": 1}, False, 400 + BESIDE + 400),
        ({"concurrency": 4}, False, 400 + BESIDE + 4 * 400),
        ({"concurrency": 4}, True, 400 + BESIDE + 4 * 400 + 4 * 800),
        # Each slot has requests of its own, and those of a sequence are of four kinds.
        ({"concurrency": 4, "transport": "shm"}, True, 400 + 16 * BESIDE + 16 * 400),
        (
            {"concurrency": 4, "transport": "shm", "sequence_length": (2, 5)},
            True,
            400 + 4 * 16 * BESIDE + 16 * 400,
        ),
        ({"request_rate": 2.5}, True, 400 + BESIDE + 3 * 400 + 3 * 800),
        ({"request_rate": 1000.0}, False, 400 + BESIDE + 16 * 400),
    ],
)
def test_all_that_a_load_holds_at_once_has_to_fit(
    monkeypatch: pytest.MonkeyPatch, load: dict[str, Any], beside: bool, needed: int
) -> None:
    one, workload = model((100,)), Workload("m", 1, **load)
    samples = [input_tensors(one, 1, {})]
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    memory.check_room(one, workload, samples, 16, beside=beside)
    monkeypatch.setattr(memory, "free_memory", lambda: needed - 1)
    with pytest.raises(MeasurementError, match=r"memory are needed .*give a smaller batch"):
        memory.check_room(one, workload, samples, 16, beside=beside)


def test_strings_count_as_they_travel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dynamic = ModelInfo("m", ("1",), 8, (TensorSpec("X", "BYTES", (1,)),), ())
    samples = [input_tensors(dynamic, 8, {})]
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 20 + BESIDE - 1)
    with pytest.raises(MeasurementError):
        memory.check_room(dynamic, Workload("m", 8, concurrency=1), samples, 1, beside=False)


def test_an_output_that_numpy_cannot_hold_has_no_known_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = model((2,), "BF16")
    monkeypatch.setattr(tensors, "triton_to_np_dtype", lambda _name: np.float32)  # the older ones
    assert memory.fixed_size(one.outputs[0], one, 1) is None
