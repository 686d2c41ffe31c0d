from __future__ import annotations

import io
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest

from pytest_gaitperf import arrays
from pytest_gaitperf.arrays import read_npy, read_npz


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(member: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("X.npy", member)
    return file.getvalue()


def header(text: str) -> bytes:
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin1")


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array(7), np.array(["a", "é"])])
def test_an_array_comes_back_as_it_was_saved(array: Any) -> None:
    np.testing.assert_array_equal(read_npy(npy(array)), array)
    np.testing.assert_array_equal(read_npz(npz(npy(array)))["X"], array)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(100000000,)", "(-1,)"])
def test_a_shape_that_the_file_does_not_fill_asks_for_no_memory(shape: str) -> None:
    content = (
        header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}") + b"12345678"
    )
    tracemalloc.start()
    try:
        for read, given in ((read_npy, content), (read_npz, npz(content))):
            with pytest.raises(ValueError, match="it is cut off"):
                read(given)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93",
        header("{'descr': '<f8', 'fort 2), }"),  # tokenize's own error
        header("{'descr': '|O', 'fortran_order': False, 'shape': (), }"),
        header("(" * 100),
        npy(np.array([{"a": 1}], object)),
        npy(np.array(["abcd"])).replace(b"a\0\0\0", b"\xff\xff\xff\xff"),  # no character
        npy(np.array(["abcd"])).replace(b"a\0\0\0", b"\x00\xd8\x00\x00"),  # half of one
    ],
)
def test_a_damaged_array_is_a_value_error(content: bytes) -> None:
    for read, given in ((read_npy, content), (read_npz, npz(content))):
        with pytest.raises(ValueError, match=r"."):
            read(given)


def test_a_damaged_archive_is_a_value_error() -> None:
    good = npz(npy(np.arange(1000)))
    start = good.index(b"X.npy") + 5
    for damaged in (
        good[:start] + bytes(20) + good[start + 20 :],  # zlib's own error
        good[:-30],
        npz(npy(np.arange(10)), zipfile.ZIP_BZIP2),
    ):
        with pytest.raises(ValueError, match=r"."):
            read_npz(damaged)


def test_an_archive_that_unpacks_to_very_much_is_refused_before_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = npz(npy(np.zeros(100_000)))
    monkeypatch.setattr(arrays, "MOST_UNPACKED", 900_000)
    assert read_npz(content)["X"].shape == (100_000,)
    monkeypatch.setattr(arrays, "MOST_UNPACKED", 700_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="unpacked"):
            read_npz(content)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
