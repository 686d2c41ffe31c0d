"""Fake Jetson boards, whose drivers end with the test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.testing import FakeBoard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    BoardMaker = Callable[[Mapping[str, Sequence[str]]], FakeBoard]

READS_A_FAKE_TREE = """
from functools import partial
from pathlib import Path

from pytest_gaitperf.power import meter

meter.open_meter = partial(meter.open_meter, sysfs_root=Path({root!r}))
"""
"""A conftest.py: the runs beside it read the fake board at ``root``."""


@pytest.fixture
def hwmon_board(tmp_path: Path) -> Iterator[BoardMaker]:
    """Make fake boards in the hwmon layout."""
    with ExitStack() as stack:
        yield lambda chips: stack.enter_context(FakeBoard(tmp_path, chips))


@pytest.fixture
def iio_board(tmp_path: Path) -> BoardMaker:
    """Make a fake board in the IIO layout of JetPack 4."""
    return lambda chips: FakeBoard(tmp_path, chips, "iio")
