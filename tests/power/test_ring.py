from __future__ import annotations

import struct
import tempfile

from pytest_gaitperf.power.sampler import Ring


def times(packed: bytes) -> list[int]:
    return [at for at, *_ in struct.iter_unpack("<q2d", packed)]


def test_a_stretch_comes_with_one_reading_on_either_side() -> None:
    with tempfile.TemporaryFile() as file:
        writer, reader = Ring(file.fileno(), 2), Ring(file.fileno(), 2)
        assert (reader.count, reader.between(0, 100)) == (0, b"")
        for at in range(0, 100, 10):
            writer.append(at, (at, -at))
        assert times(reader.between(25, 45)) == [20, 30, 40, 50]
        assert times(reader.between(30, 40)) == [20, 30, 40, 50]
        assert times(reader.between(-5, 500)) == list(range(0, 100, 10))
        assert reader.count == 10


def test_a_full_ring_keeps_the_newest_in_bounded_space() -> None:
    with tempfile.TemporaryFile() as file:
        writer, reader = Ring(file.fileno(), 2, capacity=100), Ring(file.fileno(), 2, capacity=100)
        for at in range(1, 1001):
            writer.append(at, (0.0, 0.0))
        kept = times(reader.between(0, 2000))
        assert kept == list(range(kept[0], 1001))
        assert 30 < len(kept) <= 100
        assert file.seek(0, 2) == 8 + 100 * 24
