"""What is known of a cell while its run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import first_line
from pytest_gaitperf.results import Cell

if TYPE_CHECKING:
    from pytest_gaitperf.baseline.cells import CellBaseline, Fingerprint
    from pytest_gaitperf.errors import GaitperfError
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import LimitCheck, Verdict
    from pytest_gaitperf.workload import Workload


@dataclass(slots=True)
class CellState:
    """A cell of this run, as far as it is known; ``Cell`` is what is stored of it.

    ``judged`` has the verdicts on all metrics, None before they are known; ``asked`` are the
    metrics that a test has asked for.
    """

    workload: Workload
    error: GaitperfError | None = None
    measurement: Measurement | None = None
    again: Measurement | None = None
    further: list[Measurement] = field(default_factory=list)
    fingerprint: Fingerprint | None = None
    baseline: CellBaseline | None = None
    model_change: str | None = None
    judged: dict[str, Verdict] | None = None
    unconfirmed: GaitperfError | None = None
    asked: dict[str, None] = field(default_factory=dict)
    limits: dict[str, LimitCheck] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)

    def record(self) -> Cell:
        """Return what is stored of the cell: of the verdicts, those that a test has asked for."""
        judged = self.judged or {}
        return Cell(
            id=self.workload.id,
            workload=self.workload,
            error=None if self.error is None else first_line(self.error),
            measurement=self.measurement,
            again=self.again,
            further=tuple(self.further),
            verdicts={metric: judged[metric] for metric in self.asked if metric in judged},
            limits=tuple(self.limits.values()),
            lacking=self.lacking,
            unconfirmed=None if self.unconfirmed is None else first_line(self.unconfirmed),
            model_change=self.model_change,
        )
