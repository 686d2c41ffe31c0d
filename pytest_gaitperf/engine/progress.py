"""What the engine tells while it works, to whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.workload import Workload


class Place(NamedTuple):
    """Where a run stands: which cell of how many, in which life of which session of how many.

    ``done`` visits to cells were made before it, in all lives and sessions, and ``left`` are still
    to come, this one included. ``again``: it is a suspect, measured once more. ``lasting``: some of
    what is to come is a sustained load, which tells nothing of the others' time, nor they of its.
    """

    cell: int
    cells: int
    done: int
    left: int
    session: int = 1
    sessions: int = 1
    life: int = 1
    lives: int = 1
    again: bool = False
    lasting: bool = False

    def __str__(self) -> str:
        """Say it in a few words."""
        words = [
            f"session {self.session}/{self.sessions}"
            if self.sessions > 1 and not self.again
            else "",
            f"life {self.life}/{self.lives}" if self.lives > 1 else "",
        ]
        place = f"{self.cell}/{self.cells}"
        said = [word for word in words if word]
        said.append(f"again {place}" if self.again else f"cell {place}" if said else place)
        return ", ".join(said)


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

    def cell_done(self, workload: Workload, measurement: Measurement, *, tell: bool) -> None:
        """Note that a visit to a cell is done; ``tell``: say what it has come to."""

    def clear(self) -> None:
        """Take away what does not stay."""
