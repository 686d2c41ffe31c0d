"""Who wrote an ONNX file: read from its outermost protobuf fields, without onnx."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

# Field numbers of ModelProto, in onnx.proto.
_PRODUCER_NAME, _GRAPH = 2, 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LONGEST_NAME = 1024


def producer(path: Path) -> str | None:
    """Return the file's producer name, "" where it has none, None where it is no ONNX file.

    A file cut off after its producer's name still has one.
    """
    size = path.stat().st_size
    has_graph = False
    with path.open("rb") as file:
        while file.tell() < size:
            tag = _varint(file)
            if tag is None:
                return None
            field, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                length = 0 if _varint(file) is not None else size
            elif wire == _BYTES:
                declared = _varint(file)
                length = size if declared is None else declared
            else:
                length = {_FIXED64: 8, _FIXED32: 4}.get(wire, size)
            if field == 0 or file.tell() + length > size:
                return None
            if field == _PRODUCER_NAME and wire == _BYTES and length <= _LONGEST_NAME:
                return file.read(length).decode(errors="replace")
            has_graph = has_graph or field == _GRAPH
            file.seek(length, os.SEEK_CUR)
    return "" if has_graph else None


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80:  # noqa: PLR2004  # the bit that says that more bytes follow
            return value
    return None
