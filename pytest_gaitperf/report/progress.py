"""What a person sees while it runs: one live line at a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from pytest_gaitperf.plain import printable
from pytest_gaitperf.report.text import count, on_ci

if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class Place(NamedTuple):
    """Where a run stands: which cell of how many, in which session of how many.

    ``done`` cells were measured before it, in all sessions, and ``left`` are still to come, this
    one included.
    """

    cell: int
    cells: int
    done: int
    left: int
    session: int = 1
    sessions: int = 1

    def __str__(self) -> str:
        """Say it in one or two words."""
        if self.sessions == 1:
            return f"{self.cell}/{self.cells}"
        return f"session {self.session}/{self.sessions}, cell {self.cell}/{self.cells}"


class Progress:
    """Writes past pytest's capturing; silent with ``-q``."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: TerminalReporter | None = config.pluginmanager.get_plugin(
            "terminalreporter"
        )
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._quiet = self._reporter is None or config.get_verbosity() < 0
        # A CI system may give the job a terminal, and keep every state of a live line in its log.
        self._is_terminal = (
            self._reporter is not None and not self._quiet and self._reporter.isatty and not on_ci()
        )
        self._live_width = 0
        self._prefix = ""
        self._began_s = 0.0
        self._ends_s = 0.0
        self._left = 0
        self._done = 0

    def say(self, text: str) -> None:
        """Write a line that stays."""
        if not self._quiet:
            self._write(text, stays=True)

    def live(self, text: str) -> None:
        """Show what is going on, in place of what was shown before; at a terminal only."""
        if self._is_terminal:
            self._write(text, stays=False)

    def cell_starts(self, workload: Workload, place: Place, at_most_s: float) -> None:
        """Note which cell is being measured, and how long it and those after it may take."""
        now_s = time.monotonic()
        self._ends_s = now_s + at_most_s
        self._left, self._done = place.left, place.done
        if not self._began_s:
            self._began_s = now_s
            each = f" in each of {place.sessions} sessions" if place.sessions > 1 else ""
            self.say(f"{count(place.cells, 'cell')} to measure{each}{self._eta()}")
        self._prefix = f"{place} {workload.id}"
        self.live(f"{self._prefix}: warming up")

    def cell_goes_on(self, throughput: float, half_width: float | None) -> None:
        """Show the estimate so far: inferences/s and the relative half-width of its interval."""
        sure = "" if half_width is None else f" +-{half_width:.1%}"
        self.live(f"{self._prefix}: {throughput:.4g} inf/s{sure}{self._eta()}")

    def search_goes_on(self, text: str) -> None:
        """Show what a search has just seen, or does."""
        self.live(f"{self._prefix}: {text}{self._eta()}")

    def cell_done(self, measurement: Measurement) -> None:
        """Write one line about a measured cell."""
        self._done += 1
        self._left -= 1
        throughput = measurement.metrics["throughput"]
        p50 = measurement.metrics.get("latency_p50")
        parts = [f"{throughput.value:.4g} inf/s"]
        if throughput.relative_half_width is not None:
            parts[0] += f" +-{throughput.relative_half_width:.1%}"
        if measurement.search is not None:
            parts.insert(0, measurement.search.text)
        if p50 is not None:
            parts.append(f"p50 {p50.value * 1e3:.4g} ms")
        energy = measurement.metrics.get("energy_per_inference")
        if energy is not None:
            estimated = " (estimated)" if measurement.estimated else ""
            parts.append(f"{energy.value * 1e3:.4g} mJ/inf{estimated}")
        if measurement.invalid:
            parts.append(f"INVALID: {measurement.invalid}")
        self.say(f"{self._prefix}: {', '.join(parts)}{self._eta()}")

    def clear(self) -> None:
        """Take the live line away."""
        if self._live_width:
            self._write("", stays=False)

    def _eta(self) -> str:
        """Say how long it may still take; what the cells so far took refines that."""
        if self._left <= 0:
            return ""
        now_s = time.monotonic()
        seconds, word = max(self._ends_s - now_s, 0.0), "up to"
        if self._done:
            seconds = min(seconds, (now_s - self._began_s) / self._done * self._left)
            word = "about"
        time_left = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"  # noqa: PLR2004
        return f" ({word} {time_left} left)"

    def _write(self, text: str, *, stays: bool) -> None:
        text = printable(text)
        if self._capture is None:
            self._print(text, stays=stays)
            return
        with self._capture.global_and_fixture_disabled():
            self._print(text, stays=stays)

    def _print(self, text: str, *, stays: bool) -> None:
        reporter = self._reporter
        if reporter is None:
            return
        # pytest goes on with its dots on the next line: it must not take it for another file's.
        path = reporter.currentfspath
        writer = reporter._tw  # noqa: SLF001 - no public access to where its cursor stands
        if self._live_width:
            reporter.rewrite("", erase=True)
        elif writer.width_of_current_line:
            writer.line()
        self._live_width = 0 if stays else len(text)
        if stays:
            writer.line(text)
            writer.flush()  # a log that is a pipe or a file must not lag minutes behind
        else:
            reporter.rewrite(text[: writer.fullwidth - 1], erase=True)
        reporter.currentfspath = path
