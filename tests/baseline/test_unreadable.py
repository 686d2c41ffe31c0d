"""A directory of baselines that may not be read is not an empty one."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@contextmanager
def no_root() -> Iterator[None]:
    """Be another user than root meanwhile: root may read everything."""
    root = os.getuid() == 0
    if root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


@pytest.mark.parametrize("where", ["baselines/here", "baselines"])
@pytest.mark.parametrize("mode", [0o000, 0o300])
def test_it_is_named(where: str, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        baselines = Path(folder, "baselines")
        (baselines / "here").mkdir(parents=True)
        Path(folder, where).chmod(mode)
        try:
            store = BaselineStore(baselines, "here", {})
            with no_root(), pytest.raises(BaselineError, match="may not read what baselines"):
                store.check()
        finally:
            Path(folder, where).chmod(0o755)
