"""Measure two models in turns, on one server, until their difference is known."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError, MeterError
from pytest_gaitperf.gate.pairing import centres, compare, pairs_needed
from pytest_gaitperf.host.state import StateWatch, read_state, throttled
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import WarmUp, steady_latency_s
from pytest_gaitperf.measure.cell import measuring, model_of, settled_statistics
from pytest_gaitperf.measure.turns import (
    OVERRUN,
    LongTurn,
    Side,
    evaluate_pair,
    joules_and_requests,
    percentile_ratios,
    ratio,
    schedule,
    seconds_per_request,
    settled_latencies,
)
from pytest_gaitperf.stats import minimum_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.gate.pairing import Effect, Stage
    from pytest_gaitperf.measure.cell import Budget
    from pytest_gaitperf.measure.turns import Schedule
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Metering, PowerReading
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

_SHORTEST_TURN_S = 0.02
_ROUNDS = 2.0
_SENDS = 4
_MOST_COUPLES = 2000
_MOST_COUPLES_PER_PAIR = 8
_ENOUGH_PAIRS = 32
_WARM_UP_SHARE = 0.1
_WARM_UP_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Pair:
    """What was measured of two models in turns.

    ``effects`` has one for each metric that was compared, worse being positive; ``uncompared`` says
    for the others why not. ``undecided`` says, by metric, what would decide more.
    """

    candidate: Measurement
    reference: Measurement
    effects: dict[str, Effect]
    uncompared: dict[str, str]
    undecided: dict[str, str]


def measure_pair(
    server: TritonServer,
    candidate: Workload,
    reference: Workload,
    metering: Metering,
    budget: Budget,
    *,
    alpha: float,
    tolerance: Callable[[str], float],
    data: str = "random",
    progress: Callable[[Effect], None] = lambda _effect: None,
) -> Pair:
    """Compare two models under the same load, in turns.

    A couple is one turn of each, of a few requests; a fair coin says which goes first. Where the
    budget holds many, up to 8 couples make a pair, whose ratio is their Hodges-Lehmann estimate:
    what disturbs one model for a few turns is then in one pair, not in several. It goes on until
    throughput and median latency are decided or the budget is spent; then with turns as long as the
    power meter needs, until the energy is.

    ``alpha`` is the false-alarm probability of one comparison, ``tolerance`` the relative change of
    a metric that does not matter. ``budget.budget_s`` bounds the pairs, warm-ups included, and once
    more those for the energy where there is a meter. Where that is too short for as many pairs as
    ``alpha`` needs, up to three times as long, but never longer than ``budget.most_s`` in all.
    ``progress`` is called at each stage with the effect on the throughput, or on the energy.

    Raises MeasurementError: one of the two could not be measured: failing requests, a silent
    server; ServerError: the server died; nothing more can be measured on it; ConfigurationError:
    the models' inputs cannot be generated, or ``data`` (as in ``measure``) does not fit.
    """
    device_before = read_state()
    workloads = (candidate, reference)
    models = [model_of(server, workload) for workload in workloads]
    # Both are sent the same, also where a directory has the candidate's file alone.
    given = input_data(models[0], candidate, data)
    warm_up_s = budget.budget_s * _WARM_UP_SHARE
    with measuring(server, metering):
        with (
            StateWatch() as watch,
            open_load(server, models[0], candidate, given.samples) as first,
            open_load(server, models[1], reference, given.samples) as second,
        ):
            began_s = time.monotonic()
            sides = [
                Side(
                    workload,
                    load,
                    server.statistics(workload.model, workload.version),
                    load.run(WarmUp(workload.concurrency or 1, warm_up_s), _WARM_UP_TICK_S),
                )
                for workload, load in zip(workloads, (first, second), strict=True)
            ]
            driver = _Driver(sides, metering, budget, alpha, tolerance, progress, began_s)
            driver.short_turns()
            driver.long_turns()
        for side in sides:
            requests = sum(record.requests for record in (side.warm_up, *side.records))
            expected = side.before.inference_count + requests * side.workload.batch_size
            after = settled_statistics(server, side.workload, expected)
            side.sent = after.minus(side.before)
    measured = evaluate_pair(
        sides[0],
        sides[1],
        driver.turn_s,
        power=driver.power,
        uncompared=driver.uncompared,
        throttled=throttled(device_before, read_state()) or watch.hindered(),
        data=given.description,
    )
    return Pair(*measured, driver.effects, driver.uncompared, driver.undecided)


@dataclass(slots=True)
class _Driver:
    """Two sides in turns; what is known of their difference grows at each stage."""

    _sides: Sequence[Side]
    _metering: Metering
    _budget: Budget
    _alpha: float
    _tolerance: Callable[[str], float]
    _progress: Callable[[Effect], None]
    _began_s: float
    # Fair and unpredictable: the gate's error rate rests on it.
    _coin: np.random.Generator = field(default_factory=np.random.default_rng)
    turn_s: float = 0.0
    effects: dict[str, Effect] = field(default_factory=dict)
    uncompared: dict[str, str] = field(default_factory=dict)
    undecided: dict[str, str] = field(default_factory=dict)
    power: PowerReading | None = None

    def short_turns(self) -> None:
        """Compare throughput and latency."""
        latency_s, workload = self._latency_s, self._sides[0].workload
        left_s = max(min(self._budget.budget_s, self._budget.most_s) - self._spent_s, 0.0)
        alone = workload.concurrency == 1
        # More couples than the most would cost more to handle than they tell.
        self.turn_s = max(
            _SHORTEST_TURN_S,
            0.0 if alone else _ROUNDS * latency_s,
            _SENDS / workload.sends_per_s if workload.sends_per_s else 0.0,
            left_s / _MOST_COUPLES / 2 - latency_s,
        )
        # A lone request that outlasts its turn is the turn; else the last ones are waited for.
        one = alone and latency_s > self.turn_s
        couple_s = 2 * (latency_s if one else self.turn_s + latency_s)
        fit = left_s / couple_s / _ENOUGH_PAIRS
        couples = max(1, min(int(fit), _MOST_COUPLES_PER_PAIR))

        def turn(side: Side) -> None:
            side.turns.append(side.load.run(lambda _record, _now: False, self.turn_s))

        def analyse(stage: Stage) -> bool:
            for metric, value in (
                ("throughput", seconds_per_request),
                ("latency_p50", lambda record: float(np.median(settled_latencies(record)))),
            ):
                values = (map(value, side.turns) for side in self._sides)
                self._compare(metric, centres(list(map(ratio, *values)), couples), stage)
            self._progress(self.effects["throughput"])
            return all(effect.kind for effect in self.effects.values())

        planned = self._schedule(couples * couple_s)
        last = self._take_turns(turn, couples, planned, analyse, "throughput")
        if last is not None:
            self._compare_p99(last)
        elif not self._failed:
            raise MeasurementError(
                "there is no time for a single pair of turns: raise --gaitperf-budget, or "
                "--gaitperf-run-budget"
            )

    def _compare_p99(self, stage: Stage) -> None:
        """Compare the 99th percentile by what there is: it has no say in when to stop."""
        fewest = minimum_count(0.99)
        candidate, reference = (map(settled_latencies, side.turns) for side in self._sides)
        ratios = percentile_ratios(candidate, reference, 0.99, fewest)
        needed = pairs_needed(self._alpha * stage.share)
        if len(ratios) < needed:
            requests = min(sum(turn.requests for turn in side.turns) for side in self._sides)
            self.uncompared["latency_p99"] = (
                f"{needed} groups of {fewest} requests of each model are needed to compare it, "
                f"and {requests} were sent"
            )
            return
        self._compare("latency_p99", ratios, stage)

    def long_turns(self) -> None:
        """Compare the energy, in turns that the meter resolves."""
        meter, lag_s = self._metering.meter, self._metering.lag_s
        if meter is None:
            self.uncompared["energy_per_inference"] = self._metering.absent
            return
        if self._failed:
            self.uncompared["energy_per_inference"] = "requests failed"
            return
        latency_s = self._latency_s
        span_ns = round(1e9 * max(meter.minimum_window_s, 2 * latency_s))
        turn_s = span_ns / 1e9 + 2 * lag_s

        def turn(side: Side) -> None:
            start_ns = time.monotonic_ns() + round(lag_s * 1e9)
            record = side.load.run(lambda _record, _now: False, turn_s)
            side.long_turns.append(LongTurn(record, start_ns, start_ns + span_ns))

        def analyse(stage: Stage) -> bool:
            absent = self._read_energy()
            if absent is not None:
                self.uncompared["energy_per_inference"] = absent
                return True
            each = ([joules / done for joules, done in side.energy] for side in self._sides)
            effect = self._compare("energy_per_inference", list(map(ratio, *each)), stage)
            self._progress(effect)
            return effect.kind is not None

        self._metering.start()
        planned = self._schedule(2 * (turn_s + latency_s))
        if self._take_turns(turn, 1, planned, analyse, "energy_per_inference") is None:
            self.uncompared["energy_per_inference"] = "no time was left for it, or requests failed"

    def _read_energy(self) -> str | None:
        """Read the energy of all long turns so far; say why there is none."""
        turns = [turn for side in self._sides for turn in side.long_turns]
        edges = np.array([min(turn.start_ns for turn in turns), max(turn.end_ns for turn in turns)])
        power = self.power = self._metering.read(self._sides[0].workload.id, edges)
        if power.trace is None:
            return power.absent
        try:
            found = [joules_and_requests(side.long_turns, power) for side in self._sides]
        except MeterError as error:
            return str(error)
        if min(min(pair) for energy in found for pair in energy) <= 0:
            return "a turn had no joules, or no request was done in it: its requests are too slow"
        for side, energy in zip(self._sides, found, strict=True):
            side.energy = energy
        return None

    @property
    def _latency_s(self) -> float:
        return max(steady_latency_s(side.warm_up) for side in self._sides)

    @property
    def _spent_s(self) -> float:
        return time.monotonic() - self._began_s

    @property
    def _failed(self) -> bool:
        return any(side.failures for side in self._sides)

    def _schedule(self, pair_s: float) -> Schedule:
        budget_s, most_s = self._budget.budget_s, max(self._budget.most_s - self._spent_s, 0.0)
        return schedule(
            self._alpha,
            pair_s,
            left_s=min(budget_s, most_s),
            most_s=min(OVERRUN * budget_s, most_s),
        )

    def _take_turns(
        self,
        turn: Callable[[Side], None],
        couples: int,
        planned: Schedule,
        analyse: Callable[[Stage], bool],
        metric: str,
    ) -> Stage | None:
        """Take pairs of so many ``couples`` until a stage decides; return the last one.

        None when a request failed, or there was no time for a pair.
        """
        began_s = time.monotonic()
        pairs = 0
        for stage in planned.stages:
            while planned.goes_on(stage, pairs, time.monotonic() - began_s):
                for _ in range(couples):
                    for side in self._sides if self._coin.integers(2) else self._sides[::-1]:
                        turn(side)
                    if self._failed:
                        return None
                pairs += 1
            if pairs and analyse(stage):
                return stage
        if not pairs:
            return None
        few = planned.too_few(pairs, time.monotonic() - began_s)
        if few is not None:
            self.undecided[metric] = few
        return planned.stages[-1]

    def _compare(self, metric: str, ratios: Sequence[float], stage: Stage) -> Effect:
        """Compare by all pairs so far; what was decided at an earlier stage stays."""
        effect = self.effects.get(metric)
        if effect is None or effect.kind is None:
            effect = compare(ratios, stage.share, self._alpha, self._tolerance(metric))
            self.effects[metric] = effect
        return effect
