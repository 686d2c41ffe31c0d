"""Watches an open load until it is clear whether that is served."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.capacity.lateness import Lateness, lateness

if TYPE_CHECKING:
    from pytest_gaitperf.measure.capacity.lateness import Target

_RAMP_DEADLINES = 2.0
_RAMP_S = 0.1


class Look:
    """Goes on until it is clear whether the load is served; an ``Observer`` of a load.

    ``shortest_s`` is how long it must be looked at before it may be called served; inf only to end
    it where it is not. Afterwards ``seen`` and ``record`` are what was seen, ``served`` and
    ``overloaded`` say which it is; neither, where it was not clear.
    """

    def __init__(self, target: Target, rate_per_s: float, shortest_s: float) -> None:
        self._target = target
        self._rate = rate_per_s
        self._shortest_s = shortest_s
        self._ramp_s = max(_RAMP_S, _RAMP_DEADLINES * target.deadline_s)
        self.record = LoadRecord()
        self.seen = Lateness(0, 0, 0.0, 0.0, 0.0)
        self.served = False
        self.overloaded = False

    def __call__(self, record: LoadRecord, now_ns: int) -> bool:
        """Return whether to go on."""
        self.record = record
        from_ns = record.first_send_ns + int(self._ramp_s * 1e9)
        self.take(record, from_ns, now_ns)
        elapsed_s = (now_ns - from_ns) / 1e9 - self._target.deadline_s
        verdict = self.seen.verdict(self._target, elapsed_s, self._shortest_s)
        self.served, self.overloaded = verdict is True, verdict is False
        return verdict is None

    def take(self, record: LoadRecord, from_ns: int, until_ns: int) -> None:
        """Look at the requests that were due between two times."""
        before = math.ceil((from_ns - record.first_send_ns) * self._rate / 1e9)
        self.seen = lateness(
            *record.times(),
            first_ns=record.first_send_ns + int(before / self._rate * 1e9),
            now_ns=until_ns,
            rate_per_s=self._rate,
            target=self._target,
        )
