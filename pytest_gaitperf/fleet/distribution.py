"""pytest-xdist's distribution, as a fleet needs it.

``--dist each`` starts when every worker has collected, replaces one that crashes, and gives up when
one cannot be started. Boards do not wait for each other, and one that is lost stays lost.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from xdist import workermanage
from xdist.dsession import DSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_gaitperf.fleet.controller import Controller


class _Scheduling:
    """Gives each board all its tests as soon as it has collected them; xdist's protocol."""

    def __init__(self, boards_left: Callable[[], object]) -> None:
        self._boards_left = boards_left
        self._pending: dict[Any, list[int]] = {}
        self._collected: list[tuple[Any, int]] = []
        self.collected = 0

    @property
    def nodes(self) -> list[Any]:
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        return bool(self._collected)

    @property
    def tests_finished(self) -> bool:
        return not self._boards_left()

    @property
    def has_pending(self) -> bool:
        return any(self._pending.values())

    def add_node(self, node: Any) -> None:
        self._pending[node] = []

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        self._collected.append((node, len(collection)))
        self.collected += len(collection)

    def schedule(self) -> None:
        for node, tests in self._collected:
            self._pending[node] = list(range(tests))
            node.send_runtest_all()
            node.shutdown()  # once they are through
        self._collected.clear()

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:  # noqa: ARG002 - the protocol's
        self._pending[node].remove(item_index)

    def remove_node(self, node: Any) -> None:
        self._pending.pop(node, None)


class FleetSession(DSession):  # type: ignore[misc]  # xdist has no types
    """xdist's session: a board that fails, at whatever moment, is noted, and the others go on."""

    def __init__(self, config: pytest.Config, fleet: Controller) -> None:
        super().__init__(config)
        self._fleet = fleet

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Start a worker on every board that can be reached."""
        self._session = session
        self.nodemanager = manager = workermanage.NodeManager(self.config)
        self.config.hook.pytest_xdist_setupnodes(config=self.config, specs=manager.specs)
        with _arguments_as_given(manager, self.config):
            for spec in self._fleet.reachable(manager.specs):
                self._start(manager, spec)
        if not self._active_nodes:
            pytest.exit(f"no board of the fleet can run: {self._fleet.why_lost()}", returncode=3)

    def _start(self, manager: Any, spec: Any) -> None:
        try:
            self._active_nodes.add(manager.setup_node(spec, self.queue.put))
        except Exception as error:  # noqa: BLE001 - whatever it is, other boards may be well
            self._fleet.lost(spec.id, f"no worker could be started: {error!r}")

    def pytest_xdist_make_scheduler(self) -> _Scheduling:
        """Return our scheduling."""
        return _Scheduling(lambda: self._active_nodes)

    def worker_collectionfinish(self, node: Any, ids: Sequence[str]) -> None:
        """Let a board begin; what is to come counts on all boards."""
        super().worker_collectionfinish(node, ids)
        if self._session is not None:
            self._session.testscollected = self.sched.collected

    def worker_workerfinished(self, node: Any) -> None:
        """Note what a board has told at its end."""
        self.config.hook.pytest_testnodedown(node=node, error=None)
        self._gone(node)

    def worker_errordown(self, node: Any, error: object) -> None:
        """Note that a board is lost."""
        self.config.hook.pytest_testnodedown(node=node, error=error)
        self._gone(node)

    def worker_internal_error(self, node: Any, formatted_error: str) -> None:
        """Note an error of a board's pytest itself; its end is told apart."""
        self._fleet.lost(node.gateway.id, f"pytest failed there: {_last_line(formatted_error)}")

    def worker_gaitperf(self, board: str, message: object) -> None:
        """Hear a board: called in the main thread for what its channel has brought."""
        self._fleet.hear(board, message)

    def _gone(self, node: Any) -> None:
        self.sched.remove_node(node)
        self._active_nodes.discard(node)

    def _handlefailures(self, rep: object) -> None:
        """Leave ``-x`` and ``--maxfail`` to each board, which counts for itself."""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


@contextmanager
def _arguments_as_given(manager: Any, config: pytest.Config) -> Iterator[None]:
    """Hand boards the command line as it is, where nothing is to be copied to them.

    Else xdist copies pytest itself into each board's directory, and refuses every argument that is
    a path here and not one of the directories to be copied: it knows of no checkout on the board.
    """
    if config.getoption("rsyncdir") or config.getini("rsyncdirs"):
        yield
        return
    manager.roots = []
    before = workermanage.make_reltoroot
    workermanage.make_reltoroot = lambda _roots, arguments: arguments
    try:
        yield
    finally:
        workermanage.make_reltoroot = before
