"""Two models in turns: what a turn and a block tell, and what both measured in all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.record import LoadRecord, requests_done
from pytest_gaitperf.measure.estimates import Estimates
from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.measure.validity import client_load, fell_behind, late_sends, load_faults
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.triton.models import ModelStatistics, no_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from pytest_gaitperf.gate.pairing import Effect
    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.power.metering import PowerReading
    from pytest_gaitperf.workload import Workload

    Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LongTurn:
    """A turn that a power meter resolves: the load ran on past both ends of [start, end] (ns)."""

    record: LoadRecord
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class Visit:
    """What one block showed of one model under one load.

    ``cpu_s`` is the CPU time of its processes over the short turns, None where it is not known;
    ``sent`` is the server's statistics over all that it was sent, ``energy`` has the joules and the
    requests done of each long turn.
    """

    load: Load
    before: ModelStatistics
    warm_ups: list[LoadRecord] = field(default_factory=list)
    turns: list[LoadRecord] = field(default_factory=list)
    long_turns: list[LongTurn] = field(default_factory=list)
    cpu_s: float | None = None
    energy: list[tuple[float, float]] = field(default_factory=list)
    sent: ModelStatistics | None = None

    @property
    def records(self) -> list[LoadRecord]:
        """Every load after the warm-up."""
        return [*self.turns, *(turn.record for turn in self.long_turns)]

    @property
    def requests(self) -> int:
        """The requests that were answered, warm-up included."""
        return sum(record.requests for record in (*self.warm_ups, *self.records))

    @property
    def failures(self) -> int:
        """The failed requests, warm-up included."""
        return sum(record.failures for record in (*self.warm_ups, *self.records))


@dataclass(slots=True)
class Side:
    """One of the two models under one load, and what its blocks showed."""

    workload: Workload
    visits: list[Visit] = field(default_factory=list)

    @property
    def turns(self) -> list[LoadRecord]:
        """The short turns of all blocks."""
        return [turn for visit in self.visits for turn in visit.turns]

    @property
    def records(self) -> list[LoadRecord]:
        """Every load after a warm-up."""
        return [record for visit in self.visits for record in visit.records]

    @property
    def failures(self) -> int:
        """The failed requests, warm-ups included."""
        return sum(visit.failures for visit in self.visits)

    @property
    def sent(self) -> ModelStatistics:
        """The server's statistics over all blocks that came to their end."""
        known = (visit.sent for visit in self.visits if visit.sent is not None)
        return reduce(ModelStatistics.plus, known, no_statistics(""))


def block_values(candidate: Visit, reference: Visit) -> dict[str, tuple[float, float]]:
    """Return, by metric, log(candidate / reference) of a block's costs, and the mean of both logs.

    A cost is what a request takes: seconds, CPU seconds, joules. The ratio is the Hodges-Lehmann
    estimate over the couples of turns, so that what disturbs a few of them does not count; CPU
    seconds are those of all turns together. Metrics without a value are left out.
    """
    visits = (candidate, reference)
    found = {}

    def add(metric: str, first: Iterable[float], second: Iterable[float]) -> None:
        logs = [np.log(np.fromiter(costs, dtype=np.float64)) for costs in (first, second)]
        if all(one.size and np.isfinite(one).all() for one in logs):
            level = sum(float(np.median(one)) for one in logs) / 2
            found[metric] = (centre(logs[0] - logs[1]), level)

    add("throughput", *(map(seconds_per_request, visit.turns) for visit in visits))
    add("latency_p50", *(map(_median_s, visit.turns) for visit in visits))
    cpu_s = [visit.cpu_s for visit in visits]
    if cpu_s[0] and cpu_s[1]:
        requests = [sum(turn.requests for turn in visit.turns) for visit in visits]
        each_s = [s / count for s, count in zip((cpu_s[0], cpu_s[1]), requests, strict=True)]
        add("server_cpu_per_inference", each_s[:1], each_s[1:])
    add("energy_per_inference", *((j / done for j, done in visit.energy) for visit in visits))
    return found


def _median_s(record: LoadRecord) -> float:
    return float(np.median(settled_latencies(record)))


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


def joules_and_requests(
    turns: Sequence[LongTurn], power: PowerReading, *, closed: bool
) -> list[tuple[float, float]]:
    """Return the joules of the total, and the requests done, of each turn between its two ends.

    ``closed`` tells the turns of a closed loop from those of an open one.
    Raises MeterError when the trace does not cover a turn, or power has none.
    """
    assert power.trace is not None
    found = []
    for turn in turns:
        starts, ends = turn.record.times()
        edges = np.array([turn.start_ns, turn.end_ns], dtype=np.int64)
        energy = integrate(power.trace, turn.start_ns, turn.end_ns)
        done = float(requests_done(starts, ends, edges, closed=closed)[0])
        found.append((energy.total_j(power.rails), done))
    return found


def evaluate_pair(
    candidate: Side,
    reference: Side,
    effects: Mapping[str, Effect],
    *,
    turn_s: float = 0.0,
    power: PowerReading | None = None,
    uncompared: Mapping[str, str],
    throttled: str | None = None,
    data: str = "",
) -> tuple[Measurement, Measurement]:
    """Return what was measured of both models, each over all of its turns together.

    What was compared has the level of the blocks behind its effect. The intervals are those of a
    model's own requests; how sure the comparison is, the verdicts say. A fault of either makes both
    invalid. ``uncompared`` says, by metric, why it was not compared. Raises MeasurementError when
    no turn of one had an answer.
    """
    named = ((candidate, " of the candidate"), (reference, " of the reference"))
    faults = [fault for side, of in named for fault in _faults(side, of)]
    faults += [throttled] if throttled else []
    invalid = "; ".join(faults)
    first, second = (
        _measurement(
            side,
            {
                metric: math.exp(one.level + sign * one.change / 2)
                for metric, one in effects.items()
            },
            turn_s,
            power=power,
            uncompared=uncompared,
            invalid=invalid,
            data=data,
        )
        for side, sign in ((candidate, 1), (reference, -1))
    )
    return first, second


def _faults(side: Side, of: str) -> list[str]:
    warm_up = LoadRecord()
    for visit in side.visits:
        for record in visit.warm_ups:
            warm_up.ends_ns.extend(record.ends_ns)
            warm_up.failures += record.failures
            warm_up.failure_reasons += record.failure_reasons
    behind = fell_behind(side.workload, side.records)
    return load_faults(side.workload, warm_up, side.records, side.sent, of=of, behind=behind)


def _measurement(
    side: Side,
    costs: Mapping[str, float],
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
    found.absent |= {name: why for name, why in uncompared.items() if name not in found.metrics}
    energy = [one for visit in side.visits for one in visit.energy]
    if energy:
        joules, done = (math.fsum(column) for column in zip(*energy, strict=True))
        long_turns = [turn for visit in side.visits if visit.energy for turn in visit.long_turns]
        seconds = math.fsum((turn.end_ns - turn.start_ns) / 1e9 for turn in long_turns)
        found.add("energy_per_inference", joules / done / batch)
        found.add("power_mean", joules / seconds)
    else:
        found.absent["power_mean"] = uncompared.get("energy_per_inference", "")
    for metric, cost in costs.items():
        value = {"throughput": batch / cost}.get(metric, cost)
        if metric in ("server_cpu_per_inference", "energy_per_inference"):
            value = cost / batch
        _level(found, metric, value)
    requests = sum(record.requests for record in records)
    client_s = sum(record.client_cpu_ns for record in records) / 1e9
    return Measurement(
        metrics=found.metrics,
        windows=len(turns),
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
        energy_failed=power is not None and not energy and bool(power.failed or power.rails),
        notes=(power.note,) if power is not None and power.note else (),
        absent=found.absent,
        invalid=invalid or None,
        data=data,
        latencies=distribution(latencies),
    )


def _level(found: Estimates, metric: str, value: float) -> None:
    """Put the level of the compared blocks in place of that of all turns."""
    known = found.metrics.get(metric)
    found.absent.pop(metric, None)
    if known is None:  # it is compared block by block, however few requests there are
        found.add(metric, value)
        return
    ends = (None if end is None else end * value / known.value for end in (known.low, known.high))
    found.metrics[metric] = Estimate(known.unit, value, *ends)


def centre(ratios: Sequence[float]) -> float:
    """Return the Hodges-Lehmann estimate: the median of (r_i + r_j) / 2, i <= j.

    As symmetric about 0 as the ratios themselves where nothing differs (Hodges and Lehmann 1963).
    """
    values = np.asarray(ratios, dtype=np.float64)
    first, second = np.triu_indices(values.size)
    return float(np.median((values[first] + values[second]) / 2))
