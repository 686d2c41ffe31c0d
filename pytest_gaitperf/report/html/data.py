"""What a page tells of: runs as their results files have them, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec asks for it
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.export.results_file import converted, located, read_content
from pytest_gaitperf.metrics import METRICS, quantity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pytest_gaitperf.baseline.store import CellBaseline


# The structs are those of the results file (report/results.py), in the same units. What a later
# version adds is left alone, and what an earlier one did not write is as if it had found nothing.


class Load(msgspec.Struct, frozen=True):
    """How a cell was loaded."""

    model: str
    batch_size: int
    version: str = ""
    concurrency: int = 0
    request_rate: float = 0.0
    arrival: str = ""
    subjects: int = 0
    most_subjects: bool = False
    frame_rate: float = 0.0
    protocol: str = ""
    transport: str = ""


class Estimate(msgspec.Struct, frozen=True):
    """A value with its interval, in the unit of its metric."""

    value: float
    low: float | None = None
    high: float | None = None


class Latencies(msgspec.Struct, frozen=True):
    """How the latencies of the requests were distributed, in seconds."""

    percentiles_s: tuple[float, ...]
    tukey_low_s: float = 0.0
    tukey_high_s: float = 0.0
    tukey_outliers: int = 0


class PowerTrace(msgspec.Struct, frozen=True):
    """Mean power of bins, as in ``power.course``: ``watts`` by rail, times in seconds."""

    start_s: float
    bin_s: float
    window_s: tuple[float, float]
    watts: dict[str, list[float]]
    readings: int = 0
    kind: str = "power"


class Course(msgspec.Struct, frozen=True):
    """Throughput and latency of parts of the measured span, as in ``course``."""

    edges_s: list[float]
    throughput: list[float]
    latency_p50_s: list[float | None]


class Judgement(msgspec.Struct, frozen=True):
    """The verdict on one metric, its numbers as in ``verdict.Verdict``."""

    reason: str = ""
    baseline: float | None = None
    now: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    sessions: int = 0
    provisional: bool = False
    depth: str = "cell"
    pairs: int = 0
    accepted: bool = False


class LimitCheck(msgspec.Struct, frozen=True):
    """What became of one required limit: met, broken or unmeasured."""

    limit: str
    metric: str
    state: str
    sure: bool = True
    absent: str | None = None


class Measured(msgspec.Struct, frozen=True):
    """What was measured of a cell in one session."""

    metrics: dict[str, Estimate] = {}
    absent: dict[str, str] = {}
    windows: int = 0
    window_s: float = 0.0
    duration_s: float = 0.0
    requests: int = 0
    latency_distribution: Latencies | None = None
    failures: int = 0
    client_cpu_per_request_us: float | None = None
    client_load: float | None = None
    data: str = ""
    time_split_s: dict[str, float] = {}
    course: Course | None = None
    power_trace: PowerTrace | None = None
    rails_j: dict[str, float] = {}
    energy_rails: list[str] = []
    energy_is_estimated: bool = False
    energy_note: str | None = None
    energy_above_idle_per_inference_j: float | None = None
    notes: list[str] = []
    behind: str | None = None
    invalid: str | None = None

    def title(self, metric: str) -> str:
        """Return a metric's name as people read it; of an estimate, it says so."""
        return METRICS[metric].title + (" (estimate)" if self.estimated(metric) else "")

    def estimated(self, metric: str) -> bool:
        """Return whether a metric comes from no power sensor, but from a guess."""
        return self.energy_is_estimated and quantity_of(metric) == "energy"


class Cell(Measured, frozen=True, kw_only=True):
    """A cell: what was measured first, what was found, and the run's further sessions."""

    id: str
    workload: Load
    error: str | None = None
    model_change: str | None = None
    limits: list[LimitCheck] = []
    verdicts: dict[str, str] = {}
    judgements: dict[str, Judgement] = {}
    further_sessions: list[Measured] = []

    @property
    def unmeasured(self) -> str | None:
        """Why there is nothing that may be judged, None where there is."""
        return self.error or self.invalid

    @property
    def key(self) -> str:
        """The cell's name within its model, such as b8-c4."""
        return self.id.removeprefix(f"{self.workload.model}-")


class Profile(msgspec.Struct, frozen=True):
    """The kind of device: what separates it from others, and what else is known of it."""

    id: str
    fields: dict[str, str] = {}
    facts: dict[str, str] = {}


class Triton(msgspec.Struct, frozen=True):
    """The server."""

    version: str
    mode: str = ""
    url: str = ""


class Power(msgspec.Struct, frozen=True):
    """The power meter, or why there was none; ``idle_w`` was measured before and after."""

    meter: str | None = None
    description: str | None = None
    rails: list[str] = []
    total_rails: list[str] = []
    estimated: bool = False
    absent: str | None = None
    idle_w: list[dict[str, float]] = []
    idle_drift: str | None = None


class Environment(msgspec.Struct, frozen=True):
    """Where and when a run was; ``time`` is UTC ISO 8601."""

    time: str
    commit: str = ""
    dirty: bool | None = None
    plugin: str = ""
    pytest: str = ""
    python: str = ""
    triton: Triton | None = None
    power: Power = msgspec.field(default_factory=Power)
    load_average: list[float] | None = None
    temperatures_c: dict[str, float] = {}


class Sessions(msgspec.Struct, frozen=True):
    """The run's sessions: when each began, UTC ISO 8601."""

    began: list[str] = []


class Finding(msgspec.Struct, frozen=True):
    """Something that a model's cells, or all of them, have in common."""

    text: str
    depth: str = ""
    model: str | None = None
    metric: str = ""
    worse: bool = False
    change: float | None = None
    limit: float | None = None
    sessions: int = 0


class Frontier(msgspec.Struct, frozen=True):
    """The cells that no other beats in every objective, by id, and those not compared."""

    objectives: list[str] = []
    cells: list[str] = []
    compared: int = 0
    left_out: dict[str, str] = {}
    accuracy: dict[str, float] = {}
    latency_bound: str | None = None


class Run(msgspec.Struct, frozen=True):
    """One run: a results file."""

    schema: int
    profile: Profile
    environment: Environment
    cells: list[Cell]
    against: str | None = None
    full_run: bool = True
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    orphans: dict[str, list[str]] = {}
    frontier: Frontier | None = None
    findings: list[Finding] = []


@dataclass(frozen=True, slots=True)
class ReportData:
    """The runs of one profile, oldest first, at least one; its baselines by cell id, if given.

    The page tells of the newest run. The ones before it are its history: ``history`` has, by cell
    id and oldest first, what each run measured that may be judged, the newest among them.
    """

    runs: Sequence[Run]
    baselines: Mapping[str, CellBaseline] = field(default_factory=dict)
    history: Mapping[str, Sequence[tuple[Run, Cell]]] = field(init=False)

    def __post_init__(self) -> None:
        """Gather the history once: it is asked for by cell."""
        history: dict[str, list[tuple[Run, Cell]]] = {}
        for run in self.runs:
            for cell in run.cells:
                if cell.unmeasured is None:
                    history.setdefault(cell.id, []).append((run, cell))
        object.__setattr__(self, "history", history)

    @property
    def run(self) -> Run:
        """The newest run."""
        return self.runs[-1]

    @property
    def estimated(self) -> bool:
        """Whether energy in the newest run is an estimate in any cell."""
        return any(cell.energy_is_estimated for cell in self.run.cells)

    def before(self, cell_id: str) -> Cell | None:
        """Return the cell in the last run before the newest that could measure it."""
        past = [cell for run, cell in self.history.get(cell_id, ()) if run is not self.run]
        return past[-1] if past else None


def run_of(document: object) -> Run:
    """Return the run that the content of a results file tells of.

    Raises ConfigurationError, with the place, for what is not of the results' schema.
    """
    return converted(document, Run)


def read_runs(paths: Iterable[Path]) -> tuple[Run, ...]:
    """Read results files, oldest first; a run that is given twice counts once.

    Raises ConfigurationError for a file that is none, and where they are of several profiles.
    """
    found: list[Run] = []
    for path in paths:
        try:
            run = run_of(read_content(path))
        except ConfigurationError as error:
            raise located(error, path) from None
        if run not in found:
            found.append(run)
    profiles = sorted({run.profile.id for run in found})
    if len(profiles) > 1:
        raise ConfigurationError(
            f"the results are of different kinds of device ({', '.join(profiles)}), which are "
            "never compared: make a page of each by itself"
        )
    return tuple(sorted(found, key=lambda run: run.environment.time))
