"""One cell of a pair in one block: both models under the same load, in turns, on the same CPUs."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.gate.pairing import FEWEST_BLOCKS, BlockTest
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import WarmUp, steady_latency_s
from pytest_gaitperf.measure.cell import model_of
from pytest_gaitperf.measure.counted import settled_statistics
from pytest_gaitperf.measure.turns import (
    LongTurn,
    Side,
    Visit,
    block_values,
    joules_and_requests,
    settled_latencies,
)
from pytest_gaitperf.metrics import QUANTITIES
from pytest_gaitperf.stats import minimum_count
from pytest_gaitperf.triton.placement import (
    all_processes,
    allowed_cpus,
    busy_threads,
    cpu_seconds,
    own_processes,
    thread_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.errors import GaitperfError
    from pytest_gaitperf.gate.moderation import VariancePrior
    from pytest_gaitperf.gate.pairing import Effect
    from pytest_gaitperf.power.metering import Metering, PowerReading
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

SHORTEST_VISIT_S = 1.0
"""How long the short turns of a cell last in a block, at least."""

LIGHT_S = 2.0
"""Models that load in so many seconds are measured for the shortest visits."""

_SHORTEST_TURN_S = 0.02
_ROUNDS = 2.0
_SENDS = 4
_FEWEST_COUPLES, _MOST_COUPLES = 3, 400
_WARM_UP_TICK_S, _SHORT_TICK_S = 0.1, 0.05
_SHORT_WARM_UP_S, _LONGEST_SHORT_WARM_UP_S = 0.2, 0.3
_LONGEST_FIRST_WARM_UP_S = 2.0
_WARM_UP_LATENCIES = 3.0
_TAILS = {"latency_p90": 0.9, "latency_p95": 0.95, "latency_p99": 0.99}
_DECIDE = ("throughput", "latency_p50", "server_cpu_per_inference")
_QUANTITIES = ("throughput", "latency", "energy", "cpu")
_NOT_COMPARED = f"pairs compare {', '.join(_QUANTITIES)} alone"
COMPARED = tuple(metric for quantity in _QUANTITIES for metric in QUANTITIES[quantity])
"""The metrics that are compared."""
_OTHERS = "the server's processes belong to another user, and cannot be kept on chosen CPUs"


class Placement:
    """Keeps the processes of two models on the same CPUs, drawn by a coin, and the client off them.

    ``absent`` says why the models cannot be placed, "" where they can. ``apart``: each model has
    processes of its own; else all of the server's are placed, and their CPU time is that of the
    model whose turn it is.
    """

    def __init__(self, server: TritonServer, coin: np.random.Generator) -> None:
        self._server, self._coin = server, coin
        self._client = os.sched_getaffinity(0)
        self._pids: list[tuple[int, ...]] = [(), ()]
        self._allowed: frozenset[int] = frozenset()
        self.absent = ""
        self.apart = False

    def find(self, workloads: Sequence[Workload]) -> None:
        """Find the processes of both models, which a new block has changed."""
        server = self._server
        pids = []
        for workload in workloads:
            version = workload.version or server.model(workload.model).versions[-1]
            pids.append(own_processes(server.server_pid, workload.model, version))
        self.apart = all(pids)
        self._pids = pids if self.apart else [all_processes(server.server_pid)] * 2
        self._allowed = self._allowed or allowed_cpus(self._all)
        if not self._allowed:
            self.absent = server.cpu_absent_reason or "the server's processes cannot be seen"

    @property
    def _all(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(pid for pids in self._pids for pid in pids))

    def cpu_seconds(self, side: int) -> float | None:
        """Return the CPU seconds of one model's processes so far; None where nobody knows."""
        return cpu_seconds(self._pids[side]) if self._pids[side] else None

    def thread_seconds(self, side: int) -> dict[int, float]:
        """Return the CPU seconds of each thread of one model's processes so far."""
        return thread_seconds(self._pids[side])

    def draw(self, width: int) -> None:
        """Keep both models on as many CPUs, chosen by the coin, and the client on others."""
        if self.absent or width >= len(self._allowed):
            return
        cpus = self._coin.choice(sorted(self._allowed), width, replace=False).tolist()
        if not self._server.keep_on(self._all, cpus):
            self.absent = _OTHERS
        elif others := self._client - set(cpus):
            os.sched_setaffinity(0, others)

    def free(self) -> None:
        """Let all run where they could before."""
        with suppress(OSError):
            os.sched_setaffinity(0, self._client)
        if self._allowed and not self.absent:
            self._server.keep_on(self._all, self._allowed)


@dataclass(slots=True)
class PairedCell:
    """Two models under one load, block after block.

    ``data`` is what the requests carry, ``description`` says it in words. ``tests`` are those of
    the metrics that are compared, ``uncompared`` says for the others why not, or why no longer.
    ``error`` is why it could not be measured any further.
    """

    sides: tuple[Side, Side]
    tests: dict[str, BlockTest]
    data: str
    _server: TritonServer
    _metering: Metering
    _coin: np.random.Generator
    uncompared: dict[str, str] = field(default_factory=dict)
    power: PowerReading | None = None
    turn_s: float = 0.0
    description: str = ""
    error: GaitperfError | None = None
    _width: int = 0
    _compared: dict[str, int] = field(default_factory=dict)  # so many blocks, by percentile

    @property
    def workload(self) -> Workload:
        """The candidate's."""
        return self.sides[0].workload

    @property
    def failed(self) -> bool:
        """Whether a request of either model failed."""
        return any(side.failures for side in self.sides)

    @property
    def open_short(self) -> bool:
        """Whether short turns may still decide something."""
        return any(
            test.decided is None and (metric in _DECIDE or test.suspected)
            for metric, test in self.tests.items()
            if metric != "energy_per_inference" and metric not in self.uncompared
        )

    @property
    def open_long(self) -> bool:
        """Whether long turns may still decide something."""
        test = self.tests["energy_per_inference"]
        return test.decided is None and "energy_per_inference" not in self.uncompared

    def visit(self, placement: Placement, work_s: float, warm_up_s: float) -> None:
        """Measure the cell in this block, its short turns for ``work_s``; the tests learn of it.

        ``warm_up_s`` bounds the first warm-up. Raises MeasurementError and ServerError.
        """
        server = self._server
        models = [model_of(server, side.workload) for side in self.sides]
        # Both are sent the same, also where a directory has the candidate's file alone.
        given = input_data(models[0], self.workload, self.data)
        with (
            open_load(server, models[0], self.sides[0].workload, given) as first,
            open_load(server, models[1], self.sides[1].workload, given) as second,
        ):
            visits = []
            for side, load in zip(self.sides, (first, second), strict=True):
                before = server.statistics(side.workload.model, side.workload.version)
                visits.append(Visit(load, before))
                side.visits.append(visits[-1])
            if not self._width:
                self._widths(visits, placement, warm_up_s)
            placement.draw(self._width)
            latency_s = self._warm_up(visits, warm_up_s)
            if self.open_short:  # after a failed request, one couple of turns to show
                self._short_turns(visits, placement, latency_s, work_s)
            if self.open_long and not self.failed:
                self._long_turns(visits, latency_s, work_s)
        for side, visit in zip(self.sides, visits, strict=True):
            expected = visit.before.inference_count + visit.requests * side.workload.batch_size
            after = settled_statistics(server, side.workload, expected)
            visit.sent = after.minus(visit.before)
        if not self.failed:
            self._learn(visits)

    def _widths(self, visits: Sequence[Visit], placement: Placement, limit_s: float) -> None:
        """Warm up where the kernel places the models, and see how many CPUs they keep busy."""
        for number, visit in enumerate(visits):
            before, began_s = placement.thread_seconds(number), time.monotonic()
            rule = WarmUp(self.workload.concurrency or 1, min(limit_s, _LONGEST_FIRST_WARM_UP_S))
            visit.warm_ups.append(visit.load.run(rule, _WARM_UP_TICK_S))
            spent_s = time.monotonic() - began_s
            busy = busy_threads(before, placement.thread_seconds(number), spent_s)
            self._width = max(self._width, busy)

    def _warm_up(self, visits: Sequence[Visit], limit_s: float) -> float:
        """Warm both up, who first by the coin; return the longer mean latency (s)."""
        slots = self.workload.concurrency or 1
        for visit in self._in_turn(visits):
            known_s = steady_latency_s(visit.warm_ups[0]) if visit.warm_ups else 0.0
            short_s = max(_LONGEST_SHORT_WARM_UP_S, _WARM_UP_LATENCIES * known_s)
            rule = WarmUp(slots, min(limit_s, short_s), _SHORT_WARM_UP_S)
            visit.warm_ups.append(visit.load.run(rule, _SHORT_TICK_S))
        return max(steady_latency_s(visit.warm_ups[-1]) for visit in visits)

    def _in_turn(self, visits: Sequence[Visit]) -> Sequence[Visit]:
        return visits if self._coin.integers(2) else visits[::-1]

    def _short_turns(
        self, visits: Sequence[Visit], placement: Placement, latency_s: float, work_s: float
    ) -> None:
        workload, thinks_s = self.workload, self.workload.think_s
        self.turn_s = max(
            _SHORTEST_TURN_S,
            0.0 if workload.concurrency == 1 and not thinks_s else _ROUNDS * (latency_s + thinks_s),
            _SENDS / workload.sends_per_s if workload.sends_per_s else 0.0,
        )
        cpu_s: list[float | None] = [0.0, 0.0]
        at_first_s = [placement.cpu_seconds(number) for number in (0, 1)]
        began_s = time.monotonic()
        for couple in range(_MOST_COUPLES):
            for visit in self._in_turn(visits):
                number = visits.index(visit)
                before_s = None if placement.apart else placement.cpu_seconds(number)
                visit.turns.append(visit.load.run(lambda _record, _now: False, self.turn_s))
                cpu_s[number] = _plus(cpu_s[number], before_s, placement, number)
            if self.failed:
                return
            if couple + 1 >= _FEWEST_COUPLES and time.monotonic() - began_s >= work_s:
                break
        for number, visit in enumerate(visits):
            # What a model does after its answer is its own, too, where its processes are.
            first_s = at_first_s[number]
            visit.cpu_s = (
                _plus(0.0, first_s, placement, number) if placement.apart else cpu_s[number]
            )
            before, gone = self.sides[number].visits[-2:-1], self._server.cpu_absent_reason
            # One block that nobody could read is left out; of two in a row no third is awaited.
            if visit.cpu_s is None and (gone or any(one.cpu_s is None for one in before)):
                why = gone or "the model's processes changed meanwhile"
                self.uncompared.setdefault("server_cpu_per_inference", why)

    def _long_turns(self, visits: Sequence[Visit], latency_s: float, work_s: float) -> None:
        """Measure the energy, in turns that the meter resolves."""
        metering = self._metering
        meter, lag_s = metering.meter, metering.lag_s
        assert meter is not None
        span_ns = round(1e9 * max(meter.minimum_window_s, 2 * latency_s))
        turn_s = span_ns / 1e9 + 2 * lag_s
        metering.start()
        began_s = time.monotonic()
        while True:
            for visit in self._in_turn(visits):
                start_ns = time.monotonic_ns() + round(lag_s * 1e9)
                record = visit.load.run(lambda _record, _now: False, turn_s)
                visit.long_turns.append(LongTurn(record, start_ns, start_ns + span_ns))
            if self.failed or time.monotonic() - began_s >= work_s:
                break
        absent = self._read_energy(visits)
        metering.stop()
        before = self.sides[0].visits[-2:-1]
        # One block that the meter lost is left out, unless it is the first: others may be alike.
        if absent is not None and not any(visit.energy for visit in before):
            self.uncompared["energy_per_inference"] = absent

    def _read_energy(self, visits: Sequence[Visit]) -> str | None:
        """Read the energy of this block's long turns; say why there is none."""
        turns = [turn for visit in visits for turn in visit.long_turns]
        edges = np.array([min(turn.start_ns for turn in turns), max(turn.end_ns for turn in turns)])
        power = self._metering.read(self.workload.id, edges)
        if power.trace is None:
            self.power = self.power or power  # what it said of itself in other blocks stays
            return power.absent
        self.power, closed = power, self.workload.concurrency > 0
        try:
            found = [joules_and_requests(one.long_turns, power, closed=closed) for one in visits]
        except MeterError as error:
            return str(error)
        if min(min(pair) for energy in found for pair in energy) <= 0:
            return "a turn had no joules, or no request was done in it: its requests are too slow"
        for visit, energy in zip(visits, found, strict=True):
            visit.energy = energy
        return None

    def _learn(self, visits: Sequence[Visit]) -> None:
        """Give the tests what this block showed; percentiles that of as many as they need."""
        for metric, (ratio, level) in block_values(visits[0], visits[1]).items():
            if metric not in self.uncompared:
                self.tests[metric].add(ratio, level)
        for metric, quantile in _TAILS.items():
            first = self._compared.get(metric, 0)
            latencies = [
                [settled_latencies(turn) for visit in side.visits[first:] for turn in visit.turns]
                for side in self.sides
            ]
            if min(sum(map(len, one)) for one in latencies) >= minimum_count(quantile):
                logs = [
                    math.log(float(np.quantile(np.concatenate(one), quantile))) for one in latencies
                ]
                self.tests[metric].add(logs[0] - logs[1], sum(logs) / 2)
                self._compared[metric] = len(self.sides[0].visits)

    def confirm(self, priors: dict[str, VariancePrior]) -> None:
        """Let the tests see whether fresh blocks show what they suspect."""
        for metric, test in self.tests.items():
            test.confirm(priors.get(metric))

    def look(self, share: float, priors: dict[str, VariancePrior], most: float) -> None:
        """Let the tests look at all blocks; there is time for so many more at ``most``."""
        for metric, test in self.tests.items():
            test.look(share, priors.get(metric), most)

    def effects(self, priors: dict[str, VariancePrior]) -> dict[str, Effect]:
        """Return what is known of each metric that any block has; the others are not compared.

        Where later blocks lack it, those before have a verdict all the same.
        """
        requests = min(sum(turn.requests for turn in side.turns) for side in self.sides)
        found = {}
        for metric, test in self.tests.items():
            if metric in _TAILS and len(test.ratios) < FEWEST_BLOCKS:
                self.uncompared[metric] = (
                    f"{FEWEST_BLOCKS} groups of {minimum_count(_TAILS[metric])} requests of each "
                    f"model are needed to compare it, and {requests} were sent"
                )
            elif test.ratios:
                found[metric] = test.effect(priors.get(metric))
        return found


def _plus(
    sum_s: float | None, before_s: float | None, placement: Placement, side: int
) -> float | None:
    """Add the CPU time since ``before_s``; None where it is not known."""
    now_s = placement.cpu_seconds(side)
    if sum_s is None or before_s is None or now_s is None:
        return None
    return sum_s + now_s - before_s


def paired_cell(
    server: TritonServer,
    pair: tuple[Workload, Workload],
    metering: Metering,
    coin: np.random.Generator,
    test: Callable[[str], BlockTest],
    *,
    data: str,
) -> PairedCell:
    """Return a cell that has not been measured yet; ``test`` makes the test of a metric."""
    cell = PairedCell(
        (Side(pair[0]), Side(pair[1])),
        {metric: test(metric) for metric in COMPARED},
        data,
        server,
        metering,
        coin,
    )
    if metering.meter is None:
        cell.power = metering.read(pair[0].id, np.zeros(0, dtype=np.int64))
        cell.uncompared["energy_per_inference"] = cell.power.absent
    others = (one for one in pair[0].quantities if one not in _QUANTITIES)
    cell.uncompared |= dict.fromkeys((m for one in others for m in QUANTITIES[one]), _NOT_COMPARED)
    return cell
