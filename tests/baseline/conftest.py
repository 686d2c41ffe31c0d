from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.baseline.admitting import Scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A run over cells, with baselines beside it."""
    return Scene(tmp_path)
