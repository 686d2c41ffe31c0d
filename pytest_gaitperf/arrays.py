"""Read NumPy's .npy and .npz files that come from outside, with one kind of error.

Nothing in them is executed (no pickle), and no more memory is asked for than the file can fill:
``np.load`` allocates what an array's header says before it looks whether that much is there.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as numpy_format

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

MOST_UNPACKED = 512 << 20
"""The most bytes that the arrays of an archive may have: deflate shrinks zeros by a thousand."""

_FORMAT: Any = numpy_format  # typed in some versions of NumPy only
_LARGEST_CODE_POINT = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def read_npy(content: bytes) -> Array:
    """Return the array of an .npy file; ValueError where it is none."""
    try:
        return _array(content)
    except Exception as error:  # NumPy has a dozen kinds for a damaged header
        raise ValueError(str(error) or type(error).__name__) from error


def read_npz(content: bytes) -> dict[str, Array]:
    """Return the arrays of an .npz file by name; ValueError where it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {
                member.filename.removesuffix(".npy"): _array(_member(archive, member))
                for member in _members(archive)
            }
    except Exception as error:  # zipfile and zlib have as many
        raise ValueError(str(error) or type(error).__name__) from error


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = [one for one in archive.infolist() if one.filename.endswith(".npy")]
    if sum(one.file_size for one in members) > MOST_UNPACKED:
        raise ValueError(f"its arrays have more than {MOST_UNPACKED >> 20} MiB unpacked")
    return members


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # The two that NumPy writes. The others shrink far better, so that a small file fills memory.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is compressed in a way that NumPy does not know")
    return archive.read(member)


def _array(content: bytes) -> Array:
    file = io.BytesIO(content)
    if _FORMAT.read_magic(file) == (1, 0):
        shape, _, dtype = _FORMAT.read_array_header_1_0(file)
    else:
        shape, _, dtype = _FORMAT.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    room = len(content) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > room:
        raise ValueError(f"it is cut off: its header promises the shape {shape}")
    file.seek(0)
    array: Array = _FORMAT.read_array(file, allow_pickle=False)
    if dtype.kind == "U" and not _is_text(array):
        raise ValueError("it holds text that is no Unicode")
    return array


def _is_text(array: Array) -> bool:
    """Whether an array of strings, 4 bytes to a character, can be read at all."""
    order = "<u4" if array.dtype.str.startswith("<") else ">u4"
    codes = np.frombuffer(array.tobytes(), order)
    low, high = _SURROGATES
    return not np.any((codes > _LARGEST_CODE_POINT) | ((codes >= low) & (codes <= high)))
