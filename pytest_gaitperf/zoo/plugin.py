"""The zoo's own implementation of the hook that prepares models; registered only when measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.zoo.repository import ensure_built
from pytest_gaitperf.zoo.variants import REFERENCE_VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.hookimpl
def pytest_gaitperf_prepare_models(
    repository: Path, models: tuple[str, ...], say: Callable[[str], None], update: bool
) -> None:
    """Build the reference networks that the repository has a directory of."""
    served = [
        variant
        for variant in REFERENCE_VARIANTS
        if (not models or variant.name in models) and (repository / variant.name).is_dir()
    ]
    ensure_built(repository, served, say, update=update)
