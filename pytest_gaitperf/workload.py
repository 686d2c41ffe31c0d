"""What is measured: one workload is one cell of the grid model x batch size x load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_gaitperf.errors import ConfigurationError

Protocol = Literal["http", "grpc"]
Transport = Literal["inline", "shm"]
Arrival = Literal["constant", "poisson"]

FRAME_RATE = 25.0
"""Inferences per second that one walking subject needs: the cameras' frames per second."""

PERCENTILE = 99.0
"""The percentile of the latencies that a subject's deadline holds for."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One cell: what is asked of the server, and how.

    ``version`` is the model's version, "" for the one the server chooses. Each request carries
    ``batch_size`` samples. Exactly one of four says when requests are sent: ``concurrency`` keeps
    that many in flight (closed loop); ``request_rate`` sends that many a second whatever comes back
    (open loop), evenly or as a Poisson process (``arrival``); ``subjects`` does so for that many
    subjects, each of whom needs ``frame_rate`` inferences a second, their phases spread evenly;
    ``most_subjects`` searches for the most subjects that are served: whose latency, in the
    ``percentile``, is within ``deadline_s`` seconds (0: until the next frame), without backlog.
    ``transport`` is how tensors travel: in the request, or in system shared memory (shm).
    ``shapes`` are those of the tensors which the model leaves dynamic, without the batch dimension;
    ``ranges`` are the lowest and the highest value of tensors filled at random.

    Raises ConfigurationError unless exactly one of the four is given, and is positive, and unless
    the subjects fill their batches.
    """

    model: str
    batch_size: int
    concurrency: int = 0
    version: str = ""
    protocol: Protocol = "http"
    transport: Transport = "inline"
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    request_rate: float = 0.0
    arrival: Arrival = "constant"
    subjects: int = 0
    frame_rate: float = FRAME_RATE
    ranges: tuple[tuple[str, tuple[float, float]], ...] = ()
    most_subjects: bool = False
    deadline_s: float = 0.0
    percentile: float = PERCENTILE

    def __post_init__(self) -> None:
        """Refuse a load that is not exactly one of the four kinds."""
        loads = (self.concurrency, self.request_rate, self.subjects, self.most_subjects)
        given = [value for value in loads if value]
        if len(given) != 1 or given[0] < 0:
            raise ConfigurationError(
                f"workload of {self.model!r}: give one of concurrency, request_rate and subjects, "
                "as a positive number, or most_subjects"
            )
        if self.subjects % self.batch_size:
            raise ConfigurationError(
                f"{self.subjects} subjects do not fill batches of {self.batch_size} of model "
                f"{self.model!r}: take a multiple of the batch size"
            )

    @property
    def sends_per_s(self) -> float:
        """Requests per second of an open loop, 0 for a closed one.

        A request of several samples carries that many subjects.
        """
        return self.request_rate or self.subjects * self.frame_rate / self.batch_size

    @property
    def frame_deadline_s(self) -> float:
        """Seconds within which a subject's inference must be done."""
        return self.deadline_s or 1 / self.frame_rate

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is gated of it: the load of a search is its answer, not a quantity of its own."""
        if self.most_subjects:
            return ("subjects", "energy")
        return ("throughput", "latency", "energy", "cpu")

    @property
    def key(self) -> str:
        """The cell's name within its model, e.g. ``b8-c4``, ``b1-r100-poisson``, ``b1-most``."""
        if self.concurrency:
            load = f"c{self.concurrency}"
        elif self.subjects or self.most_subjects:
            load = "most" if self.most_subjects else f"s{self.subjects}"
            if self.frame_rate != FRAME_RATE:
                load += f"-fps{self.frame_rate:.12g}"
            if self.most_subjects and self.percentile != PERCENTILE:
                load += f"-p{self.percentile:.12g}"
            if self.most_subjects and self.frame_deadline_s != 1 / self.frame_rate:
                load += f"-{self.deadline_s * 1e3:.12g}ms"
        else:
            load = f"r{self.request_rate:.12g}"
            if self.arrival != "constant":
                load += f"-{self.arrival}"
        how = [name for name in (self.protocol, self.transport) if name not in ("http", "inline")]
        return "-".join([f"b{self.batch_size}", load, *how])

    @property
    def id(self) -> str:
        """The cell's name in test ids and results, e.g. ``3D_fp32_0_batchd-b8-c4``."""
        return f"{self.model}-{self.key}"
