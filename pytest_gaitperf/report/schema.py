"""The results file of ``--gaitperf-json``, schema 1, as types.

``results.py`` writes through them, ``reading.py`` reads through them, and they make the JSON Schema
that other programs can check a file with. What is written has every key, but for ``SOMETIMES``; in
reading, a key with a default may be missing, and what a later version adds is left alone. Numbers
are in the unit that the key names (``_s`` seconds, ``_j`` joules, ``_w`` watts, ``_c`` degrees
Celsius, ``_us`` microseconds) or that stands beside them; times are UTC.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from pytest_gaitperf.gate.scopes import Depth
from pytest_gaitperf.measure.capacity.search import Probe
from pytest_gaitperf.measurement import Distribution
from pytest_gaitperf.metrics import METRICS, Estimate, quantity_of
from pytest_gaitperf.power.sensor import Kind
from pytest_gaitperf.results import LimitState, VerdictKind

SCHEMA: Final = 1
FLEET = "fleet-1"
"""The schema of a fleet's index, which names the results file of each board."""
SOMETIMES = frozenset({"board", "error", "search"})
"""The keys that are written only where there is something to tell."""


def _words(*words: str) -> msgspec.Meta:
    """Say which words are written; in reading any is taken, since a later version may have more."""
    return msgspec.Meta(extra_json_schema={"enum": list(words)})


ServerMode = Annotated[str, _words("attach", "local", "docker")]
VerdictState = Annotated[str, _words(*VerdictKind)]
LimitWord = Annotated[str, _words(*LimitState)]
DepthWord = Annotated[str, _words(*get_args(Depth))]


class Profile(msgspec.Struct, frozen=True):
    """The kind of device and power mode, which makes runs comparable.

    ``id`` is the folder of the baselines, ``fields`` are what it is made of, ``facts`` what else is
    known of the machine.
    """

    id: str
    fields: dict[str, str] = {}
    facts: dict[str, str] = {}


class Triton(msgspec.Struct, frozen=True):
    """The server, and how it was come by."""

    version: str
    mode: ServerMode = ""
    url: str = ""


class Power(msgspec.Struct, frozen=True):
    """The power meter.

    ``meter`` is its name, null where there is none, as ``absent`` says. ``idle_w`` are the watts
    of each rail before, between and after the sessions; ``idle_drift`` says
    that one is over 5 % from the first.
    """

    meter: str | None = None
    description: str | None = None
    rails: list[str] = []
    total_rails: list[str] = []
    estimated: bool = False
    absent: str | None = None
    idle_w: list[dict[str, float]] = []
    idle_drift: str | None = None


class Environment(msgspec.Struct, frozen=True):
    """When, by what and on what the run was made.

    ``dirty``: tracked files differed from ``commit``; null where no git could be asked.
    ``load_average`` is over 1, 5 and 15 minutes at the end, ``temperatures_c`` by thermal zone.
    """

    time: str
    commit: str = ""
    dirty: bool | None = None
    plugin: str = ""
    pytest: str = ""
    python: str = ""
    triton: Triton | None = None
    power: Power = msgspec.field(default_factory=Power)
    load_average: tuple[float, float, float] | None = None
    temperatures_c: dict[str, float] = {}


class Sessions(msgspec.Struct, frozen=True):
    """How often the cells were to be measured (``asked``), when each time began, what ended it."""

    asked: int = 0
    began: list[str] = []
    cut_short: str | None = None


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """How a cell was loaded.

    One of ``concurrency``, ``request_rate`` (per second), ``subjects`` and ``most_subjects`` says
    when requests were sent; the others are 0 or false. ``version`` is "" for the one that the
    server chose.
    """

    model: str
    version: str = ""
    batch_size: int
    concurrency: int = 0
    request_rate: float = 0.0
    arrival: str = ""
    subjects: int = 0
    most_subjects: bool = False
    frame_rate: float = 0.0
    deadline_s: float = 0.0
    percentile: float = 0.0
    protocol: str = ""
    transport: str = ""


class PowerTrace(msgspec.Struct, frozen=True, kw_only=True):
    """The power over the cell, as the mean of bins of equal width.

    Bin i begins at ``start_s + i * bin_s``, from the start of the measured span, whose edges are
    ``window_s``. ``watts`` has the bins of each rail. ``kind`` says what the meter's ``readings``
    in the span were: power, or an energy counter.
    """

    reduced_by: Literal["mean"] = "mean"
    kind: Kind = "power"
    readings: int = 0
    window_s: tuple[float, float]
    start_s: float
    bin_s: float
    watts: dict[str, list[float]]
    estimated: bool = False


class Search(msgspec.Struct, frozen=True):
    """The most subjects that were served: whole people, and the ``capacity`` behind them."""

    served: int
    capacity: float
    settled: bool
    probes: list[Probe] = []


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that was asked for, and whether the cell met it.

    ``sure``: the whole interval lies on that side. ``absent`` says why the metric has no value.
    """

    limit: str
    metric: str
    bound: float = 0.0
    unit: str = ""
    state: LimitWord
    sure: bool = True
    absent: str | None = None


class Judgement(msgspec.Struct, frozen=True):
    """The gate's word on one metric.

    ``change`` is relative to ``baseline`` (0.05 is 5 %), with its interval ``low`` to ``high``;
    ``limit`` is the noise it was held against, ``depth`` where it was seen. ``sessions`` are those
    of the baseline, ``pairs`` those of a run in pairs. ``accepted``: a regression that was meant.
    """

    baseline: float | None = None
    now: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    reason: str = ""
    sessions: int = 0
    provisional: bool = False
    depth: DepthWord = "cell"
    pairs: int = 0
    accepted: bool = False


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one session measured of a cell.

    ``absent`` says, by metric, why it has no value; ``invalid`` why nothing of this may be judged.
    ``requests`` completed in ``duration_s``, in ``windows`` of ``window_s``. ``time_split_s`` are
    seconds per request, ``rails_j`` the joules of each rail in ``duration_s``, ``energy_rails``
    those that make up the total. ``client_load`` is how busy the client was, in cores. ``behind``
    says that the server did not keep an open loop's rate.
    """

    metrics: dict[str, Estimate] = {}
    absent: dict[str, str] = {}
    windows: int = 0
    window_s: float = 0.0
    duration_s: float = 0.0
    requests: int = 0
    latency_distribution: Distribution | None = None
    failures: int = 0
    client_cpu_per_request_us: float | None = None
    client_load: float | None = None
    late_sends: int = 0
    data: str = ""
    time_split_s: dict[str, float] = {}
    course: Course | None = None
    power_trace: PowerTrace | None = None
    rails_j: dict[str, float] = {}
    energy_rails: list[str] = []
    energy_is_estimated: bool = False
    energy_relative_error: float | None = None
    energy_note: str | None = None
    energy_above_idle_per_inference_j: float | None = None
    notes: list[str] = []
    behind: str | None = None
    invalid: str | None = None
    search: Search | None = None

    def title(self, metric: str) -> str:
        """Return a metric's name as people read it; of an estimate, it says so."""
        return METRICS[metric].title + (" (estimate)" if self.estimated(metric) else "")

    def estimated(self, metric: str) -> bool:
        """Return whether a metric comes from no power sensor, but from a guess."""
        return self.energy_is_estimated and quantity_of(metric) == "energy"


class FurtherSession(Measured, frozen=True, kw_only=True):
    """What a later session of the run measured of a cell; ``session`` counts from 2."""

    session: int


class Cell(Measured, frozen=True, kw_only=True):
    """One cell: how it was loaded, what was measured and what the gate says.

    Where it could not be measured there are ``id``, ``workload`` and ``error`` alone.
    ``model_change`` names what changed of the model's files since the baseline, ``recorded`` counts
    the sessions that the baseline got. ``verdicts`` and
    ``judgements`` are by metric.
    """

    id: str
    workload: Workload
    error: str | None = None
    further_sessions: list[FurtherSession] = []
    model_change: str | None = None
    recorded: int = 0
    limits: list[Limit] = []
    verdicts: dict[str, VerdictState] = {}
    judgements: dict[str, Judgement] = {}

    @property
    def unmeasured(self) -> str | None:
        """Why there is nothing that may be judged, None where there is."""
        return self.error or self.invalid

    @property
    def key(self) -> str:
        """The cell's name within its model, such as b8-c4."""
        return self.id.removeprefix(f"{self.workload.model}-")


class Frontier(msgspec.Struct, frozen=True):
    """The cells that no other is sure to beat, by id.

    ``compared`` counts all, ``left_out`` says why some were not; ``best`` names those with the most
    throughput and the least energy under ``latency_bound``.
    """

    objectives: list[str] = []
    cells: list[str] = []
    compared: int = 0
    left_out: dict[str, str] = {}
    accuracy: dict[str, float] = {}
    latency_bound: str | None = None
    best: dict[str, str | None] = {}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A model, or with ``model`` null the whole run, that moved beyond what sessions do."""

    depth: DepthWord = "run"
    model: str | None = None
    metric: str = ""
    worse: bool = False
    change: float | None = None
    limit: float | None = None
    sessions: int = 0
    text: str


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file.

    ``against`` says what the run was compared with in place of baselines. ``full_run``: every cell
    of the suite was measured, so that ``orphans`` (recorded cells by model) are measured no longer.
    ``board`` is the name in a fleet.
    """

    schema: Literal[1]
    profile: Profile
    against: str | None = None
    environment: Environment
    full_run: bool = True
    orphans: dict[str, list[str]] = {}
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    cells: list[Cell]
    frontier: Frontier | None = None
    findings: list[Finding] = []
    board: str | None = None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file as it is written; unknown keys are allowed."""
    schema = msgspec.json.schema(Results)
    for name, kind in schema["$defs"].items():
        if "properties" in kind:
            written = ("id", "workload") if name == "Cell" else kind["properties"]
            kind["required"] = [key for key in written if key not in SOMETIMES]
            for key in kind["properties"].values():
                key.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
