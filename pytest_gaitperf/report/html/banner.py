"""The top of the page: what became of the run, and what regressed."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.html.causes import causes
from pytest_gaitperf.report.html.section import Section
from pytest_gaitperf.report.html.status import (
    BEYOND_LIMIT,
    FAULTS,
    GOOD,
    ORDER,
    RECORDED,
    css_class,
    reference,
    status,
    value,
    worsening,
)
from pytest_gaitperf.report.text import count, percent
from pytest_gaitperf.results import LimitState, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell

_MOST_NAMED = 10


def section(data: ReportData) -> Section:
    """Return the verdict on the run."""
    words = Counter(status(cell) for cell in data.run.cells)
    title, level = _title(data, words)
    tally = "".join(
        f'<li><span class="chip {css_class(word)}">{words[word]} {word}</span></li>'
        for word in ORDER
        if words[word]
    )
    against = (
        f"<p>Compared in turns with <strong>{escape(data.run.against)}</strong>, not with the "
        "baselines.</p>"
        if data.run.against
        else ""
    )
    provisional = sum(
        any(one.provisional for one in cell.judgements.values()) for cell in data.run.cells
    )
    notes = [
        f"{count(provisional, 'cell')} judged provisionally: the baseline has too few sessions."
        if provisional
        else "",
        "Energy is an estimate from CPU time, not a sensor's reading." if data.estimated else "",
    ]
    common = "".join(f"<li>{escape(one.text)}</li>" for one in data.run.findings if one.text)
    return Section(
        "verdict",
        "Verdict",
        f'<div class="banner {level}"><p class="headline">{escape(title)}</p>'
        f'<ul class="tally" aria-label="Cells by verdict">{tally}</ul>{against}'
        + "".join(f"<p>{escape(note)}</p>" for note in notes if note)
        + (f"<p>In common:</p><ul>{common}</ul>" if common else "")
        + "</div>"
        + "".join(_regressions(data))
        + "".join(_limits(data)),
    )


def _title(data: ReportData, words: Counter[str]) -> tuple[str, str]:
    """Return the headline and its class; only a run with nothing left open is good."""
    total = sum(words.values())
    bad = [
        f"{count(words[word], 'cell')} {word}" for word in ORDER if word in FAULTS and words[word]
    ]
    unsettled = [
        f"{words[word]} {word}"
        for word in ORDER
        if word not in FAULTS and word not in GOOD and words[word]
    ]
    if bad:
        return f"{', '.join(bad)}, of {total}", "bad"
    if unsettled:
        return f"Nothing regressed, but of {count(total, 'cell')}: {', '.join(unsettled)}", "warn"
    if not total:
        return "No cell was measured", "warn"
    missing = sum(map(len, data.run.orphans.values()))
    if missing:
        left_out = f"{count(missing, 'cell')} of the baselines did not run"
        return f"{_passed(words)}, but {left_out}", "warn"
    return _passed(words), "good"


def _passed(words: Counter[str]) -> str:
    """Say how many cells passed, and how many there was nothing to compare with until now."""
    recorded = words[RECORDED]
    passed = sum(words.values()) - recorded
    if not recorded:
        return f"{count(passed, 'cell')} passed"
    return (
        f"{count(passed, 'cell')} passed, {recorded} recorded"
        if passed
        else (f"{count(recorded, 'cell')} recorded")
    )


def _regressions(data: ReportData) -> Iterator[str]:
    """Yield the list of what regressed, the largest first, each with its likely cause."""
    found = [
        (cell, metric)
        for cell in data.run.cells
        for metric, state in cell.verdicts.items()
        if state == VerdictKind.REGRESSED.value and metric in METRICS and metric in cell.judgements
    ]
    if not found:
        return
    # By how many times worse, so that a rate and its inverse count alike.
    found.sort(key=lambda one: -_times(one[1], one[0]))
    yield '<h3>What regressed</h3><ol class="regressions">'
    for cell, metric in found[:_MOST_NAMED]:
        yield _regression(data, cell, metric)
    yield "</ol>"
    if len(found) > _MOST_NAMED:
        yield f"<p>And {len(found) - _MOST_NAMED} more: see the table of cells.</p>"


def _times(metric: str, cell: Cell) -> float:
    judgement = cell.judgements[metric]
    change = judgement.change or 0.0
    if change <= -1:
        return math.inf
    return math.log1p(change) * METRICS[metric].worse_sign


def _regression(data: ReportData, cell: Cell, metric: str) -> str:
    judgement = cell.judgements[metric]
    accepted = " (accepted)" if judgement.accepted else ""
    direction = "worse" if worsening(metric, judgement) > 0 else "better"
    why = causes(data, cell, metric)
    if not why:
        why = ["nothing in this run tells"]
        if data.before(cell.id) is None:
            why.append("a page that has the run before too would compare the two")
    told = "".join(f"<li>{escape(one)}</li>" for one in why)
    reason = f"<p>{escape(judgement.reason)}</p>" if judgement.reason else ""
    return (
        f"<li>{cell_link(cell)}: {escape(cell.title(metric))} "
        f"<strong>{escape(percent(judgement.change))}</strong> {direction}{accepted}, "
        f"{escape(value(metric, judgement.baseline))} to {escape(value(metric, judgement.now))}"
        f" (against {escape(reference(data))}; limit {escape(percent(judgement.limit))})"
        f'<details><summary>Likely cause</summary><ul class="causes">{told}</ul>'
        f"{reason}</details></li>"
    )


def _limits(data: ReportData) -> Iterator[str]:
    broken = [
        (cell, check)
        for cell in data.run.cells
        for check in cell.limits
        if check.state == LimitState.VIOLATED.value and check.metric in METRICS
    ]
    if not broken:
        return
    yield f"<h3>{BEYOND_LIMIT.capitalize()}</h3><ul>"
    for cell, check in broken[:_MOST_NAMED]:
        now = cell.metrics.get(check.metric)
        yield (
            f"<li>{cell_link(cell)}: {escape(cell.title(check.metric))} "
            f"{escape(value(check.metric, now.value if now else None))}, "
            f"required {escape(check.limit)}</li>"
        )
    yield "</ul>"
    if len(broken) > _MOST_NAMED:
        yield f"<p>And {len(broken) - _MOST_NAMED} more: see the table of cells.</p>"


def cell_link(cell: Cell, text: str = "") -> str:
    """Return a link that shows a cell by itself."""
    return f'<a href="#cell={quote(cell.id, safe="")}">{escape(text or cell.id)}</a>'
