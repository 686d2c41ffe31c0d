"""What one session measured of one cell, as it is stored, shown and judged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from pytest_gaitperf.accuracy import Accuracy
from pytest_gaitperf.metrics import METRICS, QUANTITIES, Estimate, of_energy
from pytest_gaitperf.text import brief, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.workload import Workload


FEWEST_OF_P99 = 100
"""Of how many requests a p99 is said at least: without an interval, and not gated by itself."""


class Distribution(msgspec.Struct, frozen=True):
    """A sample of latencies in seconds, summed up.

    ``percentiles_s`` has the 101 percentiles from 0 (the least) to 100 (the most). ``sd_outliers``
    counts the requests beyond one standard deviation from the mean; ``tukey_outliers`` those
    beyond 1.5 interquartile ranges from the quartiles, ``tukey_low_s`` and ``tukey_high_s`` are
    the outermost of the others (J. W. Tukey, "Exploratory Data Analysis", 1977).
    """

    percentiles_s: tuple[float, ...]
    sd_s: float
    sd_outliers: int
    tukey_outliers: int
    tukey_low_s: float
    tukey_high_s: float

    @property
    def quartiles_s(self) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile."""
        return self.percentiles_s[25], self.percentiles_s[50], self.percentiles_s[75]


class Timeline(msgspec.Struct, frozen=True):
    """Throughput and median latency over the measured span, in up to 60 parts of it.

    Part i reaches from ``edges_s[i]`` to ``edges_s[i + 1]``, in seconds from the start of the span.
    ``throughput`` is in inferences/s, ``latency_p50_s`` None where no request was completed.
    """

    edges_s: tuple[float, ...]
    throughput: tuple[float, ...]
    latency_p50_s: tuple[float | None, ...]


class PowerTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """Mean power per bin of equal width, from before the measured span to after it.

    Bin i reaches from ``start_s + i * bin_s`` to one ``bin_s`` later, in seconds from the start of
    the measured span, whose two edges, 0 and ``span_s``, are edges of bins. ``watts`` has the bins
    of each rail: over the span, their sum times ``bin_s`` is the rail's joules. ``readings`` counts
    the meter's readings in the span, ``kind`` says what was read: power, or an energy counter.
    """

    start_s: float
    bin_s: float
    span_s: float
    watts: dict[str, tuple[float, ...]]
    readings: int = 0
    kind: Literal["power", "energy"] = "power"


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What others did to the CPUs of client and server while a cell was measured.

    Of its ``windows`` so many were ``disturbed``, and are not part of the measurement where enough
    others were there. ``others`` is how many of the ``cpus`` other processes used in the median
    window, ``others_most`` in the worst, None where that cannot be told. ``waited`` is the share of
    the time in which threads of client and server were ready to run that they waited for a CPU;
    they wait for each other too. ``stolen`` is how many CPUs the hypervisor took, ``pressure`` the
    share of the time in which any task waited (PSI); means, None where they cannot be read.
    ``culprits`` names who used most, ``unread`` what could not be read.
    """

    cpus: int
    windows: int = 0
    disturbed: int = 0
    others: float | None = None
    others_most: float | None = None
    waited: float | None = None
    stolen: float | None = None
    pressure: float | None = None
    culprits: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


class Utilisation(msgspec.Struct, frozen=True, kw_only=True):
    """How busy the machine was while a cell was measured, from ``looks`` once a second.

    ``cpus`` and ``gpus`` are busy shares (of 1) by CPU number and GPU, of everything that ran
    there. ``memory_bytes`` is what is not available of the machine's memory, which a Jetson's GPU
    shares; ``gpu_memory_bytes`` what is used of a GPU's own; ``clocks_hz`` by CPU and GPU: means.
    ``temperatures_c`` are the highest seen, by zone and GPU. What cannot be read is left out.
    """

    looks: int
    cpus: dict[str, float] = {}
    gpus: dict[str, float] = {}
    memory_bytes: float | None = None
    gpu_memory_bytes: dict[str, float] = {}
    clocks_hz: dict[str, float] = {}
    temperatures_c: dict[str, float] = {}

    @property
    def busy_cpus(self) -> float | None:
        """How many CPUs were busy, None where that is not known."""
        return math.fsum(self.cpus.values()) if self.cpus else None

    @property
    def busiest_gpu(self) -> float | None:
        """The busy share of the GPU that was busy most."""
        return max(self.gpus.values(), default=None)

    @property
    def slowest_hz(self) -> float | None:
        """The lowest clock of all CPUs and GPUs."""
        return min(self.clocks_hz.values(), default=None)

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature of all zones and GPUs."""
        return max(self.temperatures_c.values(), default=None)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one load during the search for the most subjects.

    ``late`` of ``requests`` missed the deadline, in ``seconds`` of load; ``latency_s`` is the
    percentile's, of those that were answered. ``growing``: the latency grew with the time.
    ``measured``: this load was kept up as a measurement. ``client_load`` is in cores.
    """

    subjects: float
    served: bool
    seconds: float
    requests: int
    late: int
    latency_s: float
    growing: bool = False
    measured: bool = False
    client_load: float = 0.0

    @property
    def text(self) -> str:
        """What was seen, in words."""
        seen = f"{self.late} of {self.requests} requests late"
        return seen + (", and the backlog grew" if self.growing else "")


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the search for the most subjects, or for the highest rate, found.

    ``subjects`` is the load up to which the server is in time at three looks in four; below 1 not
    even one subject is served. ``low`` and ``high`` are its 95 % interval; ``high`` is None where
    no load was too much. ``too_much`` is a trial above it that failed. ``at`` is the load that was
    measured, a little below; 0 where none was. ``settled``: it was measured, and the interval is as
    narrow as was asked for. ``unit`` is what was counted: a subject of a search for a rate is an
    inference a second.
    """

    subjects: float
    low: float
    high: float | None
    settled: bool
    trials: tuple[Trial, ...] = ()
    too_much: Trial | None = None
    at: float = 0.0
    unit: Literal["subjects", "inf/s"] = "subjects"

    @property
    def text(self) -> str:
        """The answer in words: whole subjects, and the capacity behind them; or the rate."""
        high = math.inf if self.high is None else self.high
        if self.unit == "inf/s":
            return f"{self.subjects:.4g} inf/s in time ({self.low:.4g} .. {high:.4g})"
        served = count(math.floor(self.subjects), "subject")
        return f"{served} (capacity {self.subjects:.3g}, {self.low:.3g} .. {high:.3g})"

    def lines(self, percentile: float) -> list[str]:
        """Say what was measured, and what broke above it: one line each."""
        best = [trial for trial in self.trials if trial.subjects == self.at][-1:]
        shown = [*best, self.too_much] if self.too_much is not None else best
        return [
            f"{brief(trial.subjects)} {self.unit} {'served' if trial.served else 'not served'}: "
            f"p{percentile:.12g} {trial.latency_s * 1e3:.3g} ms, {trial.text}"
            for trial in shown
        ] or ["nothing is in time: one request at a time is already too slow"]


class Sustained(msgspec.Struct, frozen=True, kw_only=True):
    """How a load went that was kept up for a long time, in up to 60 parts of it.

    Part i reaches from ``edges_s[i]`` to ``edges_s[i + 1]``, in seconds from the start; ``asked_s``
    is how long it was to be. ``throughput`` is in inferences/s, latencies are None where no request
    was completed. ``watts`` is the mean power of the total, ``temperature_c`` the highest of all
    zones and GPUs, ``clock_hz`` the mean of the slowest CPU or GPU; None where there is none to
    read. ``disturbed`` parts are those in which others took too much of the machine, ``throttled``
    those in which the device held itself back: first ``throttled_after_s`` after the start, by
    ``throttled_by``. ``requests`` counts those of the last fifth's undisturbed parts. ``ended``
    says why the load ended before its time, "" where it did not.
    """

    asked_s: float
    edges_s: tuple[float, ...]
    throughput: tuple[float, ...]
    latency_p50_s: tuple[float | None, ...]
    latency_p99_s: tuple[float | None, ...]
    watts: tuple[float | None, ...]
    temperature_c: tuple[float | None, ...]
    clock_hz: tuple[float | None, ...]
    disturbed: tuple[bool, ...]
    throttled: tuple[bool, ...]
    throttled_after_s: float | None = None
    throttled_by: str = ""
    requests: int = 0
    ended: str = ""


class SessionValue(msgspec.Struct, frozen=True):
    """One metric of one cell in one session: ``value`` is in the metric's unit.

    It is that of all ``lives`` of the model's processes together. ``spread`` is the SD of the logs
    of the lives' own values (dimensionless), None or NaN where it is unknown, as of a single life.
    """

    value: float
    spread: float | None = None
    lives: int = 1


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a neighbour did in the windows of a cell, the same that count for the cell.

    ``name`` is the model's, ``name@version`` where one was asked for. ``kept`` of the
    ``request_rate`` asked for (requests/s) were completed. The latencies (seconds) count from the
    scheduled time; ``latency_p99`` is None of fewer than 100 requests. ``behind`` says that the
    server did not keep the rate. ``failures`` and ``late_sends`` are those of the whole load.
    """

    name: str
    request_rate: float
    kept: float
    requests: int
    latency_p50: Estimate | None = None
    latency_p99: Estimate | None = None
    behind: str | None = None
    failures: int = 0
    late_sends: int = 0


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What one session measured of a cell.

    ``metrics`` holds an Estimate for each metric of ``METRICS`` that could be measured; ``absent``
    says for the others, by name, why not. ``lives`` counts the lives of the model's processes
    that it was measured in; ``spread`` is, by metric, the standard deviation of the logs of their
    values (dimensionless), absent with a single life.
    ``invalid`` is the reason why nothing of this may be judged or recorded, None where it may.

    ``requests`` completed in ``duration_s``, in ``windows`` of ``window_s``, with ``inferences``
    in all. ``failures`` counts failed requests, ``late_sends`` those of an open loop that were sent
    too late, ``send_error_p99_s`` is the 99th percentile of how late they were, seconds, None for a
    closed one. ``client_load`` is how busy the client was, in cores. ``data`` says what the
    requests carried. ``time_split_s`` has seconds per request, in the order of time: schedule (open
    loop: how late it was sent), client_send, network (the rest of the mean latency), queue,
    compute_input, compute_infer, compute_output, server_other (the server's, and none of these),
    client_receive; or server in place of the server's parts, where they cannot be told apart.

    ``rails_j`` has the joules of each rail in ``duration_s``, ``energy_rails`` those that make up
    the total. ``energy_estimated``: they come from no sensor. ``energy_failed`` tells a meter that
    did not do its work from a machine without one. ``energy_error`` is the relative standard error
    that the meter leaves, ``energy_note`` what to do where it is large.

    ``behind`` says that the server did not keep an open loop's rate. ``capacity`` is that of a
    search for the most subjects. A paired run has neither ``timeline`` nor ``power``.
    ``surroundings`` is what others did meanwhile, None where that was not watched.
    ``utilisation`` is how busy the machine was, None in a paired run. ``loads`` are the largest
    that a model by itself was under: its memory is at the peak of these; ``accuracy`` is how it
    answered, None where nothing says how it should. ``sustained`` is how a load went that was kept
    up, in place of ``latencies``, ``timeline`` and ``power``. ``neighbours`` are in the order of
    the workload's.
    """

    metrics: dict[str, Estimate]
    absent: dict[str, str] = {}
    spread: dict[str, float] = {}
    lives: int = 1
    invalid: str | None = None
    windows: int = 0
    window_s: float = 0.0
    duration_s: float = 0.0
    requests: int = 0
    inferences: float = 0.0
    failures: int = 0
    late_sends: int = 0
    send_error_p99_s: float | None = None
    client_cpu_per_request_us: float = 0.0
    client_load: float = 0.0
    data: str = ""
    time_split_s: dict[str, float] = {}
    rails_j: dict[str, float] = {}
    energy_rails: tuple[str, ...] = ()
    energy_estimated: bool = False
    energy_failed: bool = False
    energy_error: float | None = None
    energy_note: str | None = None
    energy_above_idle_per_inference_j: float | None = None
    behind: str | None = None
    notes: tuple[str, ...] = ()
    latencies: Distribution | None = None
    timeline: Timeline | None = None
    power: PowerTimeline | None = None
    capacity: Capacity | None = None
    surroundings: Surroundings | None = None
    utilisation: Utilisation | None = None
    loads: tuple[str, ...] = ()
    sustained: Sustained | None = None
    accuracy: Accuracy | None = None
    neighbours: tuple[Kept, ...] = ()

    @property
    def kept_behind(self) -> str | None:
        """Which load the server did not keep up with, the cell's or a neighbour's; None: none."""
        slow = [one for one in self.neighbours if one.behind is not None]
        return self.behind or next((f"neighbour {one.name} {one.behind}" for one in slow), None)

    def tails(self, workload: Workload) -> Iterator[tuple[Workload, Estimate | None, int]]:
        """Yield the p99, None of too few requests, and the requests of each load of a mix.

        The first is the cell's own. It is said of fewer requests than its gate needs, without an
        interval then.
        """
        own = self.metrics.get("latency_p99")
        if own is None and self.latencies is not None and self.requests >= FEWEST_OF_P99:
            own = Estimate(METRICS["latency_p99"].unit, self.latencies.percentiles_s[99])
        yield workload, own, self.requests
        for load, kept in zip(workload.beside, self.neighbours, strict=True):
            yield load, kept.latency_p99, kept.requests

    def late(self, workload: Workload) -> str:
        """Say which loads of a mix were late, or may have been: "all in time" where none was."""
        behind = {one.name: one for one in self.neighbours if one.behind is not None}
        said, unknown = [], []
        for load, p99, requests in self.tails(workload):
            if (kept := behind.get(load.name)) is not None:
                rates = f"{brief(kept.kept)} of {brief(kept.request_rate)}"
                said.append(f"{load.name} ({rates} requests/s)")
            elif p99 is not None and 0 < load.deadline_s < p99.value:
                p99_ms, asked_ms = p99.value * 1e3, load.deadline_s * 1e3
                said.append(f"{load.name} (p99 {p99_ms:.3g} ms, {asked_ms:g} ms asked)")
            elif load.deadline_s and p99 is None:
                unknown.append(f"{load.name} ({requests} of {FEWEST_OF_P99} requests)")
        if said:
            return f"late: {', '.join(said)}"
        return f"too few to tell: {', '.join(unknown)}" if unknown else "all in time"

    def estimates(self, metric: str) -> bool:
        """Return whether a metric comes from no power sensor, but from an estimate."""
        return self.energy_estimated and of_energy(metric)

    def first_of(self, quantity: str) -> str:
        """Return the metric without which a quantity has no value; of answers, either will do."""
        first, *others = QUANTITIES[quantity]
        known = [name for name in others if name in self.metrics]
        either = quantity == "accuracy" and first not in self.metrics
        return known[0] if either and known else first

    def failed(self, quantity: str) -> str:
        """Say why a quantity has no value where it should, "" where it need not have one."""
        if quantity == "energy" and self.energy_failed:
            return self.absent.get("energy_per_inference", "the meter failed")
        return self.accuracy.failed if quantity == "accuracy" and self.accuracy else ""

    def wrong(self, metric: str) -> str:
        """Say what is wrong with a metric, whatever any baseline says, "" where nothing is."""
        return self.accuracy.spoilt if metric == "output_error" and self.accuracy else ""

    def why_absent(self, metric: str) -> str:
        """Say why a metric has no value."""
        why = "it was not measured"
        if metric in QUANTITIES["accuracy"]:
            what = "labels" if metric == "label_accuracy" else "reference"
            why = f"the grid's table [accuracy] gives no {what} for it"
        return self.absent.get(metric, why)

    def title(self, metric: str) -> str:
        """Return a metric's name as people read it; of an estimate, it says so."""
        return METRICS[metric].title + (" (estimate)" if self.estimates(metric) else "")
