from __future__ import annotations

import base64
import json
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import read_bytes
from pytest_gaitperf.load import datafile
from pytest_gaitperf.load.data import resolved_shapes
from pytest_gaitperf.load.datafile import identity, read_samples
from pytest_gaitperf.model import ModelInfo, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

X = TensorSpec("X", "FP32", (2, 3), optional=False)


def model_of(*inputs: TensorSpec) -> ModelInfo:
    return ModelInfo("net", ("1",), 4, inputs, (), "python", decoupled=False)


def read(path: Path, *inputs: TensorSpec, shapes: dict[str, tuple[int, ...]] | None = None) -> Any:
    model = model_of(*inputs)
    return read_samples(path, model, resolved_shapes(model, shapes or {}, strict=False))[0]


def json_file(path: Path, data: Any) -> Path:
    (path / "x.json").write_text(json.dumps({"data": data}))
    return path / "x.json"


def refused(path: Path, *inputs: TensorSpec) -> str:
    """The whole message; it begins with the file."""
    with pytest.raises(ConfigurationError, match="^" + re.escape(str(path))) as caught:
        read(path, *inputs)
    return str(caught.value)


# NumPy


def test_an_archive_holds_tensors_by_name(tmp_path: Path) -> None:
    clips = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    np.savez(tmp_path / "x.npz", Y=np.array([[1], [2], [3], [2**40]]), X=clips)
    tensors = read(tmp_path / "x.npz", X, TensorSpec("Y", "INT64", (1,), optional=False))
    assert list(tensors) == ["X", "Y"]
    np.testing.assert_array_equal(tensors["X"], clips)
    assert tensors["Y"].ravel().tolist() == [1, 2, 3, 2**40]


def test_an_array_without_the_dimension_of_samples_is_one_sample(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    assert read(tmp_path / "x.npy", X)["X"].shape == (1, 2, 3)


def test_a_directory_has_one_file_for_each_model(tmp_path: Path) -> None:
    np.save(tmp_path / "net.npy", np.ones((5, 2, 3)))
    _, description, _ = read_samples(tmp_path, model_of(X), {"X": (2, 3)})
    assert re.fullmatch(r"net\.npy, samples: 5, sha256:[0-9a-f]{12}", description)
    (tmp_path / "net.json").write_text("{}")
    assert "has more than one of net.npz, net.npy, net.json" in refused(tmp_path, X)
    (tmp_path / "net.json").unlink()
    (tmp_path / "net.npy").rename(tmp_path / "other.npy")
    assert "has none of net.npz, net.npy, net.json" in refused(tmp_path, X)


def test_other_content_has_another_hash(tmp_path: Path) -> None:
    descriptions = set()
    for value in (0.0, 0.0, 1.0):
        np.save(tmp_path / "x.npy", np.full((2, 3), value))
        descriptions.add(read_samples(tmp_path / "x.npy", model_of(X), {"X": (2, 3)})[1])
    assert len(descriptions) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Z": np.ones((2, 3))}, "model 'net' has no input tensor 'Z'; its inputs are X"),
        ({}, "has no tensor 'X', which model 'net' needs"),
        ({"X": np.ones((2, 4))}, r"tensor 'X': has the shape \[2, 4\] per sample.*wants \[2, 3\]"),
        ({"X": np.ones((1, 1, 2, 3))}, r"tensor 'X': has the shape \[1, 2, 3\] per sample"),
        ({"X": np.ones(6)}, r"has the shape \[6\] per sample"),
        ({"X": np.ones((0, 2, 3))}, "holds no samples for model 'net'"),
        ({"X": np.full((2, 3), "a")}, "tensor 'X': holds values of type <U1"),
        (
            {"X": np.concatenate([np.ones((7, 2, 3)), np.full((1, 2, 3), 0.1)])},
            "the value 0.1 of sample 7 cannot be held by the model's FP32",
        ),
    ],
)
def test_an_archive_that_does_not_fit_is_named_with_its_tensor(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    assert re.search(message, refused(tmp_path / "x.npz", X))


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read as a NumPy array" in refused(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", X=np.array([{}], dtype=object))
    assert "cannot be read as a NumPy archive" in refused(tmp_path / "x.npz", X)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".json"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\xff{"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    assert "cannot be read as" in refused(path, X)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    assert "is read from .npz, .npy, .json files, not '.csv'" in refused(tmp_path / "x.csv", X)
    assert "none.npy: cannot be read: " in refused(tmp_path / "none.npy", X)
    np.savez(tmp_path / "x.npz", X=np.ones((2, 3)))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    assert "is an archive: name it .npz" in refused(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", np.ones((2, 3)))
    other = TensorSpec("Y", "FP32", (1,), optional=False)
    assert "has the inputs X, Y: use an .npz file" in refused(tmp_path / "y.npy", X, other)


DTYPES = ("BOOL", "INT8", "UINT8", "INT32", "UINT64", "FP16", "FP32", "FP64")
SOURCES = ("bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64")


@given(
    st.sampled_from(DTYPES),
    st.sampled_from(SOURCES),
    st.one_of(
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.sampled_from([-1, 127, 128, 255, 256, 2**24 + 1, 2**53 + 1, 2**63, 2**64 - 1]),
    ),
)
def test_a_value_is_kept_exactly_or_refused(
    tmp_path_factory: pytest.TempPathFactory, datatype: str, source: str, number: float
) -> None:
    with np.errstate(all="ignore"):
        try:
            array = np.array([number], dtype=source)
        except (OverflowError, ValueError, DeprecationWarning):
            return
    path = tmp_path_factory.getbasetemp() / "exact.npy"
    np.save(path, array)
    spec = TensorSpec("X", datatype, (1,), optional=False)
    before = array[0].item()
    try:
        after = read(path, spec)["X"].ravel()[0].item()
    except ConfigurationError:
        dtype = np.dtype(source)
        assert datatype.lower() not in (source, dtype.name), "its own datatype holds every value"
        return
    # Python compares whole numbers with decimals exactly.
    assert after == before or (after != after and before != before)  # noqa: PLR0124 - both NaN


def test_nan_and_infinity_are_values(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([np.nan, np.inf, -np.inf]))
    spec = TensorSpec("X", "FP16", (3,), optional=False)
    np.testing.assert_array_equal(read(tmp_path / "x.npy", spec)["X"][0], [np.nan, np.inf, -np.inf])


def test_strings_become_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([["gäit"], ["b"]]))
    spec = TensorSpec("X", "BYTES", (1,), optional=False)
    assert read(tmp_path / "x.npy", spec)["X"].tolist() == [["gäit".encode()], [b"b"]]
    np.save(tmp_path / "x.npy", np.ones((2, 1)))
    assert "holds float64, and the model wants strings" in refused(tmp_path / "x.npy", spec)


# JSON


def test_json_holds_flat_and_nested_values_and_streams(tmp_path: Path) -> None:
    nested = {"X": [[0, 1, 2], [3, 4, 5]]}
    flat = {"X": {"content": [6, 7, 8, 9, 10, 11.5], "shape": [2, 3]}}
    tensors = read(json_file(tmp_path, [[nested, flat], [nested]]), X)
    assert tensors["X"].shape == (3, 2, 3)
    assert tensors["X"][1].tolist() == [[6, 7, 8], [9, 10, 11.5]]


@pytest.mark.parametrize("nest", [False, True])
def test_json_holds_base64(tmp_path: Path, nest: bool) -> None:
    packed: dict[str, Any] = {"b64": base64.b64encode(struct.pack("<6f", *range(6))).decode()}
    value = {"content": packed, "shape": [2, 3]} if nest else packed
    assert read(json_file(tmp_path, [{"X": value}]), X)["X"].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"one", b""))
    data = [{"T": {"b64": base64.b64encode(texts).decode()}}]
    spec = TensorSpec("T", "BYTES", (2,), optional=False)
    assert read(json_file(tmp_path, data), spec)["T"].tolist() == [[b"one", b""]]


def test_decimals_are_rounded_and_whole_numbers_are_not(tmp_path: Path) -> None:
    spec = TensorSpec("X", "FP16", (2,), optional=False)
    assert read(json_file(tmp_path, [{"X": [0.1, 2]}]), spec)["X"].tolist() == [
        [float(np.float16(0.1)), 2]
    ]
    whole = TensorSpec("X", "UINT8", (2,), optional=False)
    assert read(json_file(tmp_path, [{"X": [3.0, 255]}]), whole)["X"].tolist() == [[3, 255]]


@pytest.mark.parametrize(
    ("datatype", "given", "held"),
    [
        ("UINT64", [2**64 - 1, 2**53 + 1, 1.0], [2**64 - 1, 2**53 + 1, 1]),
        ("INT64", [2**53 + 1, -(2**63), 0.0], [2**53 + 1, -(2**63), 0]),
        ("FP64", ["NaN", "Infinity", "-Infinity"], [np.nan, np.inf, -np.inf]),
        ("FP16", [0.1, 65504, "NaN"], [float(np.float16(0.1)), 65504, np.nan]),
        ("BF16", [0.1, 257, "-Infinity"], [0.10009765625, 256, -np.inf]),
        ("FP32", [2**70, 1e-50, 1], [2.0**70, 0, 1]),
        ("BOOL", [True, 0, 1.0], [1, 0, 1]),
    ],
)
def test_numbers_go_straight_to_the_datatype(
    tmp_path: Path, datatype: str, given: list[object], held: list[float]
) -> None:
    spec = TensorSpec("X", datatype, (3,), optional=False)
    found = read(json_file(tmp_path, [{"X": given}]), spec)["X"][0]
    assert [each if each == each else np.nan for each in found.tolist()] == pytest.approx(  # noqa: PLR0124
        held, nan_ok=True, rel=0, abs=0
    )


@pytest.mark.parametrize(
    ("datatype", "number"),
    [("UINT64", 2**64), ("UINT64", -1), ("INT8", 128), ("INT64", 1.5), ("BOOL", 2), ("BF16", 1e39)],
)
def test_a_number_that_a_datatype_has_not_is_named(
    tmp_path: Path, datatype: str, number: float
) -> None:
    spec = TensorSpec("X", datatype, (1,), optional=False)
    said = refused(json_file(tmp_path, [{"X": [number]}]), spec)
    assert re.search(rf"the value \S+ cannot be held by the model's {datatype}", said)


def test_raw_files_of_perf_analyzer_are_read(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "X").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    (tmp_path / "net" / "T").write_bytes(b"one\ntwo words\n")
    text = TensorSpec("T", "BYTES", (2,), optional=False)
    tensors = read(tmp_path, X, text)
    assert tensors["X"].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert tensors["T"].tolist() == [[b"one", b"two words"]]
    before = identity(str(tmp_path), "net")
    (tmp_path / "net" / "T").write_bytes(b"one\ntwo\n")
    assert identity(str(tmp_path), "net") != before
    (tmp_path / "net" / "X").write_bytes(b"123")
    assert "3 bytes are no FP32 values" in refused(tmp_path, X, text)
    (tmp_path / "net" / "X").write_bytes(bytes(20))
    assert "has 5 values, the shape [2, 3] needs 6" in refused(tmp_path, X, text)
    (tmp_path / "net" / "X").unlink()
    assert "has no tensor 'X'" in refused(tmp_path, X, text)


def test_a_raw_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "X").write_bytes(bytes(24))
    names: list[str] = []

    def noted(path: Path, limit: int) -> bytes:
        names.append(path.name)
        return read_bytes(path, limit)

    monkeypatch.setattr(datafile, "read_bytes", noted)
    assert not read(tmp_path, X)["X"].any()
    assert names == ["X"], "what is sent is what the hash is of"


def test_an_open_shape_is_given_by_the_sample_or_by_the_grid(tmp_path: Path) -> None:
    spec = TensorSpec("X", "FP32", (-1, 2), optional=False)
    path = json_file(tmp_path, [{"X": {"content": [1, 2, 3, 4], "shape": [2, 2]}}])
    assert read(path, spec)["X"].shape == (1, 2, 2)
    bare = json_file(tmp_path, [{"X": [1, 2, 3, 4]}])
    assert "the model leaves its shape open" in refused(bare, spec)
    assert read(bare, spec, shapes={"X": (2, 2)})["X"].shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"X": []}, "has no list 'data'"),
        ([], "holds no samples"),
        ([3], "sample 0: is no object of tensors: 3"),
        ([{"Z": []}], "sample 0: model 'net' has no input tensor 'Z'; its inputs are X"),
        ([{"X": [0] * 6}, {}], "sample 1: has no tensor 'X', which model 'net' needs"),
        ([{"X": [0] * 5}], r"sample 0: tensor 'X': has 5 values, the shape \[2, 3\] needs 6"),
        ([{"X": [[1], [2, 3]]}], "sample 0: tensor 'X': its values have no shape"),
        ([{"X": ["a"] * 6}], "sample 0: tensor 'X': holds 'a', and the model wants FP32"),
        ([{"X": [1e39] * 6}], r"the value 1e\+39 cannot be held by the model's FP32"),
        ([{"X": None}], "holds None, and the model wants FP32"),
        ([{"X": [10**400] * 6}], "holds a number of hundreds of digits, which is no FP32"),
        ([{"X": {"content": [0] * 6, "shape": [3, 2]}}], r"has the shape \[3, 2\] per sample"),
        ([{"X": {"content": [0] * 6, "shape": "2x3"}}], "its shape must be a list of sizes"),
        ([{"X": {"b64": "???"}}], "'b64' is not the base64 of a FP32 tensor's bytes"),
        ([{"X": {"b64": "AAA="}}], "'b64' is not the base64 of a FP32 tensor's bytes"),
        ([{"X": {}}], "'b64' is not the base64 of a FP32 tensor's bytes"),
    ],
)
def test_json_that_does_not_fit_is_named_with_sample_and_tensor(
    tmp_path: Path, data: Any, message: str
) -> None:
    assert re.search(message, refused(json_file(tmp_path, data), X))


def test_samples_of_different_shapes_or_numbers_are_refused(tmp_path: Path) -> None:
    spec = TensorSpec("X", "FP32", (-1,), optional=False)
    data = [{"X": {"content": [0] * n, "shape": [n]}} for n in (2, 2, 3)]
    assert "sample 2: tensor 'X': has the shape [3], and the first sample has [2]" in refused(
        json_file(tmp_path, data), spec
    )
    optional = TensorSpec("Y", "FP32", (1,), optional=True)
    path = json_file(tmp_path, [{"X": [0] * 6, "Y": [1]}, {"X": [0] * 6}])
    assert "the tensors have different numbers of samples: X 2, Y 1" in refused(path, X, optional)
