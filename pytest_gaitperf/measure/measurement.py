"""One cell -> one Measurement: what a run gathers, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.measure.capacity.search import Answer
    from pytest_gaitperf.measure.distribution import Distribution
    from pytest_gaitperf.measure.timeline import Course
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.power.course import PowerCourse
    from pytest_gaitperf.power.metering import PowerReading
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured cell.

    ``metrics`` holds an Estimate for each metric of ``METRICS`` that could be measured;
    ``absent`` says for the others, by name, why not. ``spread`` is, by metric, the standard
    deviation of the log of the windows' values (dimensionless): what one session knows of its own
    noise; ``spread_windows`` is the number of those windows. ``invalid`` is the reason why this
    measurement must not be judged, None when it may.
    ``time_split_s`` has seconds per request, in the order of time: schedule (open loop: how late it
    was sent), client_send, network (the rest of the mean latency), queue, compute_input,
    compute_infer, compute_output, client_receive. ``rails_j`` has the joules of each rail over the
    measured span of ``duration_s``, in which ``inferences`` were done; ``energy_rails`` are those
    that make up the total. ``energy_failed`` tells a meter that did not do its work from a machine
    without one; ``energy_error`` is the relative standard error that the meter leaves,
    ``energy_note`` says what to do where that is large. ``late_sends`` counts the requests of an
    open loop that were sent too late, ``data`` says what the requests carried. ``latencies`` is how
    those of the requests were distributed. ``behind`` says that the server did not keep an open
    loop's rate, None where it did. ``search`` is how the most subjects were found, None of any
    other cell. ``course`` is how throughput and latency went over the windows, ``power`` how each
    rail's power did, None where no meter covered them; neither is known of a paired run.
    """

    workload: Workload
    metrics: Mapping[str, Estimate]
    spread: Mapping[str, float]
    spread_windows: Mapping[str, int]
    windows: int
    window_s: float
    duration_s: float
    requests: int
    failures: int
    client_cpu_per_request_us: float
    client_load: float
    time_split_s: Mapping[str, float]
    rails_j: Mapping[str, float]
    energy_rails: tuple[str, ...]
    estimated: bool
    absent: Mapping[str, str]
    notes: tuple[str, ...]
    invalid: str | None
    inferences: float
    energy_failed: bool
    energy_error: float | None
    energy_note: str | None
    late_sends: int = 0
    data: str = ""
    latencies: Distribution | None = None
    behind: str | None = None
    search: Answer | None = None
    course: Course | None = None
    power: PowerCourse | None = None


@dataclass(frozen=True, slots=True)
class Run:
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
