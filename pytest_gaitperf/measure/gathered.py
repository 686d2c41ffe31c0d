"""What is gathered while a cell is loaded, before it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.power.metering import PowerReading
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything a run gathered about one cell, before it is evaluated.

    ``edges_ns`` (int64[windows + 1], monotonic clock) are the windows' edges. ``warm_up`` and
    ``record`` are the requests before and in the measured load. ``sent`` is the server's statistics
    over both, ``statistics`` over the measured load alone. ``server_cpu_s`` is the CPU time of the
    server over the measured load, None where ``server_cpu_absent`` says why.
    """

    workload: Workload
    edges_ns: npt.NDArray[np.int64]
    warm_up: LoadRecord
    record: LoadRecord
    sent: ModelStatistics
    statistics: ModelStatistics
    server_cpu_s: float | None
    server_cpu_absent: str
    power: PowerReading
    throttled: str | None = None
    notes: tuple[str, ...] = ()
    data: str = ""
