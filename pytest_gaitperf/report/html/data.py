"""What a page is made of: its runs and baselines, figures with their tables, short numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.metrics import METRICS, of_energy
from pytest_gaitperf.report.text import known
from pytest_gaitperf.text import count, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.results import Cell, Run
    from pytest_gaitperf.workload import Workload

THROUGHPUT, LATENCY, ENERGY = "throughput", "latency_p50", "energy_per_inference"

_MANY_CELLS = 100
_LONGEST_NAME = 30


@dataclass(frozen=True, slots=True)
class ReportData:
    """The runs of one profile, oldest first, at least one; its baselines by cell id, if given.

    The page is about the newest run. The ones before it are its history: ``history`` has, by cell
    id and oldest first, what each run measured that may be judged, the newest among them.
    ``estimated``: some energy of the newest run is an estimate.
    """

    runs: Sequence[Run]
    baselines: Mapping[str, CellBaseline] = field(default_factory=dict)
    history: Mapping[str, Sequence[tuple[Run, Measurement]]] = field(init=False)
    estimated: bool = field(init=False)

    def __post_init__(self) -> None:
        """Gather the history once: it is asked for by cell."""
        object.__setattr__(self, "runs", tuple(map(known, self.runs)))
        history: dict[str, list[tuple[Run, Measurement]]] = {}
        for run in self.runs:
            for cell in run.cells:
                if cell.measurement is not None and cell.unmeasured is None:
                    history.setdefault(cell.id, []).append((run, cell.measurement))
        object.__setattr__(self, "history", history)

        estimated = any(found.energy_estimated for _, found in self.measured)
        object.__setattr__(self, "estimated", estimated)

    @property
    def run(self) -> Run:
        """The newest run."""
        return self.runs[-1]

    @property
    def many(self) -> bool:
        """Whether there are so many cells that each has to be shown with fewer points."""
        return len(self.run.cells) > _MANY_CELLS

    @property
    def reference(self) -> str:
        """What changes are relative to: the baseline, or what it was compared with."""
        return self.run.against or "the baseline"

    @property
    def judged(self) -> list[tuple[Cell, Measurement]]:
        """The cells of the newest run whose measurement may be judged."""
        return [(cell, found) for cell, found in self.measured if cell.unmeasured is None]

    @property
    def measured(self) -> list[tuple[Cell, Measurement]]:
        """The cells of the newest run that have a measurement, valid or not."""
        return [(one, one.measurement) for one in self.run.cells if one.measurement is not None]

    def before(self, cell_id: str) -> Measurement | None:
        """Return the cell's measurement in the last run before the newest that has one."""
        past = [found for run, found in self.history.get(cell_id, ()) if run is not self.run]
        return past[-1] if past else None

    def heading(self, metric: str) -> str:
        """Return a metric's name and unit for the head of a column; of an estimate, it says so."""
        name, unit = METRICS[metric].title, METRICS[metric].display_unit
        estimated = self.estimated and of_energy(metric)
        return f"{name}{' (estimate)' if estimated else ''}{'' if unit == name else f', {unit}'}"


class Table(NamedTuple):
    """A table of plain text; the first column heads its row."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A plotly figure, with what says the same without eyes.

    ``id`` is unique in the page: letters, digits and hyphens. ``spec`` is plotly's ``{"data": ...,
    "layout": ...}`` without fonts, backgrounds and grid colours, which the page sets by its theme;
    a string ``var(--NAME)`` anywhere in it becomes the value of that colour of ``page.css``.
    Text that comes from data goes through ``figure_text``. ``description`` says in a sentence or
    two what there is to see, ``table`` has the numbers. ``height_px`` is that of the drawing.
    """

    id: str
    title: str
    spec: Mapping[str, object]
    description: str
    table: Table
    height_px: int = 380


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under one heading: what its macro in ``page.html`` shows, the figures."""

    id: str
    title: str
    view: object = None
    figures: Sequence[Figure] = ()


def metrics(cell: Cell) -> Mapping[str, Estimate]:
    """Return what was measured of a cell, by metric."""
    return {} if cell.measurement is None else cell.measurement.metrics


def load_text(load: Workload) -> str:
    """Return how a cell is loaded, in words."""
    low, high = load.sequence_length
    several = f"{load.at_once} sequences" if load.at_once else "sequences"
    sequences = f", {several} of {low} to {high} requests" if high else ""
    stream = ", answers as a stream" if load.streaming else ""
    within = f", within {load.deadline_s * 1e3:.12g} ms" if load.deadline_s else ""
    lasting = f", for {time_text(load.sustained_s)}" if load.sustained_s else ""
    return f"{_load_text(load)}{within}{sequences}{stream}{lasting}"


def _load_text(load: Workload) -> str:
    if load.alone:
        return "by itself"
    if load.concurrency:
        thinking = f", {load.think_s * 1e3:.12g} ms between requests" if load.think_s else ""
        return f"concurrency {load.concurrency}{thinking}"
    if load.request_rate:
        return f"{load.request_rate:g} requests/s, {load.arrival}"
    if load.best_rate:
        return f"the highest rate, p{load.percentile:.12g}"
    subjects = count(load.subjects, "subject") if load.subjects else "the most subjects"
    return f"{subjects} at {load.frame_rate:g} inferences/s each"


def common_text(load: Workload) -> str:
    """Return what cells of one map, or one line, share: all but model, batch and concurrency."""
    closed = f"b{load.batch_size}-c{load.concurrency}"
    how = load.load.removeprefix(closed).removeprefix("-") if load.concurrency else ""
    return ", ".join(filter(None, (load.content, how)))


def figure_text(text: str) -> str:
    """Return text so that plotly, which knows some tags, shows it as it is."""
    return escape(text, quote=False)


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name that leaves a drawing some room: its begin and its end, which says most."""
    head = longest * 2 // 5
    return name if len(name) <= longest else f"{name[:head]}...{name[head + 3 - longest :]}"


def short(value: float, digits: int = 4) -> float | int:
    """Round to so many significant digits, a whole number as one."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded


def display(metric: str, value: float) -> float | int:
    """Return a metric's value in its display unit, rounded to what a drawing needs."""
    return short(value * METRICS[metric].scale)


def unix(time: str) -> int:
    """Return the Unix time of UTC ISO 8601, 0 of what is none: files come from anywhere."""
    try:
        return int(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return 0
