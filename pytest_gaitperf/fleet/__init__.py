"""Several boards at once: each runs the whole suite in its own pytest, one pytest gathers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    import pytest


def gather(config: pytest.Config) -> int:
    """Run this command line on every board; see ``fleet.gather``. The exit code is the worst."""
    try:
        from pytest_gaitperf.fleet.fleet import gather  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        if error.name != "execnet":
            raise
        raise ConfigurationError(
            "--gaitperf-board needs execnet: pip install 'pytest-gaitperf[fleet]'"
        ) from None
    return gather(config)
