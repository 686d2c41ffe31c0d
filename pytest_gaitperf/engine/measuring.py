"""The measuring phase: every planned cell, in every session of the run, within its budget."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pytest_gaitperf.engine.cells import CellState
from pytest_gaitperf.engine.progress import Place
from pytest_gaitperf.errors import (
    ConfigurationError,
    GaitperfError,
    LeftOut,
    MeasurementError,
    ServerError,
    first_line,
)
from pytest_gaitperf.host.state import cool_down
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.measure.capacity import LEAST_SEARCH_S, SEARCH_S
from pytest_gaitperf.measure.cell import Budget, measure
from pytest_gaitperf.measure.subjects import left_out, measure_most_subjects

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_gaitperf.engine.expectation import Expectation
    from pytest_gaitperf.engine.fingerprint import Fingerprints
    from pytest_gaitperf.engine.paired import Paired
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload

_LEAST_S = 2.5
"""Warm-up and six windows of a fast model, in seconds; a power meter needs more."""


class Measuring:
    """Measures cells, and keeps the time; the run's budget begins when this is made.

    ``cells`` are the states of the cells measured so far, ``began_s`` (Unix time) when each session
    began, ``cut_short`` why there are fewer sessions than asked for, ``seconds`` what measuring
    took.
    """

    def __init__(
        self,
        resources: Resources,
        fingerprints: Fingerprints,
        paired: Paired | None,
        expectation: Expectation,
    ) -> None:
        settings = resources.settings
        self.cells: dict[Workload, CellState] = {}
        self.sessions = settings.sessions if settings.update != "none" else 1
        self.began_s: list[float] = []
        self.cut_short = ""
        self.seconds = 0.0
        self._resources = resources
        self._settings = settings
        self._fingerprints = fingerprints
        self._paired = paired
        self._expectation = expectation
        self._aside: dict[Workload, str] = {}
        self._made_s = time.monotonic()
        self._ahead: list[Workload] = []  # what is still to be measured after the present cell
        self._done = 0

    # Phases

    def first_session(self, planned: Iterable[Workload]) -> None:
        """Measure each planned cell once; one that cannot be measured does not stop the others.

        Searches come first: what they find to be too much for a model is not measured. What the
        server cannot serve, and was not expected, is left out; all is expected where else nothing
        would be measured.
        """
        cells = [one for one in planned if one not in self.cells]
        try:
            offers = self._resources.served({one.model for one in cells})
        except GaitperfError as error:
            self.fail(cells[:1], error)
            self.fail(cells[1:], ServerError(f"there is no server: {first_line(error)}"))
            return
        self._aside |= self._expectation.set_aside(cells, offers)
        cells = [one for one in cells if one not in self._aside]
        cells.sort(key=lambda cell: not cell.most_subjects)
        self._ahead = cells * self.sessions
        for number, workload in enumerate(cells, 1):
            self._ahead.pop(0)
            if self.left_out(workload) is None:
                self._first(workload, number, len(cells))
        if not self.cells:
            for workload, why in self._aside.items():
                self.fail([workload], MeasurementError(why))
            self._aside = {}

    def further_sessions(self, cells: Sequence[CellState]) -> None:
        """Measure the cells in all further sessions, each on a server started anew if it is ours.

        The first fault ends it, since nothing can be recorded then; what was measured stays.
        """
        resources, progress = self._resources, self._resources.progress
        self._ahead = [cell.workload for cell in cells] * (self.sessions - 1)
        if cells and resources.server.mode == "attach":
            progress.say("the server is not restarted between sessions: they share its state")
        for session in range(2, self.sessions + 1) if cells else ():
            try:
                resources.restart_server()
                progress.live("measuring the idle power")
                resources.metering.measure_idle()
                self.began_s.append(time.time())
                for number, cell in enumerate(cells, 1):
                    self._ahead.pop(0)
                    self._further(cell, number, len(cells), session)
            except GaitperfError as error:
                self.stop(f"session {session} of {self.sessions}: {first_line(error)}")
                return

    def fail(self, planned: Iterable[Workload], error: GaitperfError) -> None:
        """Note that none of these cells can be measured, and why: at length for the first one."""
        for workload in planned:
            self.cells[workload] = CellState(workload, error=error)
            error = MeasurementError(first_line(error))

    def stop(self, why: str) -> None:
        """Measure no further session, and say why."""
        self.cut_short = why
        self._ahead = []
        self._resources.progress.say(why)

    def measure_again(self, suspects: Sequence[tuple[CellState, str]]) -> None:
        """Measure suspects once more, on a server started anew where it is ours.

        Each comes with the reason why it is one. A suspect has ``again`` afterwards, or
        ``unconfirmed``; a disturbed measurement acquits nobody.
        """
        failed: GaitperfError | None = None
        try:
            self._resources.restart_server()
        except GaitperfError as error:
            failed = error
        self._ahead = [cell.workload for cell, _ in suspects]
        for number, (cell, reason) in enumerate(suspects, 1):
            self._ahead.pop(0)
            cell.unconfirmed = failed
            if failed is not None:
                continue
            self._resources.progress.say(f"{cell.workload.id}: {reason}; measuring it once more")
            place = Place(number, len(suspects), number - 1, 1 + len(self._ahead), again=True)
            try:
                cell.again = self._measured(cell.workload, place)
            except GaitperfError as error:
                cell.unconfirmed = error
            else:
                if cell.again.invalid:
                    cell.unconfirmed = MeasurementError(cell.again.invalid)

    def by_hand(self, workload: Workload) -> None:
        """Measure a cell that no grid has, since a test asks for it. Raises LeftOut as planned."""
        if (why := self.left_out(workload)) is not None:
            raise LeftOut(why)
        self._first(workload, len(self.cells) + 1, len(self.cells) + 1)

    def left_out(self, workload: Workload) -> str | None:
        """Say why a cell is not to be measured, None where it is."""
        if workload in self._aside:
            return self._aside[workload]

        def measured(one: Workload) -> Measurement | None:
            return self.cells[one].measurement if one in self.cells else None

        planned = self._resources.planned
        return left_out(workload, planned, measured, paired=self._paired is not None)

    # One cell

    def _first(self, workload: Workload, number: int, cells: int) -> None:
        if not self.began_s:
            self.began_s.append(time.time())
        interrupted = MeasurementError("the run was interrupted while this cell was measured")
        cell = self.cells[workload] = CellState(workload, error=interrupted)
        place = Place(number, cells, self._done, 1 + len(self._ahead), sessions=self.sessions)
        try:
            measurement = cell.measurement = self._measured(workload, place)
            cell.fingerprint = self._fingerprints.of(workload, measurement)
        except GaitperfError as error:
            cell.error = error
            self._resources.progress.say(f"{workload.id} not measured: {first_line(error)}")
            planned = workload in self._resources.planned
            wrong = isinstance(error, ConfigurationError) and self._unrequestable(workload)
            if planned and wrong and not self._expectation.expects(workload):
                del self.cells[workload]
                self._aside[workload] = wrong
                self._expectation.left_out[workload.model] = wrong
            return
        cell.error = None
        self._done += 1
        self._resources.progress.cell_done(workload, measurement)

    def _unrequestable(self, workload: Workload) -> str:
        """Say why no request can be made for a model, "" where one can, or where it is gone."""
        resources = self._resources
        try:
            model = resources.server.model(workload.model, workload.version)
        except GaitperfError:  # it was there when this run began
            return ""
        try:
            input_data(model, workload, resources.settings.data)
        except ConfigurationError as error:
            return first_line(error)
        return ""

    def _further(self, cell: CellState, number: int, cells: int, session: int) -> None:
        """Measure a cell once more; MeasurementError where that cannot be recorded."""
        workload = cell.workload
        left = 1 + len(self._ahead)
        place = Place(number, cells, self._done, left, session, self.sessions)
        try:
            measurement = self._measured(workload, place)
        except GaitperfError as error:
            raise MeasurementError(
                f"{workload.id} could not be measured: {first_line(error)}"
            ) from error
        self._done += 1
        cell.further.append(measurement)
        self._resources.progress.cell_done(workload, measurement)
        if measurement.invalid:
            raise MeasurementError(f"{workload.id} is invalid: {measurement.invalid}")
        if measurement.energy_failed:
            raise MeasurementError(f"the power meter failed in {workload.id}")
        if self._fingerprints.of(workload, measurement) != cell.fingerprint:
            raise MeasurementError(
                f"{workload.id} was not what the first session measured: its model's files, the "
                "server or the rails changed meanwhile; record again, and leave them alone"
            )

    def _measured(self, workload: Workload, place: Place) -> Measurement:
        began_s = time.monotonic()
        resources, settings, progress = self._resources, self._settings, self._resources.progress
        progress.cell_starts(workload, place, self._at_most_s(workload))
        budget = self._budget(workload)
        if settings.cooldown is not None:
            cool_down(settings.cooldown, progress.live)
        server, metering = resources.server, resources.metering  # one that is lost says why itself
        try:
            server.check_alive()  # it may have died since the last cell: that has a log's end
            if self._paired is not None and (reference := self._paired.reference(workload)):
                return self._paired.measure(workload, reference, budget)
            if workload.most_subjects:
                return measure_most_subjects(
                    server,
                    workload,
                    metering,
                    budget,
                    data=settings.data,
                    progress=progress.text_goes_on,
                )
            return measure(
                server,
                workload,
                metering,
                budget,
                data=settings.data,
                progress=progress.cell_goes_on,
            )
        except ServerError as error:
            resources.lose_server(f"the server was lost during {workload.id} ({first_line(error)})")
            raise
        finally:
            self.seconds += time.monotonic() - began_s

    # Its time

    def _at_most_s(self, workload: Workload) -> float:
        """Return how long this cell and those left may take, in seconds."""
        return max(min(self._budget_s(workload) + self._after_s(), self._time_left_s()), 0.0)

    def _budget(self, workload: Workload) -> Budget:
        """Return what a cell may cost: its budget, and no more than its share of the run's.

        What a cell does not need is shared among those that follow. Raises MeasurementError when
        too little is left for any.
        """
        least_s = LEAST_SEARCH_S if workload.most_subjects else _LEAST_S
        least_s += self._resources.metering.minimum_span_s
        left_s, budget_s = self._time_left_s(), self._budget_s(workload)
        if left_s < least_s:
            raise MeasurementError(
                f"of the run's budget {max(left_s, 0.0):.1f} s are left, and a cell needs "
                f"{least_s:.1f} s: raise --gaitperf-run-budget, or measure fewer cells"
            )
        share_s = max(left_s * (budget_s / (budget_s + self._after_s())), least_s)
        return Budget(self._settings.precision, min(budget_s, share_s), share_s)

    def _after_s(self) -> float:
        return sum(map(self._budget_s, self._ahead))

    def _budget_s(self, workload: Workload) -> float:
        budget_s = self._settings.budget
        return max(budget_s, SEARCH_S) if workload.most_subjects else budget_s

    def _time_left_s(self) -> float:
        run_budget = self._settings.run_budget
        if run_budget is None:
            return math.inf
        return run_budget - (time.monotonic() - self._made_s)
