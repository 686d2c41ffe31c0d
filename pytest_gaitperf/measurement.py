"""One cell -> one Measurement: the types, and (below) the run that fills them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.workload import Workload


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured cell.

    ``metrics`` holds an Estimate for each metric of ``METRICS`` that could be measured;
    ``absent`` says for the others, by name, why not. ``spread`` is, by metric, the standard
    deviation of the log of the windows' values (dimensionless): what one session knows of its own
    noise. ``invalid`` is the reason this measurement must not be judged, None when it may.
    ``time_split`` has seconds per request for queue, compute_input, compute_infer, compute_output
    and network (the rest of the mean latency).
    """

    workload: Workload
    metrics: Mapping[str, Estimate]
    spread: Mapping[str, float]
    windows: int
    window_s: float
    requests: int
    failures: int
    client_cpu_per_request_us: float
    time_split: Mapping[str, float] = field(default_factory=dict)
    rails_j: Mapping[str, float] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    invalid: str | None = None
