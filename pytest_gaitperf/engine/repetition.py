"""The further sessions of a run that records several: the same cells, on a server started anew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError, MeasurementError, first_line
from pytest_gaitperf.report.progress import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_gaitperf.baseline.cells import Fingerprint
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.engine.session import CellResult
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class Repetition:
    """Counts the sessions of a run, and measures those after the first.

    ``measure`` measures a cell once more, ``facts`` tells what its values depend on. ``sessions``
    is how many are asked for, 1 where nothing is recorded. ``began_s`` (Unix time) are the times
    at which the sessions began, ``cut_short`` why there are fewer than asked for.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        measure: Callable[[Workload], Measurement],
        facts: Callable[[Workload, Measurement], Fingerprint],
    ) -> None:
        settings = resources.settings
        self.sessions = settings.sessions if settings.update != "none" else 1
        self.began_s: list[float] = []
        self.cut_short = ""
        self._resources = resources
        self._measure = measure
        self._facts = facts
        self._cells: Sequence[CellResult] | None = None
        self._session = 1
        self._cell = 0

    def ahead(self) -> Iterator[Workload]:
        """Yield the cells that the sessions after the first still need, once for each time."""
        if self._cells is None:
            for _ in range(self.sessions - 1):
                yield from self._resources.planned
            return
        cells = [result.workload for result in self._cells]
        yield from cells[self._cell :]
        for _ in range(self.sessions - self._session):
            yield from cells

    def place(self, measured: int, left: int) -> Place:
        """Say where the run stands; ``measured`` counts the first session's cells so far."""
        if self._session == 1 or self._cells is None:
            cells = max(len(self._resources.planned), measured)
            return Place(measured, cells, measured - 1, left, sessions=self.sessions)
        cells = len(self._cells)
        done = measured + (self._session - 2) * cells + self._cell - 1
        return Place(self._cell, cells, done, left, self._session, self.sessions)

    def begins(self) -> None:
        """Note when the first session began; later calls change nothing."""
        if not self.began_s:
            self.began_s.append(time.time())

    def stop(self, why: str) -> None:
        """Measure no further session, and say why."""
        self.cut_short = why
        self._ends()
        self._resources.progress.say(why)

    def run(self, cells: Sequence[CellResult]) -> None:
        """Measure the cells in all further sessions, each on a server started anew if it is ours.

        The first fault ends it, since nothing can be recorded then; what was measured stays.
        """
        self._cells = cells
        if not cells:
            return
        progress = self._resources.progress
        if self._resources.server.mode == "attach":
            progress.say("the server is not restarted between sessions: they share its state")
        try:
            for number in range(2, self.sessions + 1):
                self._session, self._cell = number, 0
                self._resources.restart_server()
                progress.live("measuring the idle power")
                self._resources.metering.measure_idle()
                self.began_s.append(time.time())
                for result in cells:
                    self._cell += 1
                    self._measure_again(result)
        except GaitperfError as error:
            self.stop(f"session {self._session} of {self.sessions}: {first_line(error)}")
        else:
            self._ends()

    def _ends(self) -> None:
        self._cells, self._session, self._cell = (), 1, 0

    def _measure_again(self, result: CellResult) -> None:
        """Measure a cell once more; MeasurementError where that cannot be recorded."""
        cell = result.workload.id
        try:
            measurement = self._measure(result.workload)
        except GaitperfError as error:
            raise MeasurementError(f"{cell} could not be measured: {first_line(error)}") from error
        result.further.append(measurement)
        self._resources.progress.cell_done(measurement)
        if measurement.invalid:
            raise MeasurementError(f"{cell} is invalid: {measurement.invalid}")
        if measurement.energy_failed:
            raise MeasurementError(f"the power meter failed in {cell}")
        if self._facts(result.workload, measurement) != result.facts:
            raise MeasurementError(
                f"{cell} was not what the first session measured: its model's files, the server or "
                "the rails changed meanwhile; record again, and leave them alone"
            )
