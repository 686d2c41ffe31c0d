"""A load of a stated time, and what it left behind: for tests that ask more than a gate does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import (
    ConfigurationError,
    GaitperfError,
    MeasurementError,
    first_line,
)
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.record import (
    completed_between,
    mean_in_flight,
    requests_done,
)
from pytest_gaitperf.measure.counted import settled_statistics
from pytest_gaitperf.measure.neighbours import keeping
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.stats import mean_interval, ratio_values

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.load.data import InputData
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.power.metering import PowerReading
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.workload import Workload

WINDOWS = 6
"""How many windows the intervals of a load come from."""

_TICK_S = 0.05
_ROUNDS = 3
_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load left behind.

    ``record`` has the times of every request, ``counted`` what the server booked for them, failed
    ones included. ``start_ns`` and ``end_ns`` (monotonic clock) bound the stretch in which the load
    was whole: after the first answer and before the last request was sent. ``power`` covers that
    stretch, None where it was not asked for.
    """

    workload: Workload
    record: LoadRecord
    counted: ModelStatistics
    start_ns: int
    end_ns: int
    power: PowerReading | None = None

    @property
    def seconds(self) -> float:
        """The length of the stretch in which the load was whole."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def latencies_s(self) -> npt.NDArray[np.float64]:
        """The latencies of the requests completed in that stretch, in seconds, ascending."""
        return completed_between(*self.record.times(), self.start_ns, self.end_ns)

    @property
    def in_flight(self) -> float:
        """How many requests were in flight on average."""
        return mean_in_flight(*self.record.times(), self.start_ns, self.end_ns)

    @property
    def latency_mean(self) -> Estimate:
        """The mean latency in seconds, with the 95 % interval of six windows."""
        times, edges = self.record.times(), self._edges_ns
        inside = [completed_between(*times, int(a), int(b)) for a, b in pairwise(edges)]
        windows = ratio_values([part.sum() for part in inside], [part.size for part in inside])
        return Estimate(
            METRICS["latency_mean"].unit, float(windows.mean()), *mean_interval(windows)
        )

    @property
    def throughput(self) -> Estimate:
        """Inferences per second, with the 95 % interval of six windows."""
        (starts, ends), edges = self.record.times(), self._edges_ns
        closed = self.workload.concurrency > 0
        requests = requests_done(starts, ends, edges, closed=closed)
        rates = requests * self.workload.batch_size * WINDOWS / self.seconds
        return Estimate(METRICS["throughput"].unit, float(rates.mean()), *mean_interval(rates))

    @property
    def _edges_ns(self) -> npt.NDArray[np.int64]:
        return np.linspace(self.start_ns, self.end_ns, WINDOWS + 1).astype(np.int64)


def load_for(
    resources: Resources, workload: Workload, seconds: float, *, power: bool = False
) -> Loaded:
    """Load the server with a workload for ``seconds``, drain, and tell what happened.

    Where requests are slow it goes on until each slot of a closed loop has had three answers, an
    open loop four, at most 60 s. Neighbours are kept up meanwhile. Failed requests are counted, not
    raised. With ``power`` the meter is read too, over ``seconds`` or twice its shortest window.

    Raises
    ------
    MeasurementError
        The server cannot be loaded in this way, is gone, fails nearly all requests, or answered
        none in time.
    ConfigurationError
        The model's inputs cannot be generated.
    """
    server, metering = resources.server, resources.metering
    model = server.model(workload.model, workload.version)
    lag_s = metering.lag_s if power else 0.0
    if power and metering.meter is not None:
        seconds = max(seconds, 2 * metering.meter.minimum_window_s)
    fewest = _ROUNDS * (workload.concurrency or 1) + 1  # the stretch begins with the first answer
    first_ns = 0

    def goes_on(record: LoadRecord, now_ns: int) -> bool:
        nonlocal first_ns
        loaded_s = (now_ns - record.first_send_ns) / 1e9
        if not record.requests:
            return loaded_s < _LONGEST_S
        first_ns = first_ns or max(record.ends_ns[0], record.first_send_ns + int(lag_s * 1e9))
        enough = record.requests >= fewest or loaded_s > _LONGEST_S
        return not enough or (now_ns - first_ns) / 1e9 < seconds + lag_s

    given = given_to(resources, workload)
    with (
        keeping(server, workload, resources.settings.data) as neighbours,
        open_load(server, model, workload, given) as loop,
    ):
        before = server.statistics(workload.model, workload.version)
        if power:
            metering.start()
        try:
            record = loop.run(neighbours.checked(goes_on), _TICK_S)
            neighbours.end(server)
            end_ns = record.stopped_ns - int(lag_s * 1e9)
            if not first_ns or end_ns <= first_ns:
                reasons = "; ".join(record.failure_reasons) or "the server completed none"
                raise MeasurementError(f"no request succeeded in time: {reasons}")
            edges = np.array([first_ns, end_ns], dtype=np.int64)
            reading = metering.read(workload.id, edges) if power else None
        finally:
            if power:
                metering.stop()
    expected = before.inference_count + record.requests * workload.batch_size
    counted = settled_statistics(server, workload, expected).minus(before)
    return Loaded(workload, record, counted, first_ns, end_ns, reading)


def given_to(resources: Resources, workload: Workload) -> InputData:
    """Return what the requests of a workload carry in rotation.

    Raises ConfigurationError as ``input_data`` does.
    """
    model = resources.server.model(workload.model, workload.version)
    return input_data(model, workload, resources.settings.data)


def unrequestable(resources: Resources, workload: Workload) -> str:
    """Say why no request can be made for a model, "" where one can, or where it is gone."""
    try:
        model = resources.server.model(workload.model, workload.version)
    except GaitperfError:  # it was there when this run began
        return ""
    try:
        input_data(model, workload, resources.settings.data)
    except ConfigurationError as error:
        return first_line(error)
    return ""
