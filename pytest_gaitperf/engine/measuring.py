"""The measuring phase: every planned cell, in every life of every session, within its budget."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from pytest_gaitperf.engine.alone import Alone
from pytest_gaitperf.engine.cells import CellState
from pytest_gaitperf.engine.fingerprint import changed
from pytest_gaitperf.engine.loading import unrequestable
from pytest_gaitperf.engine.progress import Place
from pytest_gaitperf.engine.session import Session, Time, loads_of
from pytest_gaitperf.engine.sustaining import Sustaining
from pytest_gaitperf.errors import (
    ConfigurationError,
    FailedRequestsError,
    GaitperfError,
    LeftOut,
    MeasurementError,
    ServerError,
    first_line,
)
from pytest_gaitperf.host.state import cool_down
from pytest_gaitperf.measure.cell import measure_life
from pytest_gaitperf.measure.subjects import left_out, measure_most_subjects
from pytest_gaitperf.workload import shapes_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_gaitperf.config.policy import Policies
    from pytest_gaitperf.engine.expectation import Expectation
    from pytest_gaitperf.engine.fingerprint import Fingerprints
    from pytest_gaitperf.engine.paired import Paired
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class Measuring:
    """Measures cells, and keeps the time; the run's budget begins when this is made.

    Each session has several lives of the models' processes, and each life visits all cells, in an
    order drawn from ``seed``. ``cells`` are the states of the cells measured so far, ``began_s``
    (Unix time) when each session began, ``lives`` in how many lives the first one was measured,
    ``cut_short`` why there are fewer sessions or lives than asked for, ``lives_ended`` why the
    first session has fewer lives, ``seconds`` what measuring took.
    """

    def __init__(
        self,
        resources: Resources,
        fingerprints: Fingerprints,
        paired: Paired | None,
        expectation: Expectation,
        policies: Policies,
    ) -> None:
        settings = resources.settings
        self.cells: dict[Workload, CellState] = {}
        self.sessions = settings.sessions if settings.update != "none" else 1
        self.began_s: list[float] = []
        self.lives = 1
        self.seed = time.time_ns() // 1_000_000 % 1_000_000
        self.cut_short = self.lives_ended = ""
        self.seconds = 0.0
        self.alone = Alone(resources)
        self._resources = resources
        self._settings = settings
        self._fingerprints = fingerprints
        self._paired = paired
        self._expectation = expectation
        self._sustaining = Sustaining(resources, fingerprints, policies)
        self._aside: dict[Workload, str] = {}
        self._time = Time(resources)
        self.left_s = self._time.left_s
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
        self.lives = 1 if self._paired is not None else self._time.lives(cells, self.sessions)
        session = Session(1, cells, self.lives, further=self.sessions - 1)
        try:
            for workload, place in self._visits(session):
                self._first(workload, place, session)
        except GaitperfError as error:  # a new life did not begin
            self.lives_ended = first_line(error)
            self.stop(self.lives_ended)
        finally:  # as planned, whatever the order in which they were measured
            self.cells = {
                **{one: self.cells[one] for one in cells if one in self.cells},
                **{one: cell for one, cell in self.cells.items() if one not in cells},
            }
        if not self.cells:
            for workload, why in self._aside.items():
                self.fail([workload], MeasurementError(why))
            self._aside = {}

    def further_sessions(self, cells: Sequence[CellState]) -> None:
        """Measure the cells in all further sessions, each on a server started anew if it is ours.

        The first fault ends it, since nothing can be recorded then; what was measured stays.
        """
        resources, progress = self._resources, self._resources.progress
        by_workload = {cell.workload: cell for cell in cells}
        if cells and not resources.renews:
            progress.say("the server is not restarted between sessions: they share its state")
        for number in range(2, self.sessions + 1) if cells else ():
            further = self.sessions - number
            session = Session(number, list(by_workload), self.lives, further)
            try:
                resources.restart_server()
                progress.live("measuring the idle power")
                resources.metering.measure_idle()
                self.began_s.append(time.time())
                for workload, place in self._visits(session):
                    self._further(by_workload[workload], place, session)
            except GaitperfError as error:
                self.stop(f"session {number} of {self.sessions}: {first_line(error)}")
                return

    def fail(self, planned: Iterable[Workload], error: GaitperfError) -> None:
        """Note that none of these cells can be measured, and why: at length for the first one."""
        for workload in planned:
            self.cells[workload] = CellState(workload, error=error)
            error = MeasurementError(first_line(error))

    def stop(self, why: str) -> None:
        """Measure no further session, and say why."""
        self.cut_short = why
        self._resources.progress.say(why)

    def measure_again(self, suspects: Sequence[tuple[CellState, str]]) -> None:
        """Measure suspects once more, on fresh processes where those can be had.

        In a life less than before: a lower limit holds now, and everybody waits. Each comes with
        its reason, and has ``again`` afterwards, or ``unconfirmed``; what disturbs acquits nobody.
        """
        by_workload = {cell.workload: cell for cell, _ in suspects}
        for cell, reason in suspects:
            self._resources.progress.say(f"{cell.workload.id}: {reason}; measuring it once more")
        lives = max(self.lives - 1, 1)
        beside = [one for cell, _ in suspects for one in loads_of(cell.workload, self.cells)]
        cells = list(dict.fromkeys([*by_workload, *beside]))
        session = Session(1, cells, lives, again=True, part=lives / self.lives)
        try:
            self._resources.restart_server()
            for workload, place in self._visits(session):
                self._again(by_workload.get(workload) or CellState(workload), place, session)
        except GaitperfError as error:
            for cell, _ in suspects:
                cell.unconfirmed = cell.unconfirmed or error
        for cell, _ in suspects:
            if cell.again is None:
                none = MeasurementError("no time was left to measure it again")
                cell.unconfirmed = cell.unconfirmed or none

    def _again(self, cell: CellState, place: Place, session: Session) -> None:
        try:
            cell.again = self._measured(cell.workload, place, session)
        except GaitperfError as error:
            session.over.add(cell.workload)
            cell.unconfirmed = error
        else:
            session.lost(cell.workload, cell.again)
            invalid = cell.again.invalid
            cell.unconfirmed = MeasurementError(invalid) if invalid else None

    def by_hand(self, workload: Workload) -> None:
        """Measure a cell that no grid has, since a test asks for it, in the life that goes on.

        Raises LeftOut as planned.
        """
        if (why := self.left_out(workload)) is not None:
            raise LeftOut(why)
        session = Session(1, [workload])
        self._time.look_ahead(session, 1, ())
        number = len(self.cells) + 1
        self._first(workload, Place(number, number, self._done, 1), session)

    def left_out(self, workload: Workload) -> str | None:
        """Say why a cell is not to be measured, None where it is."""
        if workload in self._aside:
            return self._aside[workload]

        def measured(one: Workload) -> Measurement | None:
            return self.cells[one].measurement if one in self.cells else None

        planned = self._resources.planned
        return left_out(workload, planned, measured, paired=self._paired is not None)

    # Lives

    def _visits(self, session: Session) -> Iterator[tuple[Workload, Place]]:
        """Yield the cells of each life of a session, beginning all lives but the first.

        What a cell's visit finds out decides on the later ones. Raises GaitperfError where a new
        life does not begin.
        """
        progress = self._resources.progress
        for life in range(1, session.lives + 1):
            order = session.order(life, self.seed)
            if life > 1:
                order = self._time.within(order, session)
                if not order:
                    continue  # what is sustained may follow in the last one
                progress.say(f"life {life} of {session.lives}")
                self._resources.restart_server()
            for number, workload in enumerate(order, 1):
                if life > 1 and not self._time.within([workload], session, begun=True):
                    continue  # it has the lives before
                self._time.look_ahead(session, life, order[number:])
                if self.left_out(workload) is not None:
                    session.over.add(workload)
                    continue
                yield (
                    workload,
                    Place(
                        number,
                        len(order),
                        self._done,
                        self._time.visits,
                        session.number,
                        self.sessions,
                        life,
                        session.lives,
                        session.again,
                        self._time.lasting,
                    ),
                )

    # One cell

    def _first(self, workload: Workload, place: Place, session: Session) -> None:
        if not self.began_s:
            self.began_s.append(time.time())
        cell = self.cells.get(workload)
        if cell is None:
            interrupted = MeasurementError("the run was interrupted while this cell was measured")
            cell = self.cells[workload] = CellState(workload, error=interrupted)
        try:
            measurement = self._measured(workload, place, session)
            fingerprint = self._fingerprints.known(workload, measurement)
            if (
                cell.fingerprint
                and fingerprint
                and changed(workload, cell.fingerprint, fingerprint)
            ):
                raise MeasurementError(
                    "its model's files, the server or the rails changed while it was measured: "
                    "measure again, and leave them alone"
                )
        except GaitperfError as error:
            if cell.measurement is not None and isinstance(error, ServerError):  # it stays
                raise
            self._not_measured(cell, error)
        else:
            cell.measurement, cell.fingerprint, cell.error = measurement, fingerprint, None
            session.lost(workload, measurement)
            self._show(workload, measurement, place, session)
        if cell.error is not None:
            session.over.add(workload)
        self._resources.journal.add(cell.record(), cell.fingerprint)

    def _keep(self, workload: Workload, place: Place, so_far: Measurement) -> None:
        """Keep what there is of a cell that goes on: nothing but a kill can lose it now."""
        if place.session == 1 and not place.again:
            cell = self.cells[workload]
            cell.measurement, cell.error = so_far, None
            self._resources.journal.add(cell.record(), None)

    def _not_measured(self, cell: CellState, error: GaitperfError) -> None:
        workload = cell.workload
        cell.error, cell.measurement = error, None
        self._resources.progress.say(f"{workload.id} not measured: {first_line(error)}")
        planned = workload in self._resources.planned
        wrong = isinstance(error, ConfigurationError) and unrequestable(self._resources, workload)
        if planned and wrong and not self._expectation.expects(workload):
            del self.cells[workload]
            self._aside[workload] = wrong
            self._expectation.left_out[workload.model] = wrong

    def _further(self, cell: CellState, place: Place, session: Session) -> None:
        """Measure a cell once more; MeasurementError where that cannot be recorded."""
        workload = cell.workload
        begun = workload in session.runs or workload in session.starts
        try:
            measurement = self._measured(workload, place, session)
        except GaitperfError as error:
            raise MeasurementError(
                f"{workload.id} could not be measured: {first_line(error)}"
            ) from error
        if begun:
            cell.further.pop()
        cell.further.append(measurement)
        lost = session.lost(workload, measurement)
        self._show(workload, measurement, place, session)
        if lost:
            raise MeasurementError(f"{workload.id} is invalid: {measurement.invalid}")
        if measurement.energy_failed:
            why = measurement.absent.get("energy_per_inference", "")
            raise MeasurementError(f"energy was not measured in {workload.id}: {why}")
        fingerprint = self._fingerprints.of(workload, measurement)
        if cell.fingerprint is not None and changed(workload, cell.fingerprint, fingerprint):
            raise MeasurementError(
                f"{workload.id} was not what the first session measured: its model's files, the "
                "server or the rails changed meanwhile; record again, and leave them alone"
            )

    def _show(
        self, workload: Workload, measurement: Measurement, place: Place, session: Session
    ) -> None:
        """Tell of a cell where this was the last of its lives, or nothing more is to come of it."""
        self._done += 1
        several = workload in session.runs or workload.alone
        last = place.life >= session.lives_of(workload) or not several
        tell = last or workload in session.over
        self._resources.progress.cell_done(workload, measurement, tell=tell)

    def _measured(self, workload: Workload, place: Place, session: Session) -> Measurement:
        """Measure a cell in one life, and return what all of its lives so far come to."""
        began_s = time.monotonic()
        resources, settings, progress = self._resources, self._settings, self._resources.progress
        progress.cell_starts(workload, place, self._time.at_most_s(workload, session))
        if self._paired is not None and self._paired.has(workload):
            session.over.add(workload)
            return self._paired.measured(workload)
        if workload.alone:
            return self.alone.measured(workload, session, self.left_s)
        budget = self._time.budget(workload, place.life, session)
        if settings.cooldown is not None:
            cool_down(settings.cooldown, progress.live)
        server, metering = resources.server, resources.metering  # one that is lost says why itself
        try:
            server.check_alive()  # it may have died since the last cell: that has a log's end
            if self._paired is not None and self._paired.reference(workload) is not None:
                session.over.add(workload)
                cells = self._of_one_model(workload)
                self._paired.measure(cells, self._time.of_all(workload, cells))
                return self._paired.measured(workload)
            if workload.sustained_s:
                session.over.add(workload)
                keep = partial(self._keep, workload, place)
                return self._sustaining.measured(workload, budget, keep)
            asked, data = (server, workload, metering, budget), settings.data
            if workload.search:
                session.over.add(workload)
                return measure_most_subjects(*asked, data=data, progress=progress.text_goes_on)
            life = measure_life(*asked, data=data, progress=progress.cell_goes_on)
            if resources.models_alone is not None:
                resources.models_alone.note(life)
            return session.evaluated(workload, place.life, life)
        except ServerError as error:
            resources.lose_server(f"the server was lost during {workload.id} ({first_line(error)})")
            raise
        except (FailedRequestsError, MemoryError) as error:
            raise _explained(error, workload) from error
        finally:
            self.seconds += time.monotonic() - began_s

    def _of_one_model(self, workload: Workload) -> list[Workload]:
        """Return this cell and the planned ones of the same model: they share its processes."""
        others = (
            one
            for one in self._resources.planned
            if one.model == workload.model and one not in self.cells and not one.alone
        )
        return [workload, *(one for one in others if self.left_out(one) is None)]


def _explained(error: FailedRequestsError | MemoryError, workload: Workload) -> MeasurementError:
    """Return the error of a cell, with what in the grid may be the cause."""
    if isinstance(error, MemoryError):
        advice = "give a smaller batch, shape or load"
        return MeasurementError(f"the memory does not hold it ({error}): {advice}")
    sent = shapes_text(dict(workload.shapes))
    asked = f"; does the model take {sent}, which the grid gives?" if sent else ""
    return MeasurementError(f"{error}{asked}")
