from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load import data
from pytest_gaitperf.load.data import input_data, input_tensors
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer


@pytest.mark.parametrize(
    ("model", "shapes", "message"),
    [
        (
            "dynamic",
            {},
            r"'INPUT0' has the dynamic shape \[-1, 2\].* \[shapes.dynamic\] INPUT0 = \[16, 2\]",
        ),
        ("dynamic", {"INPUT0": (5, 3)}, r"shape \[-1, 2\], and the grid asks for \[5, 3\]"),
        ("dynamic", {"INPUT0": (5,)}, r"the grid asks for \[5\]"),
        ("identity", {"INPUT0": (17,)}, r"shape \[16\], and the grid asks for \[17\]"),
        ("identity", {"IMPUT0": (16,)}, "no input tensor 'IMPUT0'.*its inputs are INPUT0"),
    ],
)
def test_a_shape_that_does_not_fit_names_the_tensor(
    loaded: TritonServer, model: str, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        input_tensors(loaded.model(model), 1, shapes)


def test_the_same_bytes_in_every_session_and_others_with_another_seed(
    loaded: TritonServer,
) -> None:
    model = loaded.model("identity")
    first, again = (input_tensors(model, 4, {})["INPUT0"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = input_tensors(model, 4, {}, seed=1)["INPUT0"]
    assert not np.array_equal(first, other)
    # No two samples of a batch are alike: a cache per sample would show.
    assert len({sample.tobytes() for sample in first}) == 4


def model_of(*inputs: TensorSpec, name: str = "model") -> ModelInfo:
    return ModelInfo(name, ("1",), 4, inputs, (), "python", decoupled=False)


def test_random_data_lies_where_models_expect_it() -> None:
    datatypes = ("FP16", "FP32", "FP64", "INT8", "INT32", "UINT8", "UINT64", "BOOL", "BYTES")
    model = model_of(*(TensorSpec(kind, kind, (200,), optional=False) for kind in datatypes))
    tensors = input_tensors(model, 3, {})
    assert all(array.shape == (3, 200) for array in tensors.values())
    for kind in ("FP16", "FP32", "FP64"):
        assert 0 <= tensors[kind].min() < 0.1
        assert 0.9 < tensors[kind].max() <= 1
    for kind in ("INT8", "INT32", "UINT8", "UINT64"):
        assert (tensors[kind].min(), tensors[kind].max()) == (0, 127)
    assert set(tensors["BOOL"].ravel().tolist()) == {False, True}
    assert {len(text) for text in tensors["BYTES"].ravel()} == {16}


def test_a_model_whose_inputs_are_all_optional_gets_them_all() -> None:
    model = model_of(
        TensorSpec("A", "FP32", (2,), optional=True), TensorSpec("B", "FP32", (2,), optional=True)
    )
    assert list(input_tensors(model, 1, {})) == ["A", "B"]


def test_a_datatype_that_cannot_be_generated_is_named() -> None:
    model = model_of(TensorSpec("X", "FP8", (2,), optional=False))
    with pytest.raises(ConfigurationError, match="input tensor 'X' has datatype FP8"):
        input_tensors(model, 1, {})


# Ranges and zeros


FLOATS = TensorSpec("X", "FP32", (50,), optional=False)


def test_a_range_bounds_the_random_data() -> None:
    model = model_of(FLOATS, TensorSpec("I", "INT8", (400,), optional=False))
    workload = Workload("model", 2, 1, ranges=(("I", (-3, 3)), ("X", (-2.0, -1.5))))
    found = input_data(model, workload)
    (sample,) = found.samples
    assert -2 <= sample["X"].min() < sample["X"].max() <= -1.5
    assert sample["X"].dtype == np.float32
    assert set(sample["I"].ravel().tolist()) == set(range(-3, 4))
    assert found.description == "random, seed 2026, I in [-3, 3], X in [-2.0, -1.5]"
    assert found.note is None


@pytest.mark.parametrize(
    ("datatype", "limits", "message"),
    [
        (
            "UINT8",
            (0, 256),
            "'X': the range .* UINT8 does not have: give whole numbers fr.*255",
        ),
        ("INT32", (0, 0.5), "give whole numbers from -2147483648 to"),
        ("BOOL", (0, 1), "makes no sense for BOOL"),
        ("BYTES", (0, 1), "makes no sense for BYTES"),
    ],
)
def test_a_range_that_the_tensor_cannot_have_is_refused(
    datatype: str, limits: tuple[float, float], message: str
) -> None:
    model = model_of(TensorSpec("X", datatype, (2,), optional=False))
    with pytest.raises(ConfigurationError, match=message):
        input_data(model, Workload("model", 1, 1, ranges=(("X", limits),)))


def test_a_range_of_an_unknown_tensor_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no input tensor 'Y', to which the grid gives"):
        input_data(model_of(FLOATS), Workload("model", 1, 1, ranges=(("Y", (0, 1)),)))


def test_zeros_are_zeros_of_every_datatype() -> None:
    kinds = ("FP16", "INT64", "BOOL", "BYTES")
    model = model_of(*(TensorSpec(kind, kind, (2,), optional=False) for kind in kinds))
    found = input_data(model, Workload("model", 3, 1), "zeros")
    (sample,) = found.samples
    assert found.description == "zeros"
    for kind in kinds:
        assert sample[kind].shape == (3, 2)
        assert set(sample[kind].ravel().tolist()) == {b"" if kind == "BYTES" else 0}


# Rotation


@given(st.integers(1, 12), st.integers(1, 4))
def test_every_sample_is_sent_as_often_as_every_other(count: int, batch_size: int) -> None:
    model = model_of(TensorSpec("X", "FP32", (1,), optional=False))
    with pytest.MonkeyPatch.context() as patch:
        content = npy(np.arange(count)[:, np.newaxis])
        patch.setattr("pytest_gaitperf.load.datafile.read_bytes", lambda *_: content)
        found = input_data(model, Workload("model", batch_size, 1), "x.npy")
    assert all(sample["X"].shape == (batch_size, 1) for sample in found.samples)
    sent = np.concatenate([sample["X"].ravel() for sample in found.samples])
    np.testing.assert_array_equal(sent, np.arange(len(sent)) % count)
    assert len(sent) % count == 0
    assert found.note is None


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array.astype(np.float32))
    return buffer.getvalue()


def test_requests_beyond_the_memory_are_left_out_and_that_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MOST_BYTES", 3000)  # a request takes a kilobyte and its tensors
    (tmp_path / "x.npy").write_bytes(npy(np.arange(500).reshape(10, 50)))
    found = input_data(model_of(FLOATS), Workload("model", 2, 1), str(tmp_path / "x.npy"))
    assert len(found.samples) == 2
    assert found.note is not None
    assert found.note.startswith("only 4 of the 10 samples of ")
    one = input_data(model_of(FLOATS), Workload("model", 4, 1), str(tmp_path / "x.npy"))
    assert len(one.samples) == 1


@pytest.mark.parametrize(
    ("load", "fit"),
    [
        ({"concurrency": 3}, 8),
        ({"concurrency": 3, "transport": "shm"}, 3),
        ({"concurrency": 1, "transport": "shm", "sequence_length": (2, 5)}, 2),
        ({"request_rate": 2.0, "transport": "shm"}, 1),
        ({"best_rate": True, "deadline_s": 0.1, "transport": "shm"}, 1),
    ],
)
def test_the_requests_of_every_slot_count_where_memory_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: dict[str, Any], fit: int
) -> None:
    monkeypatch.setattr(data, "MOST_BYTES", 10_000)
    (tmp_path / "x.npy").write_bytes(npy(np.arange(500).reshape(10, 50)))
    workload = Workload("model", 1, **load)
    assert len(input_data(model_of(FLOATS), workload, str(tmp_path / "x.npy")).samples) == fit
