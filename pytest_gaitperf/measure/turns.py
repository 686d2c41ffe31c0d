"""Two models in turns: when to analyse the pairs, what a turn tells, what both measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.gate.pairing import Stage, pairs_needed, plan
from pytest_gaitperf.load.record import work_done
from pytest_gaitperf.measure.evaluation import Estimates, distribution
from pytest_gaitperf.measure.validity import client_load, late_sends, load_faults
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.power.energy import integrate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.power.metering import PowerReading
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload

    Values = npt.NDArray[np.float64]

OVERRUN = 3.0
"""How many times its budget a cell may take where the budget holds too few pairs for a decision."""

_SHARED_CPU = "two models share the server, and its CPU time cannot be split between them"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The stages that share ``seconds``, or up to ``most_s`` for the ``needed`` pairs.

    A stage ends by the clock, and its share of the time is the share of the levels spent (Lan and
    DeMets 1989, Biometrika 76): how many pairs there are by then does not depend on their signs.
    """

    stages: tuple[Stage, ...]
    seconds: float
    most_s: float
    needed: int

    def goes_on(self, stage: Stage, pairs: int, spent_s: float) -> bool:
        """Return whether to take another pair before this stage ends."""
        limit_s = self.seconds if pairs >= self.needed else self.most_s
        last = self.stages[-1]
        if stage is not last:
            limit_s = min(limit_s, self.seconds * stage.pairs / last.pairs)
        return spent_s < limit_s

    def too_few(self, pairs: int, spent_s: float) -> str | None:
        """Say which budget would hold the needed pairs, None where there were as many."""
        if pairs >= self.needed:
            return None
        pair_s = spent_s / pairs
        return (
            f"{pairs} pairs of {pair_s:.1f} s fit the budget, and {self.needed} are needed to call "
            f"it worse: give --gaitperf-budget={math.ceil(self.needed * pair_s / OVERRUN)} or more"
        )


def schedule(alpha: float, pair_s: float, left_s: float, most_s: float) -> Schedule:
    """Plan pairs of about ``pair_s``: ``left_s`` seconds, or as many pairs as can decide at all.

    ``most_s`` is the time for those; ``alpha`` is what the last stage has more than half of.
    """
    needed = pairs_needed(alpha / 2)
    stages = plan(max(int(left_s / pair_s), needed))
    return Schedule(stages, max(left_s, min(needed * pair_s, most_s)), most_s, needed)


@dataclass(frozen=True, slots=True)
class LongTurn:
    """A turn that a power meter resolves: the load ran on past both ends of [start, end] (ns)."""

    record: LoadRecord
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class Side:
    """One of the two models, and what was seen of it.

    ``sent`` is the server's statistics over everything that it was sent here, ``energy`` has the
    joules and the requests done of each long turn.
    """

    workload: Workload
    load: Load
    before: ModelStatistics
    warm_up: LoadRecord
    turns: list[LoadRecord] = field(default_factory=list)
    long_turns: list[LongTurn] = field(default_factory=list)
    energy: list[tuple[float, float]] = field(default_factory=list)
    sent: ModelStatistics | None = None

    @property
    def records(self) -> list[LoadRecord]:
        """Every load after the warm-up."""
        return [*self.turns, *(turn.record for turn in self.long_turns)]

    @property
    def failures(self) -> int:
        """The failed requests, warm-up included."""
        return sum(record.failures for record in (self.warm_up, *self.records))


def seconds_per_request(record: LoadRecord) -> float:
    """Return the time of a whole turn, first send to last answer, over its requests.

    Nothing is cut off at its edges: turns of a few requests would lose most of what they tell.
    """
    return (record.drained_ns - record.first_send_ns) / 1e9 / record.requests


def settled_latencies(record: LoadRecord) -> Values:
    """Return the latencies (s) of the requests sent once the first answer had come.

    Those before it met an empty queue. Where there were no others, of all.
    """
    starts, ends = record.times()
    settled = starts >= ends[0]
    latencies: Values = (ends - starts) / 1e9
    return latencies[settled] if settled.any() else latencies


def ratio(candidate: float, reference: float) -> float:
    """Return log(candidate / reference) of two values for which more is worse."""
    return math.log(candidate / reference)


def percentile_ratios(
    candidate: Iterable[Values], reference: Iterable[Values], quantile: float, fewest: int
) -> list[float]:
    """Return the log-ratios of a percentile, of groups of consecutive pairs.

    A turn has too few requests for its own p99: pairs are put together, in order, until each side
    has ``fewest`` requests. The pairs of the last, incomplete group are left out.
    """
    ratios: list[float] = []
    sides: tuple[list[Values], list[Values]] = ([], [])
    for pair in zip(candidate, reference, strict=True):
        for side, latencies in zip(sides, pair, strict=True):
            side.append(latencies)
        if min(sum(map(len, side)) for side in sides) >= fewest:
            first, second = (float(np.quantile(np.concatenate(side), quantile)) for side in sides)
            ratios.append(ratio(first, second))
            sides = ([], [])
    return ratios


def joules_and_requests(
    turns: Sequence[LongTurn], power: PowerReading
) -> list[tuple[float, float]]:
    """Return the joules of the total, and the requests done, of each turn between its two ends.

    Raises MeterError when the trace does not cover a turn, or power has none.
    """
    assert power.trace is not None
    found = []
    for turn in turns:
        starts, ends = turn.record.times()
        edges = np.array([turn.start_ns, turn.end_ns], dtype=np.int64)
        energy = integrate(power.trace, turn.start_ns, turn.end_ns)
        found.append((energy.total_j(power.rails), float(work_done(starts, ends, edges)[0])))
    return found


def evaluate_pair(
    candidate: Side,
    reference: Side,
    turn_s: float,
    *,
    power: PowerReading | None = None,
    uncompared: Mapping[str, str],
    throttled: str | None = None,
    data: str = "",
) -> tuple[Measurement, Measurement]:
    """Return what was measured of both models, each over all of its turns together.

    The intervals are those of a model's own requests; how sure the comparison is, the verdicts say.
    A fault of either makes both invalid. ``uncompared`` says, by metric, why it was not compared.
    Raises MeasurementError when no turn of one had an answer.
    """
    named = ((candidate, " of the candidate"), (reference, " of the reference"))
    faults = [fault for side, of in named for fault in _faults(side, of)]
    faults += [throttled] if throttled else []
    invalid = "; ".join(faults)
    first, second = (
        _measurement(side, turn_s, power=power, uncompared=uncompared, invalid=invalid, data=data)
        for side in (candidate, reference)
    )
    return first, second


def _faults(side: Side, of: str) -> list[str]:
    assert side.sent is not None
    return load_faults(side.workload, side.warm_up, side.records, side.sent, of=of)


def _measurement(
    side: Side,
    turn_s: float,
    *,
    power: PowerReading | None,
    uncompared: Mapping[str, str],
    invalid: str,
    data: str,
) -> Measurement:
    found, batch, records = Estimates(), side.workload.batch_size, side.records
    turns = [turn for turn in side.turns if turn.requests]
    if not turns:
        raise MeasurementError(invalid or "no request was answered")
    each_s = [seconds_per_request(turn) for turn in turns]
    busy_s = sum(s * turn.requests for s, turn in zip(each_s, turns, strict=True))
    rate = batch * sum(turn.requests for turn in turns) / busy_s
    found.add("throughput", rate)
    latencies = np.sort(np.concatenate([settled_latencies(turn) for turn in turns]))
    found.add("latency_mean", float(latencies.mean()))
    found.add_percentiles(latencies)
    if found.absent.pop("latency_p50", None):  # it is compared pair by pair, however few there are
        found.add("latency_p50", float(np.median(latencies)))
    if side.energy:
        joules, done = (math.fsum(column) for column in zip(*side.energy, strict=True))
        seconds = math.fsum((turn.end_ns - turn.start_ns) / 1e9 for turn in side.long_turns)
        found.add("energy_per_inference", joules / done / batch)
        found.add("power_mean", joules / seconds)
    else:
        why = uncompared.get("energy_per_inference", "")
        found.absent |= dict.fromkeys(("energy_per_inference", "power_mean"), why)
    found.absent["server_cpu_per_inference"] = _SHARED_CPU
    found.absent |= {name: why for name, why in uncompared.items() if name not in found.metrics}
    assert side.sent is not None
    requests = sum(record.requests for record in records)
    client_s = sum(record.client_cpu_ns for record in records) / 1e9
    return Measurement(
        metrics=found.metrics,
        windows=len(side.turns),
        window_s=turn_s,
        duration_s=sum(record.drained_ns - record.first_send_ns for record in records) / 1e9,
        requests=requests,
        inferences=float(requests * batch),
        failures=side.failures,
        late_sends=late_sends(side.workload, records),
        client_cpu_per_request_us=client_s / requests * 1e6,
        client_load=client_load(records),
        time_split_s=side.sent.parts_s(),
        energy_rails=power.rails if power is not None else (),
        energy_estimated=power is not None and power.estimated,
        energy_failed=power is not None and power.failed,
        absent=found.absent,
        invalid=invalid or None,
        data=data,
        latencies=distribution(latencies),
    )
