"""The hooks that other plugins and a project's ``conftest.py`` can implement.

Stable as long as the version's first two numbers are: new arguments may come, none goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_gaitperf.results import Run, Verdict
    from pytest_gaitperf.workload import Workload


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


@pytest.hookspec(firstresult=True)
def pytest_gaitperf_verdict(workload: Workload, verdict: Verdict) -> Verdict | None:
    """See a verdict once it is final, or put another one in its place.

    Called for each metric of each judged cell, before the tests read it. The first implementation
    that returns a verdict decides; None leaves it as it is. Say why in the verdict's ``reason``.
    """


@pytest.hookspec
def pytest_gaitperf_record(run: Run) -> Mapping[str, object] | None:
    """Add to the record of the run: what is returned stands in its ``extra``.

    Called once at the end, before anything is written. Keys should name your package; values must
    be what JSON can hold.
    """


@pytest.hookspec
def pytest_gaitperf_finished(run: Run) -> None:
    """Receive the record of the run, with its outcome, when everything is written."""
