"""Read NumPy's .npy and .npz files that come from outside, with one kind of error.

Nothing in them is executed (no pickle), and no more memory is asked for than the file can fill:
``np.load`` allocates what an array's header says before it looks whether that much is there.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as numpy_format

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

MOST_UNPACKED = 512 << 20
"""The most bytes that the arrays of an archive may have: deflate shrinks zeros by a thousand."""

MOST_DIMENSIONS = 32
"""As many as every NumPy has."""

_COPIES = 5
"""How often the values are held at most: packed, unpacked, as an array, cast and compared."""

_STRING_BYTES = 64
"""What each string takes as an object of Python, however short."""

_FORMAT: Any = numpy_format  # typed in some versions of NumPy only
_LARGEST_CODE_POINT = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def free_memory() -> int:
    """Return how many bytes of memory may still be taken: of the machine, and of the control group.

    Where that cannot be read, the machine's whole memory.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        found += [int(one.split()[1]) << 10 for one in lines if one.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # no file, or "max"
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text("ascii"))
        found.append(limit - int((group / "memory.current").read_text("ascii")))
    return max(min(found), 0)


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
    unpacked = sum(one.file_size for one in members)
    if unpacked > MOST_UNPACKED:
        raise ValueError(f"its arrays have more than {MOST_UNPACKED >> 20} MiB unpacked")
    if _COPIES * unpacked > (free := free_memory()):
        raise ValueError(
            f"its arrays have {unpacked >> 20} MiB unpacked, which are held {_COPIES} times, and "
            f"{free >> 20} MiB of memory are free"
        )
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
    if dtype.kind in "SU" and math.prod(shape) * _STRING_BYTES > MOST_UNPACKED:
        raise ValueError(f"it has {math.prod(shape)} strings, which fill the memory")
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
