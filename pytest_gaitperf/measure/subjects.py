"""The search for the most subjects, or the highest rate, on a real server, and its answer."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from scipy import special

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.data import InputData, input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import WarmUp, steady_latency_s
from pytest_gaitperf.measure.capacity import FURTHER_BELOW, Target, TrialObserver, search
from pytest_gaitperf.measure.cell import Budget, gather, measuring, model_of
from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.measure.validity import SATURATED, client_load
from pytest_gaitperf.measurement import Capacity, Trial
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.stats import minimum_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.load.record import LoadRecord, Observer
    from pytest_gaitperf.measure.gathered import Gathered
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

    Progress = Callable[[str], None]

_TICK_S = 0.05
_TOGETHER = 4
_WARM_UP_S = 1.5
_ENOUGH_REQUESTS = 299
_SHORTEST_MEASURED_S, _LONGEST_MEASURED_S = 4.0, 6.0
_AROUND_S = 2.0
_OVERRUN = 1.2
_ALMOST_ONE = 0.99

_NO_PAIRS = "searching for the most subjects has no pairs"


def left_out(
    workload: Workload,
    planned: Iterable[Workload],
    measured: Callable[[Workload], Measurement | None],
    *,
    paired: bool,
) -> str | None:
    """Say why a cell is not to be measured, None where it is.

    A fixed number of subjects is not, where a search found it too much. ``measured`` gives what was
    measured of a planned cell so far. ``paired``: each model is measured in turns with another one.
    """
    if paired and (why := _no_pairs(workload)) is not None:
        return why
    if workload.search or not workload.subjects:
        return None
    same = replace(workload, subjects=0, most_subjects=True, sustained_s=0.0, beside=())
    searches = [
        one
        for one in planned
        if one == replace(same, deadline_s=one.deadline_s, percentile=one.percentile)
    ]
    if searches and paired:
        return f"{_NO_PAIRS}, so that nothing tells whether so many are served"
    for one in searches:
        found = measured(one)
        if found is None or found.invalid:
            continue
        capacity = found.metrics["subjects"].value
        if workload.subjects > capacity:
            return f"{one.key} found {capacity:.3g} subjects served: more are not measured"
    return None


def _no_pairs(workload: Workload) -> str | None:
    if workload.search:
        return f"{_NO_PAIRS}: leave --gaitperf-against out"
    if workload.beside:
        return "a load beside neighbours has no pairs: leave --gaitperf-against out"
    if workload.sustained_s or workload.trace:
        what = "a trace is replayed from its beginning" if workload.trace else "it is one long load"
        return f"{what}, which turns would cut: it has no pairs"
    return None


def measure_most_subjects(
    server: TritonServer,
    workload: Workload,
    metering: Metering,
    budget: Budget,
    *,
    data: str = "random",
    progress: Progress = lambda _text: None,
) -> Measurement:
    """Find the most subjects, or the highest rate, that the server serves, and measure it there.

    The measurement has the metric ``subjects`` or ``best_rate``, and latency and energy at the
    largest load that was served; where not one subject is, of requests one at a time. Where one
    request at a time is too slow, the best rate is 0. ``budget.budget_s`` bounds the search; one
    whose answer did not hold when it was measured may take a fifth more, never longer than
    ``budget.most_s``. ``data`` is what the requests carry, ``progress`` is told of each load.

    Raises as ``cell.measure`` does.
    """
    model = model_of(server, workload)
    given = input_data(model, workload, data)
    with measuring(server, metering):
        return _Driver(server, model, workload, given, metering, budget, progress).measurement()


@dataclass(slots=True)
class _Driver:
    """Loads the server as the search asks, and keeps what was measured."""

    _server: TritonServer
    _model: ModelInfo
    _workload: Workload
    _given: InputData
    _metering: Metering
    _budget: Budget
    _progress: Progress
    _began_s: float = field(default_factory=time.monotonic)
    _runs: dict[float, Gathered] = field(default_factory=dict)

    @property
    def _target(self) -> Target:
        return Target(self._workload.frame_deadline_s, self._workload.percentile)

    def measurement(self) -> Measurement:
        """Search, and measure the answer."""
        alone_s = steady_latency_s(self._closed(1))  # which warms the model up
        answer = Capacity(subjects=0.0, low=0.0, high=0.0, settled=True)
        nobody = slow_at_first = alone_s > self._target.deadline_s
        if not nobody:
            answer = self._search(self._together())
            at_one = [trial for trial in answer.trials if trial.subjects <= 1]
            nobody = not answer.subjects and any(not trial.served for trial in at_one)
        run = self._runs.get(answer.at)
        if run is None and not nobody:
            last = max(answer.subjects * FURTHER_BELOW, 1.0)
            trial = self._measured(last)
            self._report(trial)
            answer = msgspec.structs.replace(answer, trials=(*answer.trials, trial), settled=False)
            if trial.served:
                run, subjects = self._runs[last], max(answer.subjects, last)
                answer = msgspec.structs.replace(
                    answer, subjects=subjects, low=answer.low or last, at=last
                )
        one_at_a_time = run is None
        if run is None:
            self._progress("no load holds: measuring one request at a time")
            cell = self._workload.closed(1)
            run = self._gathered(cell, _AROUND_S + self._measured_span_s(_SHORTEST_MEASURED_S))
        measured = evaluate([run])
        answer = msgspec.structs.replace(answer, unit=METRICS[self._workload.answer].unit)
        if one_at_a_time and answer.subjects < 1 and not self._workload.best_rate:
            answer = self._less_than_one(answer, measured, run, nobody=nobody)
        notes, invalid = measured.notes, measured.invalid
        high = answer.high
        if high is None:
            invalid = (
                f"{answer.subjects:.3g} {answer.unit} are served, and the budget ended before a "
                "load that is too much was found: raise --gaitperf-budget"
            )
            high = answer.subjects
            answer = msgspec.structs.replace(answer, high=high)
        elif not answer.settled:
            why = "the search ended before an answer held when it was measured"
            notes += (f"{why}: raise --gaitperf-budget, or free the machine",)
        if answer.too_much is not None and answer.too_much.client_load > SATURATED:
            busy = f"the client was busy {answer.too_much.client_load:.0%} of the time"
            invalid = f"{busy} at {answer.too_much.subjects:.3g} {answer.unit}: it set the limit"
        if slow_at_first and self._served_alone(measured, run):
            invalid = "the first requests were slow, later ones were not: measure again"
        estimate = Estimate(answer.unit, answer.subjects, answer.low, high)
        return msgspec.structs.replace(
            measured,
            metrics={self._workload.answer: estimate, **measured.metrics},
            notes=notes,
            invalid=invalid,
            capacity=answer,
        )

    def _search(self, guess: float) -> Capacity:
        steps = search(guess)
        ask = next(steps)
        while True:
            trial = None
            if not ask.measured:
                trial = self._tried(ask.subjects)
            elif self._left_s(_OVERRUN * self._budget.budget_s) >= self._measuring_s(
                self._at(ask.subjects)
            ):
                trial = self._measured(ask.subjects)
            if trial is not None:
                self._report(trial)
            try:
                ask = steps.send(trial)
            except StopIteration as end:
                answer: Capacity = end.value
                return answer

    def _report(self, trial: Trial) -> None:
        served = "served" if trial.served else "not served"
        self._progress(f"N = {trial.subjects:.3g}: {served}, {trial.text}")

    # Loads

    def _at(self, subjects: float) -> Workload:
        """Return the cell with so many subjects, which need not be a whole number."""
        rate = subjects * self._workload.frame_rate / self._workload.batch_size
        return replace(
            self._workload,
            most_subjects=False,
            best_rate=False,
            request_rate=rate,
            deadline_s=self._target.deadline_s,
            sequences=math.ceil(subjects),
        )

    def _closed(self, concurrency: int) -> LoadRecord:
        workload = self._workload.closed(concurrency)
        with open_load(self._server, self._model, workload, self._given) as load:
            return load.run(WarmUp(concurrency, _WARM_UP_S), _TICK_S)

    def _together(self) -> float:
        """Return a first guess, in subjects: what a few requests in flight get through."""
        record = self._closed(_TOGETHER)
        _, ends = record.times()
        later = ends[len(ends) // 3 :]
        rate = (len(later) - 1) / max(float(later[-1] - later[0]) / 1e9, 1e-6)
        return rate * self._workload.batch_size / self._workload.frame_rate

    def _tried(self, subjects: float) -> Trial | None:
        """Load until it is clear whether that is served; None where there is no time for it."""
        cell = self._at(subjects)
        least_s = self._target.shortest_s(cell.sends_per_s)
        if self._left_s(self._budget.budget_s) < least_s + self._measuring_s(cell):
            return None
        observer = TrialObserver(self._target, cell.sends_per_s, least_s)
        began_s = time.monotonic()
        with open_load(self._server, self._model, cell, self._given) as load:
            load.run(observer, _TICK_S)
        return self._trial(subjects, observer, began_s)

    def _measured(self, subjects: float) -> Trial:
        cell = self._at(subjects)
        observer = TrialObserver(self._target, cell.sends_per_s, math.inf)
        began_s = time.monotonic()
        try:
            run = self._gathered(cell, self._measuring_s(cell), observer)
        except MeasurementError:
            if not observer.overloaded:
                raise
        else:
            if not observer.overloaded:
                self._runs[subjects] = run
                observer.take(run.record, *run.span_ns)
                observer.served = observer.seen.served(self._target)
        trial = self._trial(subjects, observer, began_s)
        return msgspec.structs.replace(trial, measured=True)

    def _trial(self, subjects: float, observer: TrialObserver, began_s: float) -> Trial:
        seen = observer.seen
        return Trial(
            subjects=subjects,
            served=observer.served,
            seconds=time.monotonic() - began_s,
            requests=seen.requests,
            late=seen.late,
            latency_s=seen.latency_s,
            growing=seen.grown(self._target),
            client_load=client_load([observer.record]),
        )

    def _gathered(
        self, cell: Workload, enough_s: float, also: Observer = lambda _record, _now_ns: True
    ) -> Gathered:
        budget = Budget(
            precision=math.inf,
            budget_s=enough_s,
            most_s=self._budget.most_s - (time.monotonic() - self._began_s),
            wanted_requests=(minimum_count(self._workload.percentile / 100),),
            least_s=enough_s - _AROUND_S,
            disturbed=self._budget.disturbed,
        )
        return gather(
            self._server,
            self._model,
            cell,
            self._given,
            metering=self._metering,
            budget=budget,
            also=also,
        )

    def _measuring_s(self, cell: Workload) -> float:
        """Return how long measuring a load takes, with what is around it."""
        enough_s = _ENOUGH_REQUESTS / cell.sends_per_s
        span_s = min(max(enough_s, _SHORTEST_MEASURED_S), _LONGEST_MEASURED_S)
        return _AROUND_S + self._measured_span_s(span_s)

    def _measured_span_s(self, span_s: float) -> float:
        metering = self._metering
        return max(span_s, metering.minimum_span_s()) + 2 * metering.lag_s

    def _left_s(self, budget_s: float) -> float:
        return min(budget_s, self._budget.most_s) - (time.monotonic() - self._began_s)

    # Less than one subject

    def _served_alone(self, measured: Measurement, run: Gathered) -> bool:
        """Whether requests that were sent one at a time would have served one subject."""
        slow_s = float(np.quantile(run.latencies(), self._target.percentile / 100))
        keeps_up = measured.metrics["throughput"].value >= self._workload.frame_rate
        return keeps_up and slow_s <= self._target.deadline_s

    def _less_than_one(
        self, answer: Capacity, measured: Measurement, run: Gathered, *, nobody: bool
    ) -> Capacity:
        """Say how much of one subject is served, from requests that were sent one at a time.

        It is the share ``q`` of a subject's speed that would do: frames ``q`` times as often, each
        with ``1 / q`` times the deadline. So it is bounded by the rate, and by the deadline over
        the percentile's latency. Unless ``nobody`` is known to be served, the truth may be anything
        up to what the search found too much.
        """
        target, frames = self._target, self._workload.frame_rate
        latencies = run.latencies()
        count, q = len(latencies), target.percentile / 100
        ranks = [int(special.bdtrik(tail, count, q)) for tail in (0.025, 0.975)]
        lower, upper = (float(latencies[min(max(rank, 0), count - 1)]) for rank in ranks)
        rate = measured.metrics["throughput"]
        share = target.deadline_s / float(np.quantile(latencies, q))

        def bounded(inferences_per_s: float | None, deadlines: float) -> float:
            keeps_up = (inferences_per_s or rate.value) / frames
            return min(keeps_up, deadlines, _ALMOST_ONE)

        high = bounded(rate.high, max(target.deadline_s / lower, share))
        return msgspec.structs.replace(
            answer,
            subjects=bounded(rate.value, share),
            low=bounded(rate.low, min(target.deadline_s / upper, share)),
            high=high if nobody else max(high, answer.high or high),
            settled=nobody,
        )
