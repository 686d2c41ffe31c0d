"""Simulated servers of known capacity, and the search run on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.capacity import Ask, Target, TrialObserver, search
from pytest_gaitperf.measurement import Capacity, Trial

if TYPE_CHECKING:
    import numpy.typing as npt

    Seconds = npt.NDArray[np.float64]

FRAME_RATE = 25.0
TARGET = Target(1 / FRAME_RATE, 99.0)
_TICK_S = 0.1
_MEASURED_S = 5.0


@dataclass
class SimulatedServer:
    """Answers requests one after the other, in ``instances`` that take turns.

    A service takes ``service_s`` seconds, with a log-normal scatter of ``scatter`` (SD of the log).
    From second to second the pace drifts: an AR(1) process of the log with the SD ``drift`` and a
    correlation of 0.8. ``stalls_per_s`` of 0.1 s each stop it.
    """

    service_s: float
    instances: int = 1
    scatter: float = 0.0
    drift: float = 0.0
    stalls_per_s: float = 0.0
    seed: int = 0
    clock_s: float = 0.0
    rng: np.random.Generator = field(init=False)
    pace: Seconds = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        steps = self.rng.normal(0.0, self.drift * math.sqrt(1 - 0.8**2), 20_000)
        pace = np.zeros_like(steps)
        for second in range(1, len(pace)):
            pace[second] = 0.8 * pace[second - 1] + steps[second]
        self.pace = np.exp(pace)

    def latencies(self, rate: float, seconds: float) -> tuple[Seconds, Seconds]:
        """Load it at a constant rate; return when requests were due, and their latencies (s)."""
        due = np.arange(int(rate * seconds)) / rate
        at = ((self.clock_s + due).astype(int)) % len(self.pace)
        service = self.service_s * self.pace[at]
        if self.scatter:
            service = service * np.exp(self.rng.normal(0.0, self.scatter, len(due)))
        if self.stalls_per_s:
            service = service + 0.1 * (self.rng.random(len(due)) < self.stalls_per_s / rate)
        latency = np.empty_like(due)
        for first in range(self.instances):
            mine = slice(first, None, self.instances)
            # Lindley: the wait is how far the sum of service less gap lies above its least so far.
            ahead = np.concatenate([[0.0], np.cumsum(service[mine][:-1] - self.instances / rate)])
            latency[mine] = ahead - np.minimum.accumulate(ahead) + service[mine]
        self.clock_s += seconds
        return due, latency

    def capacity(self) -> float:
        """Return the truth, in subjects, from long loads."""
        low, high = 0.02 / self.service_s, 1.2 * self.instances / self.service_s
        while high > 1.002 * low:
            rate = math.sqrt(low * high)
            _, latency = self.latencies(rate, max(3000.0, 30_000 / rate))
            if (latency > TARGET.deadline_s).mean() <= TARGET.late_share:
                low = rate
            else:
                high = rate
        return low / FRAME_RATE


def tried(server: SimulatedServer, ask: Ask) -> Trial:
    """Try a simulated load as the driver tries a real one."""
    rate = ask.subjects * FRAME_RATE
    least_s = math.inf if ask.measured else TARGET.shortest_s(rate)
    longest_s = _MEASURED_S if ask.measured else 4 * least_s + 1
    due, latency = server.latencies(rate, longest_s)
    due_ns = np.rint(due * 1e9).astype(np.int64)
    end_ns = due_ns + np.rint(latency * 1e9).astype(np.int64)
    order = np.argsort(end_ns, kind="stable")
    observer, record, done, now_s = TrialObserver(TARGET, rate, least_s), LoadRecord(), 0, 0.0
    go_on = True
    while go_on and now_s + _TICK_S <= longest_s:
        now_s += _TICK_S
        new = int(np.searchsorted(end_ns[order], now_s * 1e9, "right"))
        record.starts_ns.extend(due_ns[order[done:new]].tolist())
        record.ends_ns.extend(end_ns[order[done:new]].tolist())
        done = new
        go_on = observer(record, int(now_s * 1e9))
    if ask.measured and not observer.overloaded:
        observer.served = observer.seen.served(TARGET)
    seen = observer.seen
    return Trial(
        subjects=ask.subjects,
        served=observer.served,
        seconds=now_s,
        requests=seen.requests,
        late=seen.late,
        latency_s=seen.latency_s,
        growing=seen.grown(TARGET),
        measured=ask.measured,
    )


def searched(server: SimulatedServer, guess: float) -> Capacity:
    """Search on a simulated server."""
    steps = search(guess)
    ask = next(steps)
    while True:
        trial = tried(server, ask)
        try:
            ask = steps.send(trial)
        except StopIteration as end:
            answer: Capacity = end.value
            return answer
