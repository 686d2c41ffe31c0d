"""The words for verdicts and cells, the same in every output, and text for a terminal."""

from __future__ import annotations

import math
import os
import shlex
from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.cells import cell_len, set_cell_size

from pytest_gaitperf.config.option import without
from pytest_gaitperf.metrics import METRICS, TOGETHER
from pytest_gaitperf.outcomes import limit_outcome, verdict_outcome
from pytest_gaitperf.results import LimitState, Outcome, VerdictKind
from pytest_gaitperf.text import percent, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_gaitperf.baseline.cells import Session
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.results import Cell, Run, Verdict

WORDS = {
    "regressed": "bold red",
    "limit violated": "bold red",
    "unmeasured": "bold yellow",
    "invalid": "bold yellow",
    "regressed, unconfirmed": "bold yellow",
    "incomparable": "magenta",
    "missing": "yellow",
    "inconclusive": "yellow",
    "regressed, accepted": "yellow",
    "improved": "cyan",
    "incomparable, recorded": "cyan",
    "missing, recorded": "cyan",
    "not judged": "",
    "pass": "green",
}
"""Every word for a cell or a verdict, the worst first, with its colour in a terminal."""

_RANKS = {word: rank for rank, word in enumerate(WORDS)}

QUIET = frozenset(("pass", "not judged", *(word for word in WORDS if "recorded" in word)))
"""The words of cells that nobody has to look at."""

MARKS = {
    VerdictKind.REGRESSED: "!",
    VerdictKind.IMPROVED: "+",
    VerdictKind.INCONCLUSIVE: "?",
    VerdictKind.INCOMPARABLE: "x",
}
"""What stands behind the change of a verdict."""

OUTCOME_STYLES = {Outcome.GREEN: "green", Outcome.RED: "red", Outcome.UNMEASURED: "yellow"}


def value(cell: Cell, metric: str) -> float | None:
    """Return a cell's value, the verdict's where there is one: the change beside it is of that."""
    verdict, measurement = cell.verdicts.get(metric), cell.measurement
    if verdict is not None and verdict.now is not None:
        return verdict.now
    estimate = None if measurement is None else measurement.metrics.get(metric)
    return None if estimate is None else estimate.value


def verdict_word(run: Run, cell: Cell, verdict: Verdict) -> str:
    """Return the word for one verdict of a cell."""
    word = verdict.word
    if verdict.kind is VerdictKind.REGRESSED:
        if run.policy.accept_regressions:
            return f"{word}, accepted"
        return word if cell.unconfirmed is None else f"{word}, unconfirmed"
    is_new = verdict.kind in (VerdictKind.MISSING, VerdictKind.INCOMPARABLE)
    if is_new and cell.recorded and outcome_of(run, cell, verdict) is Outcome.GREEN:
        return f"{word}, recorded"
    return word


def outcome_of(run: Run, cell: Cell, verdict: Verdict) -> Outcome:
    """Return what one verdict of a cell comes to."""
    paired = bool(run.against)
    return verdict_outcome(verdict, run.policy, paired=paired, confirmed=cell.unconfirmed is None)


def cell_word(run: Run, cell: Cell) -> str:
    """Return the word for a cell: the worst of what made its outcome."""
    if cell.unmeasured is not None:
        return "unmeasured" if cell.error is not None else "invalid"
    words = [word for outcome, word in _words(run, cell) if outcome is cell.outcome]
    if not words:
        return "unmeasured" if cell.outcome is Outcome.UNMEASURED else "not judged"
    return min(words, key=word_rank)


def _words(run: Run, cell: Cell) -> Iterator[tuple[Outcome, str]]:
    for verdict in cell.verdicts.values():
        yield outcome_of(run, cell, verdict), verdict_word(run, cell, verdict)
    for check in cell.limits:
        outcome = limit_outcome(check, run.policy)
        if outcome is Outcome.RED:
            yield outcome, "limit violated"
        elif outcome is Outcome.UNMEASURED:
            yield outcome, "unmeasured"
        elif check.state is LimitState.MET:
            yield outcome, "pass"


def word_rank(word: str) -> int:
    """Return the place of a word in ``WORDS``."""
    return _RANKS[word]


def urgency(run: Run, cell: Cell) -> tuple[int, float]:
    """Return a key that sorts cells: those to look at first, the largest change for the worse."""
    word = cell_word(run, cell)
    worse = 0.0 if word in QUIET else max(map(loss, cell.verdicts.values()), default=0.0)
    return word_rank(word), -worse


def tally(run: Run, cells: Iterable[Cell] | None = None) -> dict[str, int]:
    """Count cells, by default all of a run, by their word; the worst first."""
    words = Counter(cell_word(run, cell) for cell in (run.cells if cells is None else cells))
    return {word: words[word] for word in WORDS if words[word]}


def tally_text(run: Run, cells: Iterable[Cell] | None = None) -> str:
    """Return e.g. ``2 regressed, 30 pass``."""
    return ", ".join(f"{number} {word}" for word, number in tally(run, cells).items())


def headline(run: Run) -> str:
    """Return a run in a line, e.g. ``red: 2 regressed, 30 pass (of 32 cells)``."""
    of = f" (of {len(run.cells)} cells)" if len(run.cells) > 1 else ""
    return f"{run.outcome.value}: {tally_text(run) or 'no cell'}{of}"


def loss(verdict: Verdict) -> float:
    """Return a change as the log of the ratio, positive for the worse; 0 where none is known."""
    change = 0.0 if verdict.change is None else verdict.change
    sign = METRICS[verdict.metric].worse_sign
    return sign * (math.log1p(change) if change > -1 else -math.inf)


def worst(cell: Cell) -> Verdict | None:
    """Return the verdict with the largest change for the worse, None where no change is known."""
    known = [verdict for verdict in cell.verdicts.values() if verdict.change is not None]
    return max(known, key=loss, default=None)


def interval_text(verdict: Verdict) -> str:
    """Return the interval of a change, e.g. ``-40.4% .. -34.7%``."""
    return f"{percent(verdict.low) or '-inf'} .. {percent(verdict.high) or 'inf'}"


def reach_text(verdict: Verdict) -> str:
    """Return how far a regression's interval reaches to either side, "" of another verdict."""
    if verdict.kind is not VerdictKind.REGRESSED or verdict.low is None or verdict.high is None:
        return ""
    half = (verdict.high - verdict.low) / 2
    return f" +-{half * 100:.0f}" if math.isfinite(half) else ""


def known(run: Run) -> Run:
    """Return a run without metrics that this version does not know: files come from anywhere."""
    return replace(
        run,
        cells=tuple(
            replace(
                cell,
                measurement=_known(cell.measurement),
                further=tuple(filter(None, map(_known, cell.further))),
                again=_known(cell.again),
                verdicts={name: one for name, one in cell.verdicts.items() if name in METRICS},
                limits=tuple(one for one in cell.limits if one.metric in METRICS),
            )
            for cell in run.cells
        ),
        findings=tuple(one for one in run.findings if one.metric in (*METRICS, TOGETHER)),
        sensitivity=tuple(one for one in run.sensitivity if one.metric in METRICS),
    )


def _known(measurement: Measurement | None) -> Measurement | None:
    if measurement is None or measurement.metrics.keys() <= METRICS.keys():
        return measurement
    found = {name: one for name, one in measurement.metrics.items() if name in METRICS}
    return replace(measurement, metrics=found)


def commit_text(commit: str, dirty: bool | None) -> str:
    """Return a commit's short name, and whether files differed from it; "" where none is known."""
    return f"{commit[:12]}{' with local changes' if dirty else ''}" if commit else ""


def origin(session: Session) -> str:
    """Return who recorded a session of a baseline, and on which commit."""
    commit = commit_text(session.commit, session.dirty)
    return (
        f"{session.recorder or 'unknown'} on {f'commit {commit}' if commit else 'no commit known'}"
    )


def sensitivity_text(run: Run) -> str:
    """Return what the run could have heard of each quantity, "" where nothing says so."""
    heard: dict[str, float] = {}
    for one in run.sensitivity:
        heard[one.metric] = max(one.model, heard.get(one.metric, 0.0))
    said = ", ".join(f"{METRICS[name].title} {size_text(change)}" for name, change in heard.items())
    return f"could have heard: {said}" if said else ""


_OUTPUTS = frozenset(
    ("--gaitperf-json", "--gaitperf-report", "--gaitperf-summary", "--gaitperf-export")
) | {"--junitxml", "--junit-xml", "--result-log", "--report-log", "--html"}
_SELECTIONS = frozenset(("-k", "-m", "--deselect"))
_REPEATS = frozenset(("--lf", "--last-failed", "--ff", "--failed-first", "--sw", "--stepwise"))


def command(arguments: Iterable[str], *extra: str) -> str:
    """Return a run's command line with options added, or put in place of their like.

    What it records is not to replace the files that the run has written, and is of all cells: only
    what is accepted is of those that the run selected.
    """
    switches = {option for option in extra if "=" not in option} | _REPEATS
    valued = {option.partition("=")[0] for option in extra} - switches | _OUTPUTS
    if "--gaitperf-accept-regressions" not in extra:
        valued |= _SELECTIONS
    kept = [word for word in without(arguments, valued) if word not in switches]
    return " ".join(["pytest", *map(shlex.quote, kept), *extra])


def cut(text: str, width: int) -> str:
    """Return a text in at most ``width`` columns; one that is cut ends in dots."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 2, 0)).rstrip() + ".."[:width]


def on_ci() -> bool:
    """Return whether a CI system runs this; found out as pytest does it."""
    return any(os.environ.get(name) for name in ("CI", "BUILD_NUMBER"))


def text_width(terminal: int) -> int:
    """Return the columns to write in: the terminal's, but 80 in a CI log unless COLUMNS says more.

    Some CI systems give the job a terminal of any size; nobody reads the log in that.
    """
    return 80 if on_ci() and not os.environ.get("COLUMNS") else terminal
