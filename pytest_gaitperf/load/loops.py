"""Closed and open loops: one thread that waits, sends and receives, over HTTP/1.1 or gRPC.

Measured against a thread per request slot and against tritonclient's own ``infer`` on the same
server, this design cost the least client CPU per request. ``benchmarks/load_vs_perf_analyzer.py``
compares it with perf_analyzer.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.load.connections import Connections
from pytest_gaitperf.load.data import FEWEST_SLOTS, MOST_IN_FLIGHT, slots_of
from pytest_gaitperf.load.encode import encode_grpc, encode_http
from pytest_gaitperf.load.memory import check_room
from pytest_gaitperf.load.sequences import SequenceRequests, sequence_requests
from pytest_gaitperf.load.shared_memory import SharedTensors
from pytest_gaitperf.load.trace import replay_of
from pytest_gaitperf.way import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Self

    from pytest_gaitperf.load.data import InputData
    from pytest_gaitperf.load.encode import Requests
    from pytest_gaitperf.load.record import LoadRecord, Observer
    from pytest_gaitperf.load.shared_memory import ServerApi
    from pytest_gaitperf.load.slot import Slot
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.workload import Workload

ARRIVAL_SEED = 20_26
"""Seed of the Poisson arrivals: the same schedule in every session."""

FINAL: Mapping[str, bool | int] = {"triton_enable_empty_final_response": True}
"""The parameters of a stream's request: the server says when there are no more answers."""

_CHUNK = 4096


class Load(ABC):
    """Loads one server in one way: what both loops share, which is ticks, silence, stop and drain.

    A context manager, which owns its connections. After an error it can only be closed.
    """

    def __init__(self, connections: Connections, connected: int, silence_s: float) -> None:
        self._connections = connections
        self._connected = connected
        self._silence_ns = int(silence_s * 1e9)
        self._seen = 0
        self._seen_ns = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connections.close()

    def run(self, observer: Observer, tick_s: float) -> LoadRecord:
        """Load the server until ``observer`` returns False at a tick; return what happened."""
        record = self._connections.begin(self._connected)
        cpu_before_ns = time.thread_time_ns()
        record.first_send_ns = self._seen_ns = time.monotonic_ns()
        self._seen = 0
        self._load(record, observer, int(tick_s * 1e9))
        record.stopped_ns = time.monotonic_ns()
        self._drain(record)
        self._end_sequences(record)
        record.drained_ns = time.monotonic_ns()
        record.client_cpu_ns = time.thread_time_ns() - cpu_before_ns
        return record

    @abstractmethod
    def _load(self, record: LoadRecord, observer: Observer, tick_ns: int) -> None:
        """Send and receive until the observer says stop."""

    def _drain(self, record: LoadRecord) -> None:
        """Receive until nothing is in flight."""
        connections = self._connections
        self._seen_ns = time.monotonic_ns()
        while self.in_flight:
            silent_at = self._seen_ns + self._silence_ns
            self._check_silence(record, connections.serve(connections.wait, silent_at, again=False))

    def _end_sequences(self, record: LoadRecord) -> None:
        """End those under way, which a server would keep: the next load has sequences of its own.

        The requests for it are part of the record, behind its last window.
        """
        connections = self._connections
        for sequence in connections.sequences:
            sequence.ending = True
        for slot in list(connections.free):
            if isinstance(slot.requests, SequenceRequests) and slot.requests.under_way:
                connections.free.remove(slot)
                if slot.connection is None:
                    connections.connect(slot)
                now = time.monotonic_ns()
                connections.start(slot, now, now)
        self._drain(record)
        for sequence in connections.sequences:
            sequence.ending = False

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return self._connections.slots - len(self._connections.free)

    def _check_silence(self, record: LoadRecord, now: int) -> None:
        answered = record.came
        if answered > self._seen or not self.in_flight:
            self._seen, self._seen_ns = answered, now
        elif now - self._seen_ns >= self._silence_ns:
            raise MeasurementError(
                f"no response from {self._connections.server} for {self._silence_ns / 1e9:g} s "
                f"with {self.in_flight} requests in flight: is the model stuck, or slower than "
                "that?"
            )


class ClosedLoop(Load):
    """Keep ``concurrency`` requests in flight until the observer says stop, then drain.

    With a think time each slot waits ``think_s`` between an answer and its next request; in the
    first one the slots begin one after the other, so that they do not march in step. Failed
    requests are counted, and the slot of each goes on with its next. ``silence_s`` is how long the
    server may complete nothing before the cell is given up, ``how`` the rest of ``Connections``.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Requests,
        concurrency: int,
        *,
        silence_s: float = 60.0,
        think_s: float = 0.0,
        **how: Any,
    ) -> None:
        alone = concurrency == 1 and not think_s
        connections = Connections(host, port, requests, concurrency, alone=alone, **how)
        super().__init__(connections, concurrency, silence_s)
        self._think_ns = round(think_s * 1e9)
        # What thinks, and until when: each as long, so that the first to begin is the first done.
        self._thinking: deque[tuple[int, Slot]] = deque()

    def _load(self, record: LoadRecord, observer: Observer, tick_ns: int) -> None:
        if self._think_ns:
            self._load_thinking(record, observer, tick_ns)
            return
        connections, clock = self._connections, time.monotonic_ns
        free = connections.free
        now = record.first_send_ns
        tick_at = now + tick_ns
        while True:
            for _ in range(len(free)):  # at first, and those that lost their connection
                slot = free.popleft()
                if slot.connection is None:
                    connections.connect(slot)
                now = clock()
                connections.start(slot, now, now)
            now = connections.serve(connections.wait, 0 if free else tick_at, again=True)
            if now < tick_at:
                continue
            tick_at = max(tick_at + tick_ns, now)
            self._check_silence(record, now)
            if not observer(record, now):
                return

    def _load_thinking(self, record: LoadRecord, observer: Observer, tick_ns: int) -> None:
        connections, think_ns, thinking = self._connections, self._think_ns, self._thinking
        free, now = connections.free, record.first_send_ns
        tick_at, apart_ns = now + tick_ns, think_ns // connections.slots
        thinking.extend((now + index * apart_ns, slot) for index, slot in enumerate(free))
        free.clear()
        try:
            while True:
                while thinking and thinking[0][0] <= now:
                    _, slot = thinking.popleft()
                    if slot.connection is None:
                        connections.connect(slot)
                        now = time.monotonic_ns()
                    now = connections.start(slot, now, now)
                wake_at = min(thinking[0][0], tick_at) if thinking else tick_at
                now = connections.serve(connections.wait_precisely, wake_at, again=False)
                thinking.extend((now + think_ns, slot) for slot in free)
                free.clear()
                if now >= tick_at:
                    tick_at = max(tick_at + tick_ns, now)
                    self._check_silence(record, now)
                    if not observer(record, now):
                        return
                    now = time.monotonic_ns()
        finally:
            free.extend(slot for _, slot in thinking)
            thinking.clear()

    @property
    def in_flight(self) -> int:
        """How many requests are in flight: none of a slot that thinks."""
        return super().in_flight - len(self._thinking)


class OpenLoop(Load):
    """Send by a schedule, whatever comes back, until the observer says stop, then drain.

    ``offsets_ns`` ascend without end; of an iterator each run takes up where the last one stopped,
    and its first request is sent at once; of anything else each run begins anew. A request's start
    is its *scheduled* time: a stall of the server, or of this client, lengthens the latency of
    every request that was due in it. Past ``most_in_flight`` requests wait here until one is
    answered; those still waiting at the stop are not sent. ``sequences`` take turns. Otherwise as
    ClosedLoop.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: Requests,
        offsets_ns: Iterable[int],
        *,
        most_in_flight: int = MOST_IN_FLIGHT,
        silence_s: float = 60.0,
        way: Way = PLAIN,
        **how: Any,
    ) -> None:
        connections = Connections(host, port, requests, most_in_flight, way=way, **how)
        # With TLS to connect takes several turns: those that are often needed are there before.
        connected = min(FEWEST_SLOTS, most_in_flight) if way.tls else 1
        super().__init__(connections, connected, silence_s)
        self._offsets_ns = offsets_ns

    def _load(self, record: LoadRecord, observer: Observer, tick_ns: int) -> None:
        connections, clock, offsets = self._connections, time.monotonic_ns, iter(self._offsets_ns)
        free, add_delay = connections.free, record.delays_ns.append
        # The connection used last is the next, unless each has a sequence that must go on.
        take = free.popleft if connections.sequences else free.pop
        now = record.first_send_ns
        tick_at, zero = now + tick_ns, now - next(offsets)
        due = now
        while True:
            while free and due <= now:
                slot = take()
                if slot.connection is None:
                    connections.connect(slot)
                    now = clock()
                add_delay(now - due)
                now = connections.start(slot, due, now)
                due = zero + next(offsets)
            wake_at = min(due, tick_at) if free else tick_at
            now = connections.serve(connections.wait_precisely, wake_at, again=False)
            if now < tick_at:
                continue
            tick_at = max(tick_at + tick_ns, now)
            self._check_silence(record, now)
            if not observer(record, now):
                return
            now = clock()


def send_offsets_ns(
    rate_per_s: float, arrival: Literal["constant", "poisson"], seed: int = ARRIVAL_SEED
) -> Iterator[int]:
    """Yield, without end, when each request is to be sent: ns after the start, ascending.

    Constant: the k-th at ``k / rate``, computed from k so that no rounding gathers. Poisson:
    exponential gaps with mean ``1 / rate`` (LoadGen's server scenario), drawn from ``seed``. The
    subjects of a gait cell, phases spread evenly over a frame, are a constant rate.
    """
    if arrival == "constant":
        count = 0
        while True:
            yield round(count * 1e9 / rate_per_s)
            count += 1
    generator = np.random.default_rng(seed)
    now_ns = 0.0
    while True:
        for gap_ns in generator.exponential(1e9 / rate_per_s, _CHUNK).tolist():
            yield round(now_ns)
            now_ns += gap_ns


class Server(Protocol):
    """The server that is loaded: the ports of a host, and its HTTP endpoints by ``api``."""

    host: str
    http_port: int
    grpc_port: int

    @property
    def api(self) -> ServerApi:
        """What asks its HTTP endpoints."""


@contextmanager
def open_load(
    server: Server, model: ModelInfo, workload: Workload, given: InputData
) -> Iterator[Load]:
    """Encode the samples, place them in shared memory where asked, and open the load.

    Where answers are known, one that differs is a failed request. It may send a few inferences to
    learn the outputs' sizes: read the server's counters inside.
    Raises MeasurementError and ServerError as ``SharedTensors``, and where memory has no room.
    """
    api = server.api
    slots, samples = slots_of(workload), given.samples
    here = server.host in ("localhost", "::1") or server.host.startswith("127.")
    check_room(model, workload, samples, slots, beside=here)
    with ExitStack() as stack:
        tensors: SharedTensors | None = None
        places = None
        if workload.transport == "shm":
            tensors = SharedTensors(api, model, workload, samples, slots)
            places = stack.enter_context(tensors).places

        def encode(parameters: Mapping[str, bool | int]) -> Requests:
            if workload.protocol == "grpc":
                told = {**parameters, **(FINAL if workload.streaming else {})}
                return encode_grpc(model, workload, samples, places, parameters=told)
            return encode_http(
                model, workload, api.authority, samples, places, way=api.way, parameters=parameters
            )

        sequences = None
        if workload.sequence_length != (0, 0):
            sequences = sequence_requests(encode, workload.protocol, workload.sequence_length)
        grpc = workload.protocol == "grpc"
        to = (server.host, server.grpc_port if grpc else server.http_port)
        requests = [] if sequences is not None else encode({})
        how: dict[str, Any] = {"protocol": workload.protocol, "way": api.way}
        how |= {"streaming": workload.streaming, "sequences": sequences}
        if given.answers:
            # Not at the top: tritonclient's own client takes 0.2 s, which other loads need not pay.
            from pytest_gaitperf.load.checked import Known  # noqa: PLC0415

            whole = len(given.answers[0]) == len(model.outputs)
            how["known"] = Known(requests, given.answers, whole=whole)
        load: Load
        if workload.concurrency:
            load = ClosedLoop(*to, requests, slots, think_s=workload.think_s, **how)
        else:
            load = OpenLoop(*to, requests, _offsets_ns(workload), most_in_flight=slots, **how)
        if tensors is not None:
            tensors.in_use = lambda: load.in_flight > 0
        yield stack.enter_context(load)


def _offsets_ns(workload: Workload) -> Iterable[int]:
    """Return the schedule of an open loop; ConfigurationError for a trace that has changed."""
    if workload.arrival != "trace":
        return send_offsets_ns(workload.sends_per_s, workload.arrival)
    return replay_of(workload)
