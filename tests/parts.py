"""Real parts that `.ci/parts DIR` installs for slow tests; GAITPERF_PARTS=DIR names them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def part(name: str) -> Path:
    """Return the directory of a part; skip the test, by the part's name, where it is not there."""
    path = Path(os.environ.get("GAITPERF_PARTS", "/nowhere")) / name
    if not path.is_dir():
        pytest.skip(
            f"the part {name!r} is not installed: run .ci/parts DIR, set GAITPERF_PARTS=DIR"
        )
    return path
