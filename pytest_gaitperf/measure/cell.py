"""Measure one cell: warm the model up, load it, and gather what the evaluation needs."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError, ServerError
from pytest_gaitperf.host.counters import Counters
from pytest_gaitperf.host.lock import THIS_DEVICE, device_at
from pytest_gaitperf.host.quota import QuotaWatch
from pytest_gaitperf.host.state import StateWatch, read_state, throttled
from pytest_gaitperf.host.watch import MachineWatch, tolerated_share
from pytest_gaitperf.load.data import InputData, input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import (
    MINIMUM_REQUESTS,
    MINIMUM_WINDOWS,
    Precision,
    WarmUp,
    steady_latency_s,
)
from pytest_gaitperf.load.trace import replay_of
from pytest_gaitperf.measure.counted import settled_statistics
from pytest_gaitperf.measure.cpu import CpuReadings, ServerCpu
from pytest_gaitperf.measure.evaluation import evaluate
from pytest_gaitperf.measure.gathered import Gathered
from pytest_gaitperf.measure.memory import MemoryWatch
from pytest_gaitperf.measure.neighbours import NONE, Neighbours, keeping
from pytest_gaitperf.stats import PERCENTILE_MARGIN, minimum_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_gaitperf.load.record import LoadRecord, Observer, Times
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

    Progress = Callable[[float, float | None], None]

_SHORTEST_WINDOW_S = 0.25
_WARM_UP_SHARE = 0.25
_WARM_UP_TICK_S = 0.1
_OVERRUN = 2.0
_LAG_LATENCIES = 1.5
_SENDS_PER_WINDOW = 2
_RAMP_OF_TRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """How well and how long to measure.

    ``precision`` is the relative half-width of the 95 % interval, of the throughput or of an open
    loop's mean latency, at which a cell is done; ``budget_s`` bounds the cell in all its ``lives``
    together, warm-up included. One life has an equal share of it. With ``fewer``, there are fewer
    lives where the requests or the meter are too slow for six windows in a share. Only a cell too
    slow for that in the whole budget takes longer, at most three times as long. No life takes
    longer than ``most_s``, its share of the run's budget. Of ``wanted_requests``, which percentiles
    need, the most that fit the budget are waited for; ``least_s`` is the shortest load.
    ``disturbed`` is the share that others may take from a window, None for the default.
    """

    precision: float = 0.02
    budget_s: float = 6.5
    most_s: float = math.inf
    wanted_requests: tuple[int, ...] = tuple(
        math.ceil(PERCENTILE_MARGIN * minimum_count(quantile)) for quantile in (0.9, 0.95, 0.99)
    )
    least_s: float = 0.0
    lives: int = 1
    fewer: bool = False
    disturbed: float | None = None


def measure(
    server: TritonServer,
    workload: Workload,
    metering: Metering,
    budget: Budget,
    *,
    data: str = "random",
    progress: Progress = lambda _throughput, _half_width: None,
) -> Measurement:
    """Load the server with one workload until it is known well enough, in one life of its model.

    Raises as ``measure_life`` does.
    """
    gathered = measure_life(server, workload, metering, budget, data=data, progress=progress)
    return evaluate([gathered])


def measure_life(
    server: TritonServer,
    workload: Workload,
    metering: Metering,
    budget: Budget,
    *,
    data: str = "random",
    progress: Progress = lambda _throughput, _half_width: None,
) -> Gathered:
    """Load the server with one workload until its share of the budget is spent, or shows enough.

    ``data`` is what the requests carry: random, zeros, or a path. ``progress`` is called once a
    window with the throughput so far (inferences/s) and the relative half-width of the interval
    that decides (None while unknown). Where the power meter lost the load, it is measured once
    more if the run's budget has the time.

    Raises MeasurementError: the cell could not be measured: failing requests, a silent server, a
    budget too small; ServerError: the server died; nothing more can be measured on it;
    ConfigurationError: the model's inputs cannot be generated, or the data does not fit them.
    """
    model = model_of(server, workload)
    given = input_data(model, workload, data)
    began_s = time.monotonic()

    def once() -> Gathered:
        with measuring(server, metering), keeping(server, workload, data) as neighbours:
            return gather(
                *(server, model, workload, given),
                metering=metering,
                budget=budget,
                progress=progress,
                neighbours=neighbours,
            )

    life = once()
    spent_s = time.monotonic() - began_s
    if life.power.again and 2 * spent_s <= budget.most_s:
        life = once()
    return life


@contextmanager
def measuring(server: TritonServer, metering: Metering) -> Iterator[None]:
    """Stop the meter in the end, and name the server's death where that was the cause."""
    try:
        yield
    except (MeasurementError, ServerError):
        server.check_alive()  # its death explains more than the broken connection it caused
        raise
    finally:
        metering.stop()


def model_of(server: TritonServer, workload: Workload) -> ModelInfo:
    """Return the model that a workload loads; MeasurementError for one of another kind."""
    model = server.model(workload.model, workload.version)
    sequences = workload.sequence_length != (0, 0)
    why = None
    if model.decoupled and not workload.streaming:
        why = "it is decoupled, and answers through a stream: give the workload streaming=True"
    elif model.stateful and not sequences:
        why = "it is stateful: give the workload the sequence_length of its sequences"
    elif sequences and not model.stateful:
        why = "it takes no sequences: give the workload no sequence_length"
    if why is not None:
        raise MeasurementError(f"model {model.name!r} cannot be measured so: {why}")
    return model


def gather(
    server: TritonServer,
    model: ModelInfo,
    workload: Workload,
    given: InputData,
    *,
    metering: Metering,
    budget: Budget,
    progress: Progress = lambda _throughput, _half_width: None,
    also: Observer = lambda _record, _now_ns: True,
    neighbours: Neighbours = NONE,
) -> Gathered:
    """Load the server with one workload, a closed or an open loop, until it is known well enough.

    ``given`` is what the requests carry. ``also`` can end the measured load before. Who calls stops
    the ``metering`` afterwards, and has begun the ``neighbours``, which end here. Raises
    MeasurementError and ServerError, as ``measure``.
    """
    began = time.monotonic()
    device_before = read_state()
    quotas = QuotaWatch({"the server": server.server_pid, "client and power sampler": None})
    rate = workload.sends_per_s
    trace_s = replay_of(workload).seconds if workload.trace else 0.0
    with StateWatch() as watch, open_load(server, model, workload, given) as load:
        before = server.statistics(workload.model, workload.version)
        # What the server's memory grows by beside neighbours is nobody's.
        memory = None if workload.beside else MemoryWatch(server, workload.model, model)
        steady = WarmUp(workload.concurrency or 1, budget.budget_s / budget.lives * _WARM_UP_SHARE)
        warm_up = load.run(neighbours.checked(steady), _WARM_UP_TICK_S)
        latency_s = steady_latency_s(warm_up)
        if rate:
            # An open loop's completions are known at once, however far behind the server is.
            window_s, lag_s = max(_SHORTEST_WINDOW_S, _SENDS_PER_WINDOW / rate), metering.lag_s
        else:
            window_s = max(_SHORTEST_WINDOW_S, (latency_s + workload.think_s) / 2)
            lag_s = max(_LAG_LATENCIES * latency_s, metering.lag_s)
        middle = server.statistics(workload.model, workload.version)
        of_server = ServerCpu(server, workload, model)
        metering.start()
        machine = watch_of(server, (*metering.helpers, *neighbours.helpers), budget.disturbed)
        cpu = CpuReadings(of_server.clocks())
        began += neighbours.align(rate)
        # From here to the load nothing may take long: the first window begins at ``start_ns``.
        ramp_s = max(latency_s, 0.02, metering.lag_s)
        spent_s = time.monotonic() - began + ramp_s
        per_s = rate or workload.concurrency / (latency_s + workload.think_s)
        lives = _lives(budget, metering, per_s, window_s, spent_s + lag_s)
        share_s = budget.budget_s / lives
        hard_limit_s = min(_OVERRUN * share_s, budget.most_s - spent_s)
        start_ns = time.monotonic_ns() + int(ramp_s * 1e9)
        rule = Precision(
            start_ns=start_ns,
            window_s=window_s,
            lag_s=lag_s,
            precision=budget.precision * math.sqrt(lives),  # that of all of them is as asked
            minimum_span_s=max(
                metering.minimum_span_s(lives),
                budget.least_s,
                min(max(trace_s, neighbours.wanted_s(lives)), share_s - spent_s - lag_s - window_s),
            ),
            limit_s=share_s - spent_s,
            hard_limit_s=hard_limit_s,
            batch_size=workload.batch_size,
            progress=progress,
            open_loop=bool(rate),
            fewest_requests=math.ceil(MINIMUM_REQUESTS / lives),
            wanted_requests=tuple(math.ceil(one / lives) for one in budget.wanted_requests),
            undisturbed=machine.undisturbed,
        )

        def goes_on(seen: LoadRecord, now_ns: int) -> bool:
            machine.tick(now_ns)
            cpu.read()
            return also(seen, now_ns) and rule(seen, now_ns)

        with machine.over(start_ns, int(window_s * 1e9)):
            record = load.run(neighbours.checked(goes_on), window_s)
    cpu.read()
    cpu_s, in_memory = of_server.spent_s(), None if memory is None else memory.end()
    neighbours.end(server)
    windows = rule.windows_ns
    if len(windows) < MINIMUM_WINDOWS:
        enough_s = math.ceil((2 * MINIMUM_WINDOWS * window_s + 2 * lag_s) / _OVERRUN)
        raise MeasurementError(
            f"{MINIMUM_WINDOWS} windows of {window_s:.2f} s are needed (a request takes "
            f"{latency_s + workload.think_s:.2f} s{' with its think time' * bool(workload.think_s)}"
            f"), and {max(hard_limit_s, 0):.1f} s hold {len(windows)}; give "
            + (
                f"--gaitperf-budget={enough_s * lives} or more"
                if hard_limit_s == _OVERRUN * share_s
                else "a longer --gaitperf-run-budget"
            )
        )
    power = metering.read(workload.id, np.unique(windows))
    inferences = (warm_up.requests + record.requests) * workload.batch_size
    after = settled_statistics(server, workload, before.inference_count + inferences)
    unknown = (
        f"{after.absent}: whether another client used the model, a cache answered, and where "
        "the time went is not known"
    )
    watched = machine.watched
    notes = [
        given.note,
        *quotas.held(),
        unknown if after.absent else None,
        *_notes(warm_up.refused + record.refused, rule, windows, budget, trace_s),
        watched.note if rule.enough else None,
        of_server.note,
    ]
    return Gathered(
        workload=workload,
        windows_ns=windows,
        warm_up=warm_up,
        record=record,
        sent=after.minus(before),
        statistics=after.minus(middle),
        server_cpu_s=cpu_s,
        server_cpu_absent=of_server.absent,
        lives=lives,
        power=power,
        throttled=throttled(device_before, read_state()) or watch.hindered(),
        notes=tuple(note for note in notes if note),
        data=given.description,
        server_cpu_ns=None if cpu_s is None else cpu.within(windows, cpu_s),
        watched=watched,
        looks=watch.looks,
        memory=in_memory,
        neighbours=neighbours.kept,
        disturbed=None if rule.enough else watched.fault,
    )


def _notes(
    refused: int, rule: Precision, windows_ns: Times, budget: Budget, trace_s: float
) -> Iterator[str]:
    """Say what of the load was not as it was asked for."""
    if refused:
        yield f"{refused} calls of which the server did nothing were sent again"
    replayed_s = float(windows_ns[-1, 1] - windows_ns[0, 0]) / 1e9
    if trace_s > replayed_s + _RAMP_OF_TRACE_S:
        yield (
            f"the first {replayed_s:.3g} of the trace's {trace_s:.3g} s were replayed: raise "
            "--gaitperf-budget"
        )
    if not rule.reached:
        ended = "the run's budget" if budget.most_s <= budget.budget_s else "the budget"
        yield f"{ended} ended before the asked precision of {budget.precision:.1%}"


def _lives(
    budget: Budget, metering: Metering, per_s: float, window_s: float, around_s: float
) -> int:
    """Return in how many lives the budget is spent: fewer where six windows do not fit a share.

    ``per_s`` requests come in a second, and ``around_s`` is what a life takes beside its windows.
    """
    lives = budget.lives
    while budget.fewer and lives > 1:
        median_s = math.ceil(MINIMUM_REQUESTS / lives) / per_s
        span_s = max(MINIMUM_WINDOWS * window_s, metering.minimum_span_s(lives), median_s)
        if around_s + span_s <= budget.budget_s / lives:
            break
        lives -= 1
    return lives


def watch_of(server: TritonServer, helpers: Sequence[int], disturbed: float | None) -> MachineWatch:
    """Return what watches the machine of the client, after a first look at it.

    ``helpers`` are the client's other processes.
    """
    here = device_at(server.host) == THIS_DEVICE
    return MachineWatch(
        Counters(server.server_pid, helpers, attached=server.mode == "attach"),
        share=tolerated_share() if disturbed is None else disturbed,
        blind=(server.cpu_absent_reason or "") if here else "",
    )
