from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from pytest_gaitperf.running import _log_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def config(mkdir: Callable[[str], Path]) -> pytest.Config:
    manager = SimpleNamespace(has_plugin=lambda _: True)
    fake: Any = SimpleNamespace(pluginmanager=manager, cache=SimpleNamespace(mkdir=mkdir))
    return cast("pytest.Config", fake)


def test_a_cache_that_cannot_be_made_costs_only_the_log() -> None:
    def refuse(_name: str) -> Path:
        raise PermissionError(13, "Permission denied")

    assert _log_directory(config(refuse)) is None


def test_the_log_is_kept_in_the_cache(tmp_path: Path) -> None:
    assert _log_directory(config(lambda _: tmp_path)) == tmp_path
