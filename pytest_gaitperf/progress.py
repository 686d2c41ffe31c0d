"""What a person sees while it runs: one live line at a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from pytest_gaitperf.errors import sanitize
from pytest_gaitperf.metrics import METRICS, QUANTITIES
from pytest_gaitperf.report.text import cut, on_ci
from pytest_gaitperf.text import count, number, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from _pytest._io import TerminalWriter
    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.engine.progress import Place
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.workload import Workload

_ERASE = "\x1b[K"  # to the end of the line, as every terminal but a dumb one understands it
_REDRAWN_S = 0.25
"""The live line is drawn at most once in this time: it shares a machine with what is measured."""

_LONG_MODEL, _SHORT_MODEL = 20, 10


class Live(NamedTuple):
    """What the line says, in its order; all but the first three may be empty.

    ``model`` and ``key`` name the cell, ``doing`` is the estimate or what is being done. ``ahead``
    says how the time left is known (``about``), ``left`` is that time.
    """

    place: str
    model: str
    key: str
    doing: str
    precision: str = ""
    power: str = ""
    ahead: str = ""
    left: str = ""

    def fitted(self, width: int) -> str:
        """Return the line in at most ``width`` columns.

        First go the end of a long name, the power, how the time left is known, more of the name,
        the precision, the model, the time left; then the end of the line.
        """
        line = self
        for shorter in (
            {},
            {"model": cut(self.model, _LONG_MODEL)},
            {"power": ""},
            {"ahead": ""},
            {"model": cut(self.model, _SHORT_MODEL)},
            {"precision": ""},
            {"model": ""},
            {"left": ""},
        ):
            line = line._replace(**shorter)
            if cell_len(str(line)) <= width:
                return str(line)
        return cut(str(line), width)

    def __str__(self) -> str:
        """Return the whole line."""
        cell = "-".join(filter(None, (self.model, self.key)))
        doing = " ".join(filter(None, (self.doing, self.precision)))
        left = " ".join(filter(None, (self.ahead, self.left)))
        said = ", ".join(filter(None, (doing, self.power, left)))
        return f"{self.place} {cell}: {said}"


class TerminalProgress:
    """Writes past pytest's capturing; silent with ``-q``.

    At a terminal one line is drawn over and over, and lines that stay are few; with ``-v``, and
    where there is no terminal, each measured cell has a line that stays.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.metering: Metering | None = None
        """The run's power meter, once it is opened."""
        self._reporter: TerminalReporter | None = config.pluginmanager.get_plugin(
            "terminalreporter"
        )
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        # Without a reporter there is no option that says how verbose it is.
        verbosity = -1 if self._reporter is None else config.get_verbosity()
        self._quiet = verbosity < 0
        # A CI system may give the job a terminal, and keep every state of a live line in its log.
        self._is_terminal = (
            self._reporter is not None
            and not self._quiet
            and self._reporter.isatty
            and os.environ.get("TERM") != "dumb"
            and not on_ci()
        )
        self._verbose = verbosity > 0
        self._is_live = self._broke_in = False
        self._drawn_s = 0.0
        self._place = ""
        self._workload: Workload | None = None
        self._began_s = 0.0
        self._ends_s = 0.0
        self._left = 0
        self._done = 0
        self._uneven = False

    def say(self, text: str) -> None:
        """Write a line that stays."""
        if not self._quiet:
            self._past_capture(lambda: self._add(text))

    def live(self, text: str) -> None:
        """Show what is going on, in place of what was shown before; at a terminal only."""
        if self._is_terminal:
            self._past_capture(lambda: self._overwrite(lambda width: cut(text, width)))

    def cell_starts(self, workload: Workload, place: Place, at_most_s: float) -> None:
        """Note which cell is being measured, and how long it and those after it may take."""
        now_s = time.monotonic()
        self._ends_s = now_s + at_most_s
        self._left, self._done = place.left, place.done
        self._uneven = place.lasting or workload.sustained_s > 0
        if not self._began_s:
            self._began_s = now_s
            lives = f"{place.lives} lives" if place.lives > 1 else ""
            sessions = f"each of {place.sessions} sessions" if place.sessions > 1 else ""
            each = " of ".join(filter(None, (lives, sessions)))
            each = f" in {each}" if each else ""
            self.say(f"{count(place.cells, 'cell')} to measure{each}{self._eta()}")
        self._place, self._workload = str(place), workload
        self._draw("warming up")

    def cell_goes_on(self, throughput: float, half_width: float | None) -> None:
        """Show the estimate so far: inferences/s and the relative half-width of its interval."""
        if self._is_terminal and time.monotonic() - self._drawn_s >= _REDRAWN_S:
            sure = "" if half_width is None else f"+-{half_width:.1%}"
            so_far = f"{number(throughput)} inf/s" if throughput else "measuring"
            self._draw(so_far, sure, power=self._power())

    def text_goes_on(self, text: str) -> None:
        """Show what a search or a comparison has just seen, or does."""
        self._draw(text, power=self._power())

    def cell_done(self, workload: Workload, measurement: Measurement, *, tell: bool) -> None:
        """Write one line about a measured cell; at a terminal only with ``-v``, or if it is bad."""
        self._done += 1
        self._left -= 1
        if not tell:
            return
        if self._is_terminal and not self._verbose and not measurement.invalid:
            return
        parts = [] if measurement.capacity is None else [measurement.capacity.text]
        metrics = measurement.metrics
        for metric in (
            *(QUANTITIES["sustained"] if measurement.sustained else ("throughput", "latency_p50")),
            *("energy_per_inference", "model_load_time", "first_inference_latency"),
        ):
            if metric not in metrics:
                continue
            said = shown(metric, metrics[metric].value)
            half = metrics[metric].relative_half_width
            if metric == "throughput" and half is not None:
                said += f" +-{half:.1%}"
            elif metric not in ("throughput", "energy_per_inference"):
                said = f"{METRICS[metric].title} {said}"
            elif metric == "energy_per_inference":
                said += "/inf (estimate)" if measurement.energy_estimated else "/inf"
            parts.append(said)
        if not parts and not measurement.invalid:
            return
        if measurement.invalid:
            parts.append(f"invalid: {measurement.invalid}")
        self.say(f"{self._place} {workload.id}: {', '.join(parts)}{self._eta()}")

    def clear(self) -> None:
        """Take the live line away, and let pytest go on where it was."""
        reporter = self._reporter
        if reporter is None:
            return
        if self._is_live:
            self._past_capture(lambda: self._overwrite(lambda _width: ""))
            self._is_live = False
        if self._broke_in:
            self._broke_in = False
            # With -v the test's name stood on the line that was ended, and its outcome follows.
            name = reporter.currentfspath
            if self._verbose and isinstance(name, str):
                self._past_capture(lambda: reporter._tw.write(name))  # noqa: SLF001 - as in _begin

    def _draw(self, doing: str, precision: str = "", power: str = "") -> None:
        """Show the live line about the present cell."""
        if not self._is_terminal or self._workload is None:
            return
        word, left = self._time_left()
        model, key = self._workload.model, self._workload.key
        line = Live(self._place, model, key, doing, precision, power, word, left and f"{left} left")
        self._drawn_s = time.monotonic()
        self._past_capture(lambda: self._overwrite(line.fitted))

    def _power(self) -> str:
        if not self._is_terminal or self.metering is None or self.metering.meter is None:
            return ""
        watts = self.metering.power_now_w()
        estimated = " est." if self.metering.meter.estimated else ""
        return "" if watts is None else f"{number(watts)} W{estimated}"

    def _eta(self) -> str:
        word, left = self._time_left()
        return left and f" ({word} {left} left)"

    def _time_left(self) -> tuple[str, str]:
        """Say how long it may still take; what the cells so far took refines that."""
        if self._left <= 0:
            return "", ""
        now_s = time.monotonic()
        seconds, word = max(self._ends_s - now_s, 0.0), "up to"
        if self._done and not self._uneven:
            seconds = min(seconds, (now_s - self._began_s) / self._done * self._left)
            word = "about"
        return word, f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"

    def _past_capture(self, write: Callable[[], None]) -> None:
        """Call what writes while nothing is captured; only then can the terminal be asked."""
        if self._capture is None:
            write()
            return
        with self._capture.global_and_fixture_disabled():
            write()

    def _add(self, text: str) -> None:
        """Write a line that stays, in place of the live one."""
        if self._is_live:
            self._overwrite(lambda _width: "")
        writer = self._begin()
        writer.line(sanitize(text))
        writer.flush()  # a log that is a pipe or a file must not lag minutes behind
        self._is_live = False

    def _overwrite(self, line: Callable[[int], str]) -> None:
        """Write over the live line what fits the terminal as it is now.

        One column is left free: in the last one a terminal may already wrap. The cursor is left at
        the beginning, where a terminal's ``^C`` makes the line no longer. Not by pytest's writer,
        which would count it as a part of its own line.
        """
        fullwidth = self._begin().fullwidth
        try:
            columns = os.get_terminal_size(sys.stdout.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        width = (columns or fullwidth) - 1
        sys.stdout.write(f"\r{_ERASE}{sanitize(line(width))}\r")
        sys.stdout.flush()
        self._is_live = True

    def _begin(self) -> TerminalWriter:
        """End the line that pytest is writing, if it is."""
        reporter = self._reporter
        assert reporter is not None
        # pytest goes on with its dots on the next line: it must not take it for another file's.
        path = reporter.currentfspath
        writer = reporter._tw  # noqa: SLF001 - no public access to where its cursor stands
        if writer.width_of_current_line:
            writer.line()
            self._broke_in = True
        reporter.currentfspath = path
        return writer
