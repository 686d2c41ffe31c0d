"""One board of a fleet, as the controller knows it; what it sends is checked as any file is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pytest_gaitperf.errors import ConfigurationError, sanitize
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.report.reading import results_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_gaitperf.report.schema import Results

LOST = 3
"""The exit code that a board counts with which told none: something could not be measured."""


class Report(msgspec.Struct, forbid_unknown_fields=True):
    """What a board's pytest tells at its end.

    ``code`` is its exit code; ``results`` the text of a results file, "" where nothing was
    measured; ``text`` what it would have shown, table and all; ``baselines`` the texts of the
    baseline files that it changed, by model; ``verdicts`` counts verdicts by their word.
    """

    code: int
    results: str = ""
    text: str = ""
    problems: list[str] = []
    summary: str = ""
    verdicts: dict[str, int] = {}
    baselines: dict[str, str] = {}


@dataclass(slots=True)
class Board:
    """A board and what became of it.

    ``why`` says what went wrong, in a line; ``given`` are the baseline files that it was given, by
    model; ``results`` are those of its cells, None where it sent none.
    """

    name: str
    where: str
    profile: str = ""
    why: str = ""
    given: Mapping[str, bytes] = field(default_factory=dict)
    report: Report | None = None
    results: Results | None = None

    @property
    def code(self) -> int:
        """The board's exit code; that of a lost board says that it was not measured."""
        return LOST if self.report is None else self.report.code

    @property
    def ending(self) -> str:
        """What became of the board, in a line, whatever it sent."""
        return sanitize(" ".join(self._ending.split()))

    @property
    def _ending(self) -> str:
        if self.report is None:
            return f"lost: {self.why}"
        said = ", ".join(f"{number} {word}" for word, number in self.report.verdicts.items())
        why = f": {self.why.partition(chr(10))[0]}" if self.why else ""
        return f"{said or 'no verdict'}; exit code {self.code}{why}"

    def take(self, sent: object) -> None:
        """Keep what a board sent at its end; ``why`` says what is wrong with it, if anything is."""
        try:
            report = msgspec.convert(sent, Report)
            results = results_of(parse_json(report.results)) if report.results else None
        except (msgspec.ValidationError, ValueError, ConfigurationError) as error:
            self.why = f"what it sent cannot be read: {error}"
            return
        self.report, self.results = report, results
        if report.code and not self.why:
            self.why = "; ".join(report.problems) or _MEANING.get(report.code, "")


_MEANING = {
    2: "it was interrupted, or could not collect its tests",
    4: "its pytest was used wrongly there",
    5: "no test was found there",
}
