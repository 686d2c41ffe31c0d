"""One board of a fleet, as the pytest that gathers knows it; what it sends is checked."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.results import Outcome, Run
from pytest_gaitperf.results_file import results_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class _End(msgspec.Struct, forbid_unknown_fields=True):
    """What a board sends at its end: pytest's exit code and last lines, and its files."""

    code: int
    tail: list[str] = []
    results: str = ""
    junit: str = ""
    baselines: dict[str, bytes] = {}


@dataclass(slots=True)
class Board:
    """A board and what became of it; ``why`` says in a line what went wrong."""

    name: str
    where: str
    code: int | None = None
    run: Run | None = None
    why: str = ""
    junit: str = ""
    baselines: Mapping[str, bytes] | None = None

    @property
    def profile(self) -> str:
        """Its profile, as far as it is known."""
        return self.run.profile.id if self.run is not None else "unknown"

    @property
    def outcome(self) -> Outcome:
        """What the board comes to; one that is lost has shown nothing."""
        if self.run is not None and self.code == self.run.outcome.exit_code:
            return self.run.outcome
        return Outcome.RED if self.code == pytest.ExitCode.TESTS_FAILED else Outcome.UNMEASURED

    @property
    def ending(self) -> str:
        """What became of the board, in a line."""
        if self.code is None:
            return sanitize(f"lost: {self.why}")
        said = f"{self.outcome.value}; exit code {self.code}"
        return sanitize(f"{said}: {self.why}" if self.why else said)

    def take(self, sent: object) -> None:
        """Keep what the board sent at its end, or why it cannot be read."""
        try:
            end = msgspec.convert(sent, _End)
            if end.results:
                # Its files are private to it, and gone.
                run = results_of(parse_json(end.results.encode()))
                self.run = msgspec.structs.replace(run, outputs={}, written=())
        except (msgspec.ValidationError, ValueError, ConfigurationError) as error:
            self.why = f"what it sent cannot be read: {error}"
            return
        if end.code < 0:
            self.why = f"its pytest was killed by {signal.Signals(-end.code).name}"
            return
        self.code, self.junit, self.baselines = end.code, end.junit, end.baselines
        if end.code and self.run is None:
            errors = [line for line in end.tail if line.startswith(("ERROR", "INTERNALERROR"))]
            self.why = (errors or [line for line in end.tail if line.strip()] or ["no output"])[-1]
        elif self.run is not None and self.run.reasons:
            self.why = self.run.reasons[0]
