"""Measure two models in turns, on one server, until their difference is known."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError, MeterError, ServerError
from pytest_gaitperf.gate.pairing import centres, compare, pairs_needed
from pytest_gaitperf.host.state import read_state, throttled
from pytest_gaitperf.host.watch import StateWatch
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.stopping import WarmUp, steady_latency_s
from pytest_gaitperf.measure.cell import settled_statistics
from pytest_gaitperf.measure.schedule import OVERRUN, schedule
from pytest_gaitperf.measure.turns import (
    LongTurn,
    joules_and_requests,
    percentile_ratios,
    ratio,
    seconds_per_request,
    settled_latencies,
)
from pytest_gaitperf.stats import minimum_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.gate.pairing import Effect, Look
    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.measure.schedule import Schedule
    from pytest_gaitperf.power.metering import Metering, PowerReading
    from pytest_gaitperf.triton.models import ModelStatistics
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
class Rules:
    """How to compare: ``tolerance`` of a metric (relative), ``alpha`` of one comparison.

    ``budget_s`` bounds the pairs of one cell, warm-ups included, and once more those for the energy
    where there is a meter. Where that is too short for as many pairs as ``alpha`` needs, up to
    three times as long, but never longer than ``most_s`` in all.
    """

    tolerance: Callable[[str], float]
    alpha: float
    budget_s: float
    most_s: float = math.inf


@dataclass(slots=True)
class Side:
    """One of the two models, and what was seen of it.

    ``sent`` is the server's statistics over everything that it was sent here.
    """

    workload: Workload
    load: Load
    before: ModelStatistics
    warm_up: LoadRecord
    turns: list[LoadRecord] = field(default_factory=list)
    long_turns: list[LongTurn] = field(default_factory=list)
    sent: ModelStatistics | None = None

    @property
    def records(self) -> list[LoadRecord]:
        """Every load after the warm-up."""
        return [*self.turns, *(turn.record for turn in self.long_turns)]

    @property
    def failures(self) -> int:
        """The failed requests, warm-up included."""
        return sum(record.failures for record in (self.warm_up, *self.records))


@dataclass(frozen=True, slots=True)
class PairedRun:
    """Everything that was gathered about one cell.

    ``effects`` has one for each metric that was compared, worse being positive; ``absent`` says for
    the others why not. ``undecided`` says, for both kinds of pairs, what would decide more.
    """

    candidate: Side
    reference: Side
    turn_s: float
    effects: dict[str, Effect]
    absent: dict[str, str]
    energy: tuple[list[tuple[float, float]], list[tuple[float, float]]]
    power: PowerReading | None
    throttled: str | None
    short: dict[str, str]
    data: str


def measure_pair(
    server: TritonServer,
    candidate: Workload,
    reference: Workload,
    metering: Metering,
    rules: Rules,
    *,
    data: str = "random",
    progress: Callable[[Effect], None] = lambda _effect: None,
) -> PairedRun:
    """Compare two models under the same load, in turns.

    A couple is one turn of each, of a few requests; a fair coin says which goes first. Where the
    budget holds many, up to 8 couples make a pair, whose ratio is their Hodges-Lehmann estimate:
    what disturbs one model for a few turns is then in one pair, not in several. It goes on until
    throughput and median latency are decided or the budget is spent; then with turns as long as the
    power meter needs, until the energy is. ``progress`` is called at each look with the effect on
    the throughput, or on the energy.

    Raises
    ------
    MeasurementError
        One of the two could not be measured: failing requests, a silent server.
    ServerError
        The server died; nothing more can be measured on it.
    ConfigurationError
        The models' inputs cannot be generated, or ``data`` (as in ``runner.measure``) does not fit.
    """
    device_before = read_state()
    model, other = (server.model(side.model, side.version) for side in (candidate, reference))
    for one in (model, other):
        if one.decoupled:
            raise MeasurementError(
                f"model {one.name!r} is decoupled: it streams its answers, which cannot be paired"
            )
    given, given_other = input_data(model, candidate, data), input_data(other, reference, data)
    try:
        with (
            StateWatch() as watch,
            open_load(server, model, candidate, given.samples) as first,
            open_load(server, other, reference, given_other.samples) as second,
        ):
            began_s = time.monotonic()
            sides = tuple(
                Side(
                    workload,
                    load,
                    server.statistics(workload.model, workload.version),
                    load.run(
                        WarmUp(workload.concurrency or 1, rules.budget_s * _WARM_UP_SHARE),
                        _WARM_UP_TICK_S,
                    ),
                )
                for workload, load in ((candidate, first), (reference, second))
            )
            comparison = _Comparison(sides[0], sides[1], metering, rules, progress, began_s)
            comparison.short_turns()
            comparison.long_turns()
        for side in sides:
            requests = sum(record.requests for record in (side.warm_up, *side.records))
            after = settled_statistics(
                server,
                side.workload,
                side.before.inference_count + requests * side.workload.batch_size,
            )
            side.sent = after.minus(side.before)
    except (MeasurementError, ServerError):
        server.check_alive()  # its death explains more than the broken connection it caused
        raise
    finally:
        metering.stop()
    return PairedRun(
        sides[0],
        sides[1],
        comparison.turn_s,
        comparison.effects,
        comparison.absent,
        comparison.energy,
        comparison.power,
        throttled(device_before, read_state()) or watch.hindered(),
        comparison.short,
        given.description,
    )


class _Comparison:
    """Two sides in turns; what is known of their difference grows at each look."""

    def __init__(  # noqa: PLR0917 - one caller
        self,
        candidate: Side,
        reference: Side,
        metering: Metering,
        rules: Rules,
        progress: Callable[[Effect], None],
        began_s: float,
    ) -> None:
        self._sides = (candidate, reference)
        self._metering = metering
        self._rules = rules
        self._progress = progress
        self._began_s = began_s
        # Fair and unpredictable: the gate's error rate rests on it.
        self._coin = np.random.default_rng()
        self.turn_s = 0.0
        self.effects: dict[str, Effect] = {}
        self.absent: dict[str, str] = {}
        self.short: dict[str, str] = {}
        self.energy: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        self.power: PowerReading | None = None

    @property
    def _spent_s(self) -> float:
        return time.monotonic() - self._began_s

    def short_turns(self) -> None:
        """Compare throughput and latency."""
        latency_s = max(steady_latency_s(side.warm_up) for side in self._sides)
        left_s = max(min(self._rules.budget_s, self._rules.most_s) - self._spent_s, 0.0)
        workload = self._sides[0].workload
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

        def look(item: Look) -> bool:
            for metric, value in (
                ("throughput", seconds_per_request),
                ("latency_p50", lambda record: float(np.median(settled_latencies(record)))),
            ):
                values = (map(value, side.turns) for side in self._sides)
                ratios = centres(list(map(ratio, *values)), couples)
                self._compare(metric, ratios, item)
            self._progress(self.effects["throughput"])
            return all(effect.finding for effect in self.effects.values())

        planned = self._schedule(couples * couple_s)
        last = self._take_turns(turn, couples, planned, look, "throughput")
        if last is not None:
            self._compare_p99(last)
        elif not any(side.failures for side in self._sides):
            raise MeasurementError(
                "there is no time for a single pair of turns: raise --gaitperf-budget, or "
                "--gaitperf-run-budget"
            )

    def _compare_p99(self, item: Look) -> None:
        """Compare the 99th percentile by what there is: it has no say in when to stop."""
        fewest = minimum_count(0.99)
        candidate, reference = (map(settled_latencies, side.turns) for side in self._sides)
        ratios = percentile_ratios(candidate, reference, 0.99, fewest)
        needed = pairs_needed(self._rules.alpha * item.share)
        if len(ratios) < needed:
            requests = min(sum(turn.requests for turn in side.turns) for side in self._sides)
            self.absent["latency_p99"] = (
                f"{needed} groups of {fewest} requests of each model are needed to compare it, "
                f"and {requests} were sent"
            )
            return
        self._compare("latency_p99", ratios, item)

    def long_turns(self) -> None:
        """Compare the energy, in turns that the meter resolves."""
        meter = self._metering.meter
        if meter is None:
            self.absent["energy_per_inference"] = self._metering.absent
            return
        if any(side.failures for side in self._sides):
            self.absent["energy_per_inference"] = "requests failed"
            return
        span_ns, lag_ns = (
            round(seconds * 1e9) for seconds in (meter.minimum_window_s, self._metering.lag_s)
        )
        latency_s = max(steady_latency_s(side.warm_up) for side in self._sides)
        span_ns = max(span_ns, round(2e9 * latency_s))
        turn_s = (span_ns + 2 * lag_ns) / 1e9
        pair_s = 2 * (turn_s + latency_s)

        def turn(side: Side) -> None:
            start_ns = time.monotonic_ns() + lag_ns
            record = side.load.run(lambda _record, _now: False, turn_s)
            side.long_turns.append(LongTurn(record, start_ns, start_ns + span_ns))

        def look(item: Look) -> bool:
            turns = [turn for side in self._sides for turn in side.long_turns]
            edges = np.array(
                [min(turn.start_ns for turn in turns), max(turn.end_ns for turn in turns)]
            )
            power = self.power = self._metering.read(self._sides[0].workload.id, edges)
            if power.trace is None:
                self.absent["energy_per_inference"] = power.absent
                return True
            try:
                candidate, reference = (
                    joules_and_requests(side.long_turns, power) for side in self._sides
                )
            except MeterError as error:
                self.absent["energy_per_inference"] = str(error)
                return True
            if min(min(pair) for pair in (*candidate, *reference)) <= 0:
                self.absent["energy_per_inference"] = (
                    "a turn had no joules, or no request was done in it: its requests are too slow"
                )
                return True
            self.energy = (candidate, reference)
            per_request = ([joules / done for joules, done in side] for side in self.energy)
            ratios = list(map(ratio, *per_request))
            effect = self._compare("energy_per_inference", ratios, item)
            self._progress(effect)
            return effect.finding is not None

        self._metering.start()
        planned = self._schedule(pair_s)
        if self._take_turns(turn, 1, planned, look, "energy_per_inference") is None:
            self.absent["energy_per_inference"] = "no time was left for it, or requests failed"

    def _schedule(self, pair_s: float) -> Schedule:
        rules = self._rules
        most_s = max(rules.most_s - self._spent_s, 0.0)
        return schedule(
            rules.alpha,
            pair_s,
            left_s=min(rules.budget_s, most_s),
            most_s=min(OVERRUN * rules.budget_s, most_s),
        )

    def _take_turns(
        self,
        turn: Callable[[Side], None],
        couples: int,
        planned: Schedule,
        look: Callable[[Look], bool],
        metric: str,
    ) -> Look | None:
        """Take pairs of so many ``couples`` until a look decides; return the last look.

        None when a request failed, or there was no time for a pair.
        """
        began = time.monotonic()
        pairs = 0
        for item in planned.looks:
            while planned.goes_on(item, pairs, time.monotonic() - began):
                for _ in range(couples):
                    for side in self._sides if self._coin.integers(2) else self._sides[::-1]:
                        turn(side)
                    if any(side.failures for side in self._sides):
                        return None
                pairs += 1
            if pairs and look(item):
                return item
        if not pairs:
            return None
        few = planned.too_few(pairs, time.monotonic() - began)
        if few is not None:
            self.short[metric] = few
        return planned.looks[-1]

    def _compare(self, metric: str, ratios: Sequence[float], item: Look) -> Effect:
        """Compare by all pairs so far; what was decided at an earlier look stays."""
        effect = self.effects.get(metric)
        if effect is None or effect.finding is None:
            rules = self._rules
            effect = compare(ratios, item.share, rules.alpha, rules.tolerance(metric))
            self.effects[metric] = effect
        return effect
