"""Which recorded cells a run of the whole suite did not measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.config.grid import FULL
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    import pytest

    from pytest_gaitperf.engine.session import Session


def asks_for_all(config: pytest.Config) -> bool:
    """Return whether the command line names whole directories, and leaves nothing in them out.

    What ``-k``, ``-m`` and ``--deselect`` leave out is told by pytest.
    """
    narrow = ("lf", "stepwise", "ignore", "ignore_glob")
    if any(config.getoption(option, None) for option in narrow):
        return False
    return all((config.invocation_params.dir / one).is_dir() for one in config.args)


def orphans(session: Session) -> dict[str, list[str]]:
    """Return the keys of the recorded cells that were not run, by model.

    A cell over a protocol or transport that this run did not use is none: another run's options ask
    for it. Nor is, where the quick grid was run, a cell of the full one, whose part that is.
    """
    ran = session.results.keys()
    covered = {(workload.model, workload.key) for workload in ran}
    ways = {(workload.protocol, workload.transport) for workload in ran}
    if session.settings.grid == "quick":
        covered |= {
            (model, Workload(model, batch, load, protocol=protocol, transport=transport).key)
            for model in {workload.model for workload in ran}
            for batch in FULL
            for load in FULL
            for protocol, transport in ways
        }
    found: dict[str, list[str]] = {}
    for cell in session.resources.store.cells():
        newest = cell.sessions[-1].fingerprint
        if (newest.protocol, newest.transport) in ways and (cell.model, cell.key) not in covered:
            found.setdefault(cell.model, []).append(cell.key)
    return found
