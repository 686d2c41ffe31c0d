"""The hooks that other plugins and a project's ``conftest.py`` can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.hookspec
def pytest_gaitperf_prepare_models(
    repository: Path, models: tuple[str, ...], say: Callable[[str], None], update: bool
) -> None:
    """Build the models of a repository before Triton is started from it.

    Called once for each model repository, never for a server that already runs. An implementation
    builds what is missing and leaves alone what it does not know. Raise ``GaitperfError`` with what
    to do where that fails: the run then has no server.

    Parameters
    ----------
    repository
        Triton's model repository, a directory.
    models
        The names of the models that will be served; empty for all in the repository.
    say
        Shows one line of progress on the terminal.
    update
        Whether to build again what is outdated. False for the repository of
        ``--gaitperf-against``: what somebody built there is what the run compares with.
    """
