"""Measure two models in turns, on one server, until their difference is known."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.device.state import read_state, throttled
from pytest_gaitperf.device.watch import StateWatch
from pytest_gaitperf.errors import MeasurementError, MeterError, ServerError
from pytest_gaitperf.load.http import ClosedLoop
from pytest_gaitperf.load.request import encode_http
from pytest_gaitperf.load.stopping import WarmUp, steady_latency_s
from pytest_gaitperf.paired.turns import (
    LongTurn,
    joules_and_requests,
    percentile_ratios,
    ratio,
    seconds_per_request,
    settled_latencies,
)
from pytest_gaitperf.runner import settled_statistics
from pytest_gaitperf.stats.intervals import minimum_count
from pytest_gaitperf.stats.pairing import Look, centres, compare, pairs_needed, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.load.record import Load, LoadRecord
    from pytest_gaitperf.power.metering import Metering, PowerReading
    from pytest_gaitperf.stats.pairing import Effect
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.triton.statistics import ModelStatistics
    from pytest_gaitperf.workload import Workload

_SHORTEST_TURN_S = 0.02
_ROUNDS = 2.0
_MOST_COUPLES = 2000
_MOST_COUPLES_PER_PAIR = 8
_ENOUGH_PAIRS = 32
_WARM_UP_SHARE = 0.1
_WARM_UP_TICK_S = 0.1
_OVERRUN = 3.0
_SLOWER_THAN_PLANNED = 1.5


@dataclass(frozen=True, slots=True)
class Rules:
    """How to compare: ``tolerance`` of a metric (relative), ``alpha`` of one comparison.

    ``budget_s`` bounds the pairs of one cell, warm-ups included, and once more those for the energy
    where there is a meter. Where that is too short for as many pairs as ``alpha`` needs, up to
    three times as long.
    """

    tolerance: Callable[[str], float]
    alpha: float
    budget_s: float


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


def measure_pair(
    server: TritonServer,
    candidate: Workload,
    reference: Workload,
    metering: Metering,
    rules: Rules,
    *,
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
        The models' inputs cannot be generated.
    """
    device_before = read_state()
    try:
        with (
            StateWatch() as watch,
            _open(server, candidate) as first,
            _open(server, reference) as second,
        ):
            began = time.monotonic()
            sides = tuple(
                Side(
                    workload,
                    load,
                    server.statistics(workload.model, workload.version),
                    load.run(
                        WarmUp(workload.concurrency, rules.budget_s * _WARM_UP_SHARE),
                        _WARM_UP_TICK_S,
                    ),
                )
                for workload, load in ((candidate, first), (reference, second))
            )
            comparison = _Comparison(sides[0], sides[1], metering, rules, progress)
            comparison.short_turns(time.monotonic() - began)
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
    )


def _open(server: TritonServer, workload: Workload) -> Load:
    model = server.model(workload.model, workload.version)
    if model.decoupled:
        raise MeasurementError(
            f"model {model.name!r} is decoupled: it streams its answers, which HTTP cannot carry"
        )
    request = encode_http(model, workload, server.url, dict(workload.shapes))
    return ClosedLoop(server.host, server.http_port, request.data, workload.concurrency)


class _Comparison:
    """Two sides in turns; what is known of their difference grows at each look."""

    def __init__(
        self,
        candidate: Side,
        reference: Side,
        metering: Metering,
        rules: Rules,
        progress: Callable[[Effect], None],
    ) -> None:
        self._sides = (candidate, reference)
        self._metering = metering
        self._rules = rules
        self._progress = progress
        # Fair and unpredictable: the gate's error rate rests on it.
        self._coin = np.random.default_rng()
        self.turn_s = 0.0
        self.effects: dict[str, Effect] = {}
        self.absent: dict[str, str] = {}
        self.short: dict[str, str] = {}
        self.energy: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        self.power: PowerReading | None = None

    def short_turns(self, spent_s: float) -> None:
        """Compare throughput and latency, ``spent_s`` of the budget being gone."""
        latency_s = max(steady_latency_s(side.warm_up) for side in self._sides)
        left_s = max(self._rules.budget_s - spent_s, 0.0)
        alone = self._sides[0].workload.concurrency == 1
        # More couples than the most would cost more to handle than they tell.
        self.turn_s = max(
            _SHORTEST_TURN_S,
            0.0 if alone else _ROUNDS * latency_s,
            left_s / _MOST_COUPLES / 2 - latency_s,
        )
        # A lone request that outlasts its turn is the turn; else the last ones are waited for.
        one = alone and latency_s > self.turn_s
        couple_s = 2 * (latency_s if one else self.turn_s + latency_s)
        fit = left_s / couple_s / _ENOUGH_PAIRS
        couples = max(1, min(int(fit), _MOST_COUPLES_PER_PAIR))
        looks = self._plan("throughput", couples * couple_s, left_s)

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

        last = self._take_turns(turn, couples, looks, couple_s, look)
        if last is not None:
            self._compare_p99(last)

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
        looks = self._plan("energy_per_inference", pair_s, self._rules.budget_s)

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
        self._take_turns(turn, 1, looks, pair_s, look)

    def _plan(self, metric: str, pair_s: float, left_s: float) -> tuple[Look, ...]:
        """Plan the looks that the budget holds, or as many pairs as can decide at all."""
        fit = min(int(left_s / pair_s), _MOST_COUPLES)
        most = int(_OVERRUN * self._rules.budget_s / pair_s)
        looks = plan(max(fit, 1))
        # The last look has more than half of the level.
        needed = pairs_needed(self._rules.alpha / 2)
        if fit < needed:
            looks = plan(max(min(needed, most), 1))
        if looks[-1].pairs < needed:
            seconds = math.ceil(needed * pair_s / _OVERRUN)
            self.short[metric] = (
                f"{looks[-1].pairs} pairs of {pair_s:.1f} s fit the budget, and {needed} are "
                f"needed to call it worse: give --gaitperf-budget={seconds} or more"
            )
        return looks

    def _take_turns(
        self,
        turn: Callable[[Side], None],
        couples: int,
        looks: Sequence[Look],
        couple_s: float,
        look: Callable[[Look], bool],
    ) -> Look | None:
        """Take pairs of so many ``couples`` until a look decides; return the last look.

        When they take much longer than planned, the next look is taken at once and is the last.
        """
        planned_s = looks[-1].pairs * couples * couple_s
        deadline = time.monotonic() + _SLOWER_THAN_PLANNED * planned_s
        pairs = 0
        for item in looks:
            late = False
            while pairs < item.pairs and not late:
                for _ in range(couples):
                    for side in self._sides if self._coin.integers(2) else self._sides[::-1]:
                        turn(side)
                    if any(side.failures for side in self._sides):
                        return None
                pairs += 1
                late = time.monotonic() > deadline
            if look(item) or late:
                return item
        return looks[-1]

    def _compare(self, metric: str, ratios: Sequence[float], item: Look) -> Effect:
        """Compare by all pairs so far; what was decided at an earlier look stays."""
        effect = self.effects.get(metric)
        if effect is None or effect.finding is None:
            rules = self._rules
            effect = compare(ratios, item.share, rules.alpha, rules.tolerance(metric))
            self.effects[metric] = effect
        return effect
