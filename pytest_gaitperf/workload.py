"""What is measured: one workload is one cell of the grid model x batch size x load."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.metrics import quantities_of
from pytest_gaitperf.naming import (
    LONGEST_NAMED,
    PLAIN,
    duration,
    exact,
    hashed,
    milliseconds,
    named,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_gaitperf.metrics import Kind

Protocol = Literal["http", "grpc"]
Transport = Literal["inline", "shm"]
Arrival = Literal["constant", "poisson", "trace"]

FRAME_RATE = 25.0
"""Inferences per second that one walking subject needs: the cameras' frames per second."""

PERCENTILE = 99.0
"""The percentile of the latencies that a subject's deadline holds for."""

SEQUENCE_LENGTH = (16, 24)
"""Requests of one sequence of a stateful model: perf_analyzer's 20, give or take 20 %."""

SEQUENCES = 4
"""How many sequences share a request rate, unless it is said."""

MODEL = "model"
"""The key of the cell that is the model by itself."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One cell: what is asked of the server, and how.

    ``version`` is the model's version, "" for the one the server chooses. Each request carries
    ``batch_size`` samples. Exactly one of five says when requests are sent: ``concurrency`` keeps
    that many in flight (closed loop); ``request_rate`` sends that many a second whatever comes back
    (open loop), evenly, as a Poisson process or as a recorded trace (``arrival``); ``subjects``
    does so for that many subjects, each of whom needs ``frame_rate`` inferences a second, their
    phases spread evenly; ``most_subjects`` searches for the most subjects that are served: whose
    latency, in the ``percentile``, is within ``deadline_s`` seconds (0: until the next frame),
    without backlog; ``best_rate`` for the most inferences a second of which that holds.
    Of other loads ``deadline_s`` is what an inference must keep to be goodput (0: there is none).
    ``trace`` is the hash of the arrival times that ``trace_file`` holds, replayed so fast that they
    are ``request_rate`` a second in the mean.

    Requests of a stateful model belong to sequences, each of ``sequence_length`` requests (lowest
    and highest, drawn evenly; (0, 0): no sequences). As many are under way as there are slots of
    a closed loop, subjects, or ``sequences`` of a request rate. ``streaming``: requests go
    through a gRPC stream each slot keeps open, and each may have many answers, or none.

    ``think_s``: each slot of a closed loop waits so many seconds between an answer and its next
    request, as a client that does something with it; so fewer than ``concurrency`` are in flight.

    ``sustained_s``: the load is kept up for so many seconds in one go (0: no longer than needed).

    ``alone``, with a concurrency of 1: no load, but the model by itself: what it takes to load it,
    and to be answered once by it, for which the rest says what is sent.

    ``transport`` is how tensors travel: in the request, or in system shared memory (shm).
    ``beside`` are the neighbours: open loops of other models at a constant rate, kept up while this
    one is measured; a neighbour's ``deadline_s`` is asked of its p99, and is no part of the id.
    ``shapes`` are those of input tensors, without the batch dimension; ``data`` is what they hold:
    "" for random numbers, else ``zeros`` or the hash of a file, ``sha256:0123456789ab``; ``ranges``
    are the lowest and the highest value of tensors filled at random.

    Equal work is an equal workload with an equal id: what the load does not use has its default,
    and tensors are in the order of their names.

    Raises ConfigurationError unless exactly one of the five is given, and is positive, unless the
    subjects fill their batches, for a size or a version that is no positive whole number, and for
    a load that cannot be sustained: of a search, of a trace.
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
    ranges: tuple[tuple[str, tuple[int | float, int | float]], ...] = ()
    most_subjects: bool = False
    deadline_s: float = 0.0
    percentile: float = PERCENTILE
    data: str = ""
    best_rate: bool = False
    trace: str = ""
    trace_file: str = field(default="", compare=False)
    sequence_length: tuple[int, int] = (0, 0)
    sequences: int = 0
    streaming: bool = False
    alone: bool = False
    sustained_s: float = 0.0
    think_s: float = 0.0
    beside: tuple[Workload, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a load that is not exactly one of the five kinds, and what contradicts it."""
        loads = (self.concurrency, self.request_rate, self.subjects, self.search)
        given = [value for value in loads if value]
        both = (self.most_subjects and self.best_rate) or (self.alone and not self.concurrency)
        if len(given) != 1 or given[0] < 0 or both:
            raise ConfigurationError(
                f"workload of {self.model!r}: give one of concurrency, request_rate and subjects, "
                "as a positive number, or one of most_subjects and best_rate"
            )
        self._check_times()
        if self.best_rate and not self.deadline_s:
            raise ConfigurationError(
                f"workload of {self.model!r}: best_rate needs the deadline_s that must be kept"
            )
        if self.request_rate and (self.arrival == "trace") != bool(self.trace):
            raise ConfigurationError(
                f"workload of {self.model!r}: arrival 'trace' and the hash of one go together"
            )
        low, high = self.sequence_length
        if (low, high) != (0, 0) and not 1 <= low <= high:
            raise ConfigurationError(
                f"workload of {self.model!r}: the lengths of sequences, {low} to {high}, are not "
                "two positive whole numbers in ascending order"
            )
        if self.subjects % self.batch_size:
            raise ConfigurationError(
                f"{self.subjects} subjects do not fill batches of {self.batch_size} of model "
                f"{self.model!r}: take a multiple of the batch size"
            )
        if self.version and not (self.version.isdecimal() and self.version.isascii()):
            raise ConfigurationError(
                f"workload of {self.model!r}: version {self.version!r} is not a whole number"
            )
        for name, shape in self.shapes:
            if min(shape, default=1) < 1:
                raise ConfigurationError(
                    f"workload of {self.model!r}: the shape {list(shape)} of {name!r} has a size "
                    "below 1: give the sizes that are sent"
                )
        self._check_neighbours()
        for name, value in self._settled().items():
            object.__setattr__(self, name, value)

    def _check_times(self) -> None:
        if self.think_s < 0 or (self.think_s and not self.concurrency):
            raise ConfigurationError(
                f"workload of {self.model!r}: a think time of {self.think_s:g} s: only the clients "
                "of a concurrency think, and for a positive time"
            )
        if self.sustained_s < 0 or (self.sustained_s and (self.search or self.alone or self.trace)):
            raise ConfigurationError(
                f"workload of {self.model!r}: a search, a trace, which is busier here than there, "
                "and a model by itself cannot be sustained: give a concurrency, a rate or subjects"
            )

    def _check_neighbours(self) -> None:
        """Refuse neighbours of a load that has none, and those that are no such load."""
        if self.beside and (self.search or self.alone or self.sustained_s):
            what = "a search" if self.search else "a model by itself"
            what = "a sustained load" if self.sustained_s else what
            raise ConfigurationError(
                f"workload of {self.model!r}: {what} has no neighbours: leave beside out"
            )
        for one in self.beside:
            if one.model == self.model:
                raise ConfigurationError(
                    f"workload of {self.model!r}: it cannot be its own neighbour: take it out of "
                    "beside, or measure another model"
                )
            constant = one.request_rate and one.arrival == "constant" and not one.beside
            if not constant or one.streaming or one.sequence_length != (0, 0) or one.sustained_s:
                raise ConfigurationError(
                    f"workload of {self.model!r}: the neighbour {one.model!r} is no constant rate "
                    "of single requests: give it a request_rate, and nothing else"
                )
        if len({(one.model, one.version) for one in self.beside}) < len(self.beside):
            raise ConfigurationError(
                f"workload of {self.model!r}: a neighbour is named twice: add up its rates"
            )

    def _settled(self) -> Mapping[str, Any]:
        """Return the fields that have one value for all that is the same work."""
        found: dict[str, Any] = {
            "shapes": tuple(sorted(dict(self.shapes).items())),
            "ranges": () if self.data else tuple(sorted(dict(self.ranges).items())),
            "beside": tuple(sorted(self.beside, key=lambda one: one.id)),
        }
        if not self.request_rate:
            found |= {"arrival": "constant", "trace": ""}
        if not (self.request_rate and self.trace):
            found["trace_file"] = ""
        if not (self.subjects or self.most_subjects):
            # A search for a rate is one for subjects of an inference a second.
            found["frame_rate"] = 1.0 if self.best_rate else FRAME_RATE
        if self.alone:
            found |= {"batch_size": 1, "concurrency": 1, "deadline_s": 0.0, "transport": "inline"}
            found["think_s"] = 0.0
        if not self.search:
            found["percentile"] = PERCENTILE
        if self.most_subjects and self.frame_deadline_s == 1 / self.frame_rate:
            found["deadline_s"] = 0.0
        several = self.sequence_length != (0, 0) and self.request_rate
        found["sequences"] = (self.sequences or SEQUENCES) if several else 0
        if self.streaming:
            found |= {"protocol": "grpc", "transport": "inline"}
        return found

    @property
    def search(self) -> bool:
        """Whether the load is searched for: it is the answer."""
        return self.most_subjects or self.best_rate

    @property
    def at_once(self) -> int:
        """How many sequences are under way at once, 0 where there are none or any number will do.

        Each is served by a slot of its own.
        """
        if self.sequence_length == (0, 0):
            return 0
        return self.concurrency or self.sequences or self.subjects

    def closed(self, concurrency: int) -> Workload:
        """Return the same work in a closed loop."""
        other: dict[str, Any] = {"most_subjects": False, "best_rate": False, "alone": False}
        other |= {"sustained_s": 0.0, "think_s": 0.0}
        return replace(self, concurrency=concurrency, request_rate=0, subjects=0, **other)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that must be loaded: its own, and the neighbours'."""
        return (self.model, *(one.model for one in self.beside))

    @property
    def name(self) -> str:
        """The model with its version, where one is asked for."""
        return f"{self.model}@{self.version}" if self.version else self.model

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
        """What is gated of it; of a search not its load, which is its answer."""
        return quantities_of(self._kinds())

    @property
    def answer(self) -> str:
        """The metric that a search finds, "" where nothing is searched for."""
        return "best_rate" if self.best_rate else "subjects" if self.most_subjects else ""

    def _kinds(self) -> Iterator[Kind]:
        if self.alone:
            yield "model"
        elif self.search:
            yield "best_rate" if self.best_rate else "subjects"
        elif self.sustained_s:
            yield "sustained"
        else:
            yield "load"
            if self.beside:
                yield "beside"
            if self.streaming:
                yield "stream"
            if self.deadline_s:
                yield "deadline"

    @property
    def load(self) -> str:
        """The part of the key that says how the cell is loaded: ``b8-c4``, ``b1-r100-poisson``."""
        if self.concurrency:
            load = MODEL if self.alone else f"c{self.concurrency}"
            load += f"-think{milliseconds(self.think_s)}" if self.think_s else ""
        elif self.subjects or self.most_subjects:
            load = "most" if self.most_subjects else f"s{self.subjects}"
            if self.frame_rate != FRAME_RATE:
                load += f"-fps{exact(self.frame_rate)}"
            if self.most_subjects and self.percentile != PERCENTILE:
                load += f"-p{exact(self.percentile)}"
        elif self.best_rate:
            load = f"best-p{exact(self.percentile)}"
        else:
            load = f"r{exact(self.request_rate)}"
            if self.trace:
                load += f"-trace=h{short(self.trace)}"
            elif self.arrival != "constant":
                load += f"-{self.arrival}"
        load += self._how_long()
        told = (self.protocol, self.transport, "stream" if self.streaming else "inline")
        how = [name for name in told if name not in ("http", "inline")]
        size = "" if self.alone else f"b{self.batch_size}"
        return "-".join(filter(None, (size, load, *how, self.neighbours)))

    @property
    def neighbours(self) -> str:
        """The part of the key that names the neighbours: ``beside=detector-r25+pose-b4-r10-v2``.

        Names that could be taken for another part are hashed, and long ones. Protocol and transport
        are this load's own. "" where there are none.
        """
        if not self.beside:
            return ""
        plain = [
            replace(one, deadline_s=0.0, protocol="http", transport="inline") for one in self.beside
        ]
        loads = [(one.model, one.key.removeprefix("b1-")) for one in plain]
        written = "+".join(f"{model}-{load}" for model, load in loads)
        if all(PLAIN.fullmatch(model) for model, _ in loads) and len(written) <= LONGEST_NAMED:
            return f"beside={written}"
        return f"beside=h{hashed(loads)}"

    def _how_long(self) -> str:
        """Return the parts of the key about times and lengths."""
        found = f"-{milliseconds(self.deadline_s)}" if self.deadline_s else ""
        low, high = self.sequence_length
        if high:
            found += f"-seq{low}" if low == high else f"-seq{low}..{high}"
            found += f"x{self.sequences}" if self.sequences else ""
        return found + (f"-{''.join(duration(self.sustained_s))}" if self.sustained_s else "")

    @property
    def content(self) -> str:
        """The part of the key that says what is sent where, "" for random data to any version.

        That is ``v2``, ``INPUT=3x224x224``, ``INPUT=-1..1``, ``zeros`` or ``data=h01234567``.
        """
        data = self.data
        if data.startswith("sha256:"):
            data = f"data=h{short(data)}"
        shapes = {name: "x".join(map(str, shape)) or "scalar" for name, shape in self.shapes}
        ranges = {name: f"{exact(low)}..{exact(high)}" for name, (low, high) in self.ranges}
        version = f"v{self.version}" if self.version else ""
        parts = (version, named("shapes", shapes), named("ranges", ranges), data)
        return "-".join(filter(None, parts))

    @property
    def key(self) -> str:
        """The cell's name within its model, e.g. ``b8-c4``, ``b1-most-INPUT=3x224x224``."""
        return "-".join(filter(None, (self.load, self.content)))

    @property
    def id(self) -> str:
        """The cell's name in test ids and results, e.g. ``3D_fp32_0_batchd-b8-c4``."""
        return f"{self.model}-{self.key}"


def models_of(workloads: Iterable[Workload]) -> tuple[str, ...]:
    """Return the models that some workloads need, each once."""
    return tuple(dict.fromkeys(model for workload in workloads for model in workload.models))


def shapes_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return ``A [3, 4], B [2]`` for the shapes of tensors."""
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
