"""The results file of ``--gaitperf-json``, schema 1, as types: what ``results.py`` writes.

Nothing is read through these: readers take what they need (``export/results_file.py``). They make
the JSON Schema that other programs can check a file with, and a test holds real files against them,
key by key. Numbers are in the unit that the key names (``_s`` seconds, ``_j`` joules, ``_w`` watts,
``_c`` degrees Celsius, ``_us`` microseconds) or that stands beside them; times are UTC.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from pytest_gaitperf.verdict import State  # noqa: TC001 - msgspec asks for it


class Profile(msgspec.Struct):
    """The kind of device and power mode, which makes runs comparable.

    ``id`` is the folder of the baselines, ``fields`` are what it is made of, ``facts`` what else is
    known of the machine.
    """

    id: str
    fields: dict[str, str]
    facts: dict[str, str]


class Triton(msgspec.Struct):
    """The server, and how it was come by."""

    version: str
    mode: Literal["attach", "local", "docker"]
    url: str


class Power(msgspec.Struct):
    """The power meter.

    ``meter`` is its name, null where there is none, as ``absent`` says. ``idle_w`` are the watts
    before, between and after the sessions; ``idle_drift`` says that they are over 5 % apart.
    """

    meter: str | None
    description: str | None
    rails: list[str]
    total_rails: list[str]
    estimated: bool
    absent: str | None
    idle_w: list[float]
    idle_drift: str | None


class Environment(msgspec.Struct):
    """When, by what and on what the run was made.

    ``dirty``: tracked files differed from ``commit``; null where no git could be asked.
    ``load_average`` is over 1, 5 and 15 minutes at the end, ``temperatures_c`` by thermal zone.
    """

    time: str
    commit: str
    dirty: bool | None
    plugin: str
    pytest: str
    python: str
    triton: Triton | None
    power: Power
    load_average: tuple[float, float, float] | None
    temperatures_c: dict[str, float]


class Sessions(msgspec.Struct):
    """How often the cells were to be measured (``asked``), when each time began, what ended it."""

    asked: int
    began: list[str]
    cut_short: str | None


class Workload(msgspec.Struct):
    """How a cell was loaded.

    One of ``concurrency``, ``request_rate`` (per second), ``subjects`` and ``most_subjects`` says
    when requests were sent; the others are 0 or false. ``version`` is "" for the one that the
    server chose.
    """

    model: str
    version: str
    batch_size: int
    concurrency: int
    request_rate: float
    arrival: str
    subjects: int
    most_subjects: bool
    frame_rate: float
    deadline_s: float
    percentile: float
    protocol: str
    transport: str


class Metric(msgspec.Struct):
    """A value with its 95 % interval, null where too few data stand behind it for one."""

    unit: str
    value: float
    low: float | None
    high: float | None


class LatencyDistribution(msgspec.Struct):
    """How the requests' latencies were distributed.

    ``percentiles_s`` has the 101 percentiles from the least to the most. ``sd_outliers`` counts
    requests beyond one standard deviation from the mean, ``tukey_outliers`` those beyond 1.5
    interquartile ranges from the quartiles; ``tukey_low_s`` and ``tukey_high_s`` are the outermost
    of the others.
    """

    percentiles_s: list[float]
    sd_s: float
    sd_outliers: int
    tukey_outliers: int
    tukey_low_s: float
    tukey_high_s: float


class Course(msgspec.Struct):
    """How the cell went on: values of the stretches between the edges, null where there is none.

    ``edges_s`` count from the start of the measured span.
    """

    edges_s: list[float]
    throughput: list[float]
    latency_p50_s: list[float | None]


class PowerTrace(msgspec.Struct):
    """The power over the cell, as the mean of bins of equal width.

    Bin i begins at ``start_s + i * bin_s``, from the start of the measured span, whose edges are
    ``window_s``. ``watts`` has the bins of each rail. ``kind`` says what the meter's ``readings``
    in the span were: power, or an energy counter.
    """

    reduced_by: Literal["mean"]
    kind: Literal["power", "energy"]
    readings: int
    window_s: tuple[float, float]
    start_s: float
    bin_s: float
    watts: dict[str, list[float]]
    estimated: bool


class Probe(msgspec.Struct):
    """One load of a search, in subjects: ``late`` of ``requests`` missed the deadline."""

    subjects: float
    served: bool
    seconds: float
    requests: int
    late: int
    latency_s: float
    growing: bool
    measured: bool
    client_load: float


class Search(msgspec.Struct):
    """The most subjects that were served: whole people, and the ``capacity`` behind them."""

    served: int
    capacity: float
    settled: bool
    probes: list[Probe]


class Limit(msgspec.Struct):
    """A limit that was asked for, and whether the cell met it.

    ``sure``: the whole interval lies on that side. ``absent`` says why the metric has no value.
    """

    limit: str
    metric: str
    bound: float
    unit: str
    state: Literal["met", "violated", "unmeasured"]
    sure: bool
    absent: str | None


class Judgement(msgspec.Struct):
    """The gate's word on one metric.

    ``change`` is relative to ``baseline`` (0.05 is 5 %), with its interval ``low`` to ``high``;
    ``limit`` is the noise it was held against, ``depth`` where it was seen. ``sessions`` are those
    of the baseline, ``pairs`` those of a run in pairs. ``accepted``: a regression that was meant.
    """

    baseline: float | None
    now: float | None
    change: float | None
    low: float | None
    high: float | None
    limit: float | None
    reason: str
    sessions: int
    provisional: bool
    depth: Literal["run", "model", "cell"]
    pairs: int
    accepted: bool


class Measured(msgspec.Struct, kw_only=True):
    """What one session measured of a cell.

    ``absent`` says, by metric, why it has no value; ``invalid`` why nothing of this may be judged.
    ``requests`` completed in ``duration_s``, in ``windows`` of ``window_s``. ``time_split_s`` are
    seconds per request, ``rails_j`` the joules of each rail in ``duration_s``, ``energy_rails``
    those that make up the total. ``client_load`` is how busy the client was, in cores. ``behind``
    says that the server did not keep an open loop's rate.
    """

    metrics: dict[str, Metric] | UnsetType = UNSET
    absent: dict[str, str] | UnsetType = UNSET
    windows: int | UnsetType = UNSET
    window_s: float | UnsetType = UNSET
    duration_s: float | UnsetType = UNSET
    requests: int | UnsetType = UNSET
    latency_distribution: LatencyDistribution | UnsetType | None = UNSET
    failures: int | UnsetType = UNSET
    client_cpu_per_request_us: float | UnsetType = UNSET
    client_load: float | UnsetType = UNSET
    late_sends: int | UnsetType = UNSET
    data: str | UnsetType = UNSET
    time_split_s: dict[str, float] | UnsetType = UNSET
    course: Course | UnsetType | None = UNSET
    power_trace: PowerTrace | UnsetType | None = UNSET
    rails_j: dict[str, float] | UnsetType = UNSET
    energy_rails: list[str] | UnsetType = UNSET
    energy_is_estimated: bool | UnsetType = UNSET
    energy_relative_error: float | UnsetType | None = UNSET
    energy_note: str | UnsetType | None = UNSET
    energy_above_idle_per_inference_j: float | UnsetType | None = UNSET
    notes: list[str] | UnsetType = UNSET
    behind: str | UnsetType | None = UNSET
    invalid: str | UnsetType | None = UNSET
    search: Search | UnsetType = UNSET


class FurtherSession(Measured, kw_only=True):
    """What a later session of the run measured of a cell; ``session`` counts from 2."""

    session: int


class Cell(Measured, kw_only=True):
    """One cell: how it was loaded, what was measured and what the gate says.

    Where it could not be measured there are ``id``, ``workload`` and ``error`` alone.
    ``model_change`` names what changed of the model's files since the baseline. ``verdicts`` and
    ``judgements`` are by metric.
    """

    id: str
    workload: Workload
    error: str | UnsetType = UNSET
    further_sessions: list[FurtherSession] | UnsetType = UNSET
    model_change: str | UnsetType | None = UNSET
    limits: list[Limit] | UnsetType = UNSET
    verdicts: dict[str, State] | UnsetType = UNSET
    judgements: dict[str, Judgement] | UnsetType = UNSET


class Frontier(msgspec.Struct):
    """The cells that no other is sure to beat, by id.

    ``compared`` counts all, ``left_out`` says why some were not; ``best`` names those with the most
    throughput and the least energy under ``latency_bound``.
    """

    objectives: list[str]
    cells: list[str]
    compared: int
    left_out: dict[str, str]
    accuracy: dict[str, float]
    latency_bound: str | None
    best: dict[str, str | None]


class Finding(msgspec.Struct):
    """A model, or with ``model`` null the whole run, that moved beyond what sessions do."""

    depth: Literal["run", "model", "cell"]
    model: str | None
    metric: str
    worse: bool
    change: float | None
    limit: float | None
    sessions: int
    text: str


class Results(msgspec.Struct):
    """A whole file.

    ``against`` says what the run was compared with in place of baselines. ``full_run``: every cell
    of the suite was measured, so that ``orphans`` (recorded cells by model) are measured no longer.
    """

    schema: Literal[1]
    profile: Profile
    against: str | None
    environment: Environment
    full_run: bool
    orphans: dict[str, list[str]]
    sessions: Sessions
    cells: list[Cell]
    frontier: Frontier | None
    findings: list[Finding]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a results file; unknown keys are allowed."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | msgspec.json.schema(Results)
