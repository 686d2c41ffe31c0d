"""What a page tells of: runs, and the baselines beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.report.schema import Cell, Results


@dataclass(frozen=True, slots=True)
class ReportData:
    """The runs of one profile, oldest first, at least one; its baselines by cell id, if given.

    The page tells of the newest run. The ones before it are its history: ``history`` has, by cell
    id and oldest first, what each run measured that may be judged, the newest among them.
    """

    runs: Sequence[Results]
    baselines: Mapping[str, CellBaseline] = field(default_factory=dict)
    history: Mapping[str, Sequence[tuple[Results, Cell]]] = field(init=False)

    def __post_init__(self) -> None:
        """Gather the history once: it is asked for by cell."""
        history: dict[str, list[tuple[Results, Cell]]] = {}
        for run in self.runs:
            for cell in run.cells:
                if cell.unmeasured is None:
                    history.setdefault(cell.id, []).append((run, cell))
        object.__setattr__(self, "history", history)

    @property
    def run(self) -> Results:
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
