"""A load that is kept up for a long time in one go: how it is driven, and who is told."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import GaitperfError, MeasurementError, MeterError, first_line
from pytest_gaitperf.host.quota import QuotaWatch
from pytest_gaitperf.host.state import StateWatch, in_force, read_state, switched, throttled
from pytest_gaitperf.host.utilisation import utilisation
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import WarmUp, steady_latency_s
from pytest_gaitperf.measure.cell import measuring, model_of, watch_of
from pytest_gaitperf.measure.counted import settled_statistics
from pytest_gaitperf.measure.parts import MOST_PARTS, Latencies, Parts
from pytest_gaitperf.measure.sustained_result import Held, evaluate_sustained
from pytest_gaitperf.measure.validity import late_from_s
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.text import count, number, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.host.state import DeviceState
    from pytest_gaitperf.host.utilisation import Look
    from pytest_gaitperf.host.watch import MachineWatch
    from pytest_gaitperf.load.loops import Load
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.measure.parts import Needed, Part
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

AROUND_S = 15.0
"""What a sustained load takes beside itself, at most: warm-up, and its two ends, in seconds."""

_WARM_UP_S, _WARM_UP_TICK_S = 5.0, 0.1
_WINDOW_S, _RAMP_S, _LAG_S = 1.0, 0.02, 0.25
_LAG_LATENCIES, _SENDS_PER_WINDOW = 1.5, 2
_FEWEST_PARTS = 10
_LINE_S = 60.0
_SEEN_AFTER_NS, _BESIDE_NS = 10**9, 2 * 10**9
_MOST_LOOKS = 600


@dataclass(frozen=True, slots=True)
class Terms:
    """How a load is sustained, and who is told.

    ``data`` is what the requests carry, ``disturbed`` the share that others may take. ``needed``
    says what must be sustained, given in words what the requests carry. ``say`` writes a line about
    each minute, ``show`` one that does not stay. ``keep`` gets what was measured so far, about once
    a minute, and where the load is interrupted.
    """

    data: str
    disturbed: float | None
    needed: Callable[[str], Needed]
    say: Callable[[str], None]
    show: Callable[[str], None]
    keep: Callable[[Measurement], None]


def sustain(
    server: TritonServer, workload: Workload, metering: Metering, terms: Terms
) -> tuple[Measurement, GaitperfError | None]:
    """Keep a load up, and return how it went, with the error that ended it, if one did.

    What an error ended is invalid, and has all that was measured. Raises as ``measure_life`` where
    nothing was, and MeasurementError where the device is held back before it begins.
    """
    model, before = model_of(server, workload), read_state()
    if (why := next(in_force("before", before), None)) is not None:
        raise MeasurementError(f"{why}: let it cool down first (--gaitperf-cooldown)")
    given = input_data(model, workload, terms.data)
    needed = terms.needed(given.description)
    with (
        measuring(server, metering),
        StateWatch(long=True) as states,
        open_load(server, model, workload, given) as load,
    ):
        driver = _Driver(server, workload, metering, terms, needed, states, load)
        return driver.run(given.description, [given.note] if given.note else [], before)


@dataclass(slots=True)
class _Driver:
    """Drives one load; ``_held`` gathers what there is of it so far."""

    _server: TritonServer
    _workload: Workload
    _metering: Metering
    _terms: Terms
    _needed: Needed
    _states: StateWatch
    _load: Load
    _held: Held = field(init=False)
    _machine: MachineWatch = field(init=False)
    _recent: list[Look] = field(default_factory=list)
    _next_look_ns: int = 0
    _looked_after: int = 0
    _powered: int = 0
    _lined: int = 0

    def run(
        self, data: str, notes: list[str], before: DeviceState
    ) -> tuple[Measurement, GaitperfError | None]:
        """Load the server, and sum up. Raises what ended the load before there was anything."""
        server, workload, metering = self._server, self._workload, self._metering
        quotas = QuotaWatch({"the server": server.server_pid, "client and power sampler": None})
        booked = server.statistics(workload.model, workload.version)
        limit = WarmUp(workload.concurrency or 1, _WARM_UP_S)
        warm_up = self._load.run(limit, _WARM_UP_TICK_S)
        _check_failures(warm_up)
        metering.start()
        self._machine = watch_of(server, metering.helpers, self._terms.disturbed)
        cpu_before_s = server.cpu_seconds()
        parts = self._parts(steady_latency_s(warm_up))
        held = self._held = Held(
            workload=workload,
            parts=parts,
            warm_up=warm_up,
            data=data,
            meter=metering.meter,
            no_power=metering.absent if metering.meter is None else "",
            server_cpu_absent=server.cpu_absent_reason or "",
            notes=notes,
        )
        try:
            error = self._driven()
            if error is None:
                error = self._count(booked)
            if error is not None:
                if not parts.done:
                    raise error
                held.faults.append(first_line(error))
            cpu_after_s, now = server.cpu_seconds(), read_state()
            if cpu_before_s is not None and cpu_after_s is not None:
                held.server_cpu_s = cpu_after_s - cpu_before_s
            self._look_after(time.monotonic_ns(), ended=True)
        except KeyboardInterrupt:
            self._keep("the run was interrupted")
            raise
        held.faults += switched(before, now)
        seen = throttled(before, now)
        if seen and not held.faults and not held.held_back:
            held.notes.append(f"throttled, when is not known: {seen}")
        held.notes += quotas.held()
        return evaluate_sustained(held), error

    def _driven(self) -> GaitperfError | None:
        """Load the server until the load is whole, lost or spoilt; return what spoilt it."""
        parts, server = self._held.parts, self._server
        part_ns = parts.windows * parts.window_ns
        error: GaitperfError | None = None
        try:
            with self._machine.over(parts.start_ns, part_ns, parts.window_ns):
                self._held.record = self._load.run(self._goes_on, parts.window_ns / 1e9)
        except GaitperfError as why:
            error = why
        try:
            server.check_alive()  # its death explains more than what it caused
        except GaitperfError as dead:
            error = dead
        return error

    def _count(self, before: ModelStatistics) -> GaitperfError | None:
        """Ask the server what it has counted; return why that cannot be."""
        held, workload = self._held, self._workload
        inferences = (held.warm_up.requests + held.record.requests) * workload.batch_size
        try:
            after = settled_statistics(self._server, workload, before.inference_count + inferences)
        except GaitperfError as error:
            return error
        held.sent = after.minus(before)
        return None

    def _parts(self, latency_s: float) -> Parts:
        """Return the parts of the load, which begins in a moment."""
        asked_s, rate = self._workload.sustained_s, self._workload.sends_per_s
        # An open loop's latency is that of its backlog, and its completions are known at once.
        least_s = max(_WINDOW_S, _SENDS_PER_WINDOW / rate if rate else latency_s)
        windows = max(math.ceil(asked_s / least_s / MOST_PARTS), 1)
        parts = min(int(asked_s / (windows * least_s)), MOST_PARTS)
        if parts < _FEWEST_PARTS:
            raise MeasurementError(
                f"{_FEWEST_PARTS} parts of {least_s:.1f} s are needed, for the time of its "
                f"requests, and {asked_s:.0f} s hold {parts}: sustain it for "
                f"{math.ceil(least_s * _FEWEST_PARTS)} s or more"
            )
        lag_s = max(_LAG_S, self._metering.lag_s, 0.0 if rate else _LAG_LATENCIES * latency_s)
        ramp_s = max(min(latency_s, least_s), _RAMP_S, self._metering.lag_s)
        return Parts(
            start_ns=time.monotonic_ns() + int(ramp_s * 1e9),
            window_ns=int(asked_s / (parts * windows) * 1e9),
            count=parts,
            windows=windows,
            lag_ns=int(lag_s * 1e9),
            batch_size=self._workload.batch_size,
            late_from_s=late_from_s(self._workload),
            asked=rate * self._workload.batch_size,
            undisturbed=self._machine.undisturbed,
        )

    def _goes_on(self, record: LoadRecord, now_ns: int) -> bool:
        """Take up what came; end the load where it is whole, lost or spoilt."""
        held = self._held
        held.record = record
        self._machine.tick(now_ns)
        before = len(held.parts.done)
        held.parts.take(record, now_ns)
        self._look_after(now_ns)
        self._show(now_ns)
        _check_failures(record)
        if len(held.parts.done) > before:
            held.lost = held.parts.lost(self._needed)
        return not (held.parts.complete or held.lost)

    # What the machine did meanwhile

    def _look_after(self, now_ns: int, *, ended: bool = False) -> None:
        """Add to the parts that are over what the device did in them."""
        held, done = self._held, self._held.parts.done
        self._recent += self._states.take()
        held.held_back = self._states.held
        ready = sum(part.end_ns + _SEEN_AFTER_NS <= now_ns for part in done)
        ready = len(done) if ended else ready
        for part in done[self._looked_after : ready]:
            self._look_at(part)
        self._looked_after = max(self._looked_after, ready)
        self._take_power(done[:ready], ended=ended)
        if held.parts.done:
            held.watched = self._machine.watched

    def _look_at(self, part: Part) -> None:
        held, span = self._held, (part.start_ns, part.end_ns)
        seen = utilisation([(self._recent, span)])
        if seen is not None:
            part.temperature_c, part.clock_hz = seen.hottest_c, seen.slowest_hz
            for name, degrees in seen.temperatures_c.items():
                held.hottest_c[name] = max(held.hottest_c.get(name, degrees), degrees)
        part.throttled = any(span[0] < at_ns <= span[1] for at_ns, _ in held.held_back)
        every_ns = int(held.parts.seconds * 1e9 / _MOST_LOOKS)
        for look in self._recent:
            if self._next_look_ns <= look.at_ns <= part.end_ns:
                held.looks.append(look)
                self._next_look_ns = look.at_ns + every_ns
        self._recent = [one for one in self._recent if one.at_ns > part.end_ns - _BESIDE_NS]

    def _take_power(self, ready: list[Part], *, ended: bool) -> None:
        """Integrate the power of parts that are over, in pieces that the meter resolves."""
        meter, held = self._metering.meter, self._held
        while meter is not None and not held.no_power:
            piece: list[Part] = []
            for part in ready[self._powered :]:
                piece.append(part)
                if sum(one.seconds for one in piece) >= meter.minimum_window_s:
                    break
            else:
                if not (piece and ended):
                    return
                # The rest is too short by itself: it is seen together with what was before it.
            whole_s = sum(one.seconds for one in piece)
            first = self._powered
            while whole_s < meter.minimum_window_s and first:
                first -= 1
                whole_s += ready[first].seconds
            span = ready[first].start_ns, piece[-1].end_ns
            try:
                trace, budget = self._metering.seen(meter, *span)
                for part in piece:
                    part.joules = dict(integrate(trace, part.start_ns, part.end_ns).joules)
            except MeterError as error:
                held.no_power, held.power_failed = str(error), True
                return
            held.budgets += [] if budget is None else [budget]
            self._powered += len(piece)

    # Who is told

    def _show(self, now_ns: int) -> None:
        done, parts = self._held.parts.done, self._held.parts
        at_s = max(now_ns - parts.start_ns, 0) / 1e9
        place = f"{time_text(min(at_s, parts.seconds))} of {time_text(parts.seconds)}"
        latest = done[-1:]
        self._terms.show(f"{place}{''.join(f', {number(one.rate)} inf/s' for one in latest)}")
        since = done[self._lined : self._looked_after]
        if sum(part.seconds for part in since) >= _LINE_S:
            self._lined += len(since)
            self._terms.say(f"{self._workload.id}, {self._line(since)}")
            if not parts.complete:
                self._keep("the run ended")

    def _line(self, since: list[Part]) -> str:
        """Say how it went in some parts, at least one."""
        parts, latencies = self._held.parts, Latencies.of(since)
        seconds = sum(part.seconds for part in since)
        at_s = (since[-1].end_ns - parts.start_ns) / 1e9
        said = [f"{number(sum(part.inferences for part in since) / seconds)} inf/s"]
        for name, q in (("p50", 0.5), ("p99", 0.99)):
            if (value := latencies.quantile(q)) is not None:
                said.append(f"{name} {number(value * 1e3)} ms")
        joules = [part.joules for part in since if part.joules is not None]
        if joules and self._metering.meter is not None:
            rails = self._metering.meter.total_rails
            over_s = sum(part.seconds for part in since if part.joules is not None)
            estimated = " est." if self._metering.meter.estimated else ""
            watts = sum(one[rail] for one in joules for rail in rails) / over_s
            said.append(f"{number(watts)} W{estimated}")
        hot = [part.temperature_c for part in since if part.temperature_c is not None]
        said += [f"{max(hot):.0f} C"] if hot else []
        said += ["throttled"] if any(part.throttled for part in since) else []
        said += ["disturbed by others"] if any(part.disturbed for part in since) else []
        return f"{time_text(at_s)} of {time_text(parts.seconds)}: {', '.join(said)}"

    def _keep(self, why: str) -> None:
        """Let what there is so far be kept, for a run that goes no further."""
        held = self._held
        if held.parts.done:
            faults, held.faults = held.faults, [*held.faults, why]
            self._terms.keep(evaluate_sustained(held))
            held.faults = faults


def _check_failures(record: LoadRecord) -> None:
    """Raise MeasurementError where a request failed: whatever comes, the load is spoilt."""
    if record.failures:
        reasons = "; ".join(record.failure_reasons)
        raise MeasurementError(f"{count(record.failures, 'request')} failed: {reasons}")
