"""What the engine tells while it works, to whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.workload import Workload


class Place(NamedTuple):
    """Where a run stands: which cell of how many, in which session of how many.

    ``done`` cells were measured before it, in all sessions, and ``left`` are still to come, this
    one included. ``again``: it is a suspect, measured once more.
    """

    cell: int
    cells: int
    done: int
    left: int
    session: int = 1
    sessions: int = 1
    again: bool = False

    def __str__(self) -> str:
        """Say it in one or two words."""
        place = f"{self.cell}/{self.cells}"
        if self.again:
            return f"again {place}"
        if self.sessions == 1:
            return place
        return f"session {self.session}/{self.sessions}, cell {place}"


class Progress(Protocol):
    """Shows a person what the run does; ``metering`` is its power meter, once there is one."""

    metering: Metering | None

    def say(self, text: str) -> None:
        """Write a line that stays."""

    def live(self, text: str) -> None:
        """Show what is going on, in place of what was shown before."""

    def cell_starts(self, workload: Workload, place: Place, at_most_s: float) -> None:
        """Note which cell is being measured, and how long it and those after it may take."""

    def cell_goes_on(self, throughput: float, half_width: float | None) -> None:
        """Show the estimate so far: inferences/s and the relative half-width of its interval."""

    def text_goes_on(self, text: str) -> None:
        """Show what a search or a comparison has just seen, or does."""

    def cell_done(self, workload: Workload, measurement: Measurement) -> None:
        """Tell of a measured cell."""

    def clear(self) -> None:
        """Take away what does not stay."""
