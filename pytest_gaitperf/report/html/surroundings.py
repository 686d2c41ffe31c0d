"""What surrounds the numbers: the device and its state, the runs, notes and errors."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pytest_gaitperf.report.html.banner import cell_link
from pytest_gaitperf.report.html.section import Section, Table, table_html
from pytest_gaitperf.report.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_gaitperf.report.html.data import ReportData
    from pytest_gaitperf.report.schema import Cell, Results

_MOST_LINKS, _MOST_OPEN = 8, 8
_GRAVE = ("error", "invalid", "behind", "limit")


def remarks(data: ReportData) -> Section | None:
    """Return errors and notes, each once with the cells that it is about."""
    told: dict[tuple[str, str], list[Cell]] = {}
    for cell in data.run.cells:
        for remark in _remarks(cell):
            told.setdefault(remark, []).append(cell)
    grave = {remark: cells for remark, cells in told.items() if remark[0] in _GRAVE}
    light = {remark: cells for remark, cells in told.items() if remark[0] not in _GRAVE}
    parts = []
    if grave:
        parts.append(_remark_table("What kept cells from being judged", grave))
    if light:
        opened = " open" if len(light) <= _MOST_OPEN else ""
        table = _remark_table("Notes, and values that are not known", light)
        parts.append(
            f"<details{opened}><summary>{count(len(light), 'note')}</summary>{table}</details>"
        )
    for model, keys in data.run.orphans.items():
        named = ", ".join(keys[:_MOST_LINKS])
        more = len(keys) - _MOST_LINKS
        parts.append(
            f"<p>Baselines of {escape(model)} that no test asked for: {escape(named)}"
            + (f" and {more} more" if more > 0 else "")
            + "</p>"
        )
    return Section("remarks", "Notes and errors", "".join(parts)) if parts else None


def _remark_table(caption: str, told: Mapping[tuple[str, str], list[Cell]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(kind)}</th><td>{escape(text)}</td>'
        f"<td>{_links(cells)}</td></tr>"
        for (kind, text), cells in told.items()
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table>'
        f'<caption>{caption}</caption><thead><tr><th scope="col">kind</th><th scope="col">what</th>'
        f'<th scope="col">cells</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _remarks(cell: Cell) -> Iterator[tuple[str, str]]:
    if cell.error:
        yield "error", cell.error
    if cell.invalid:
        yield "invalid", cell.invalid
    if cell.behind:
        yield "behind", cell.behind
    for check in cell.limits:
        if check.absent:
            yield "limit", f"{check.limit}: {check.absent}"
    for note in (*cell.notes, *filter(None, [cell.energy_note, cell.model_change])):
        yield "note", note
    for metric, why in cell.absent.items():
        yield "no value", f"{metric}: {why}"


def _links(cells: list[Cell]) -> str:
    links = ", ".join(map(cell_link, cells[:_MOST_LINKS]))
    more = len(cells) - _MOST_LINKS
    return links + (f" and {more} more" if more > 0 else "")


def environment(data: ReportData) -> Section:
    """Return where the newest run was measured, and which runs the page is made of."""
    run = data.run
    facts = Table("Device, server and meter", ("what", "value"), list(_facts(run)))
    parts = [table_html(facts)]
    if len(data.runs) > 1:
        rows = [
            (one.environment.time, _commit(one), count(len(one.cells), "cell"), one.against or "")
            for one in reversed(data.runs)
        ]
        runs = Table(
            "Runs on this page, newest first", ("time", "commit", "cells", "against"), rows
        )
        parts.append(table_html(runs))
    return Section("environment", "Environment", "".join(parts))


def _facts(run: Results) -> Iterator[tuple[str, str]]:
    about = run.environment
    yield "measured", about.time
    yield "commit", _commit(run)
    if about.triton is not None:
        yield "Triton", f"{about.triton.version} ({about.triton.mode}, {about.triton.url})"
    power = about.power
    if power.meter is None:
        yield "power meter", f"none: {power.absent}" if power.absent else "none"
    else:
        estimated = ": an estimate, no sensor" if power.estimated else ""
        yield "power meter", f"{power.description or power.meter}{estimated}"
        yield "rails", ", ".join(power.rails)
        yield "rails of the total", " + ".join(power.total_rails)
    for place, watts in enumerate(power.idle_w, 1):
        values = ", ".join(f"{rail} {value:.3g} W" for rail, value in watts.items())
        yield f"idle power, {place}", values
    if power.idle_drift:
        yield "idle drift", power.idle_drift
    if about.load_average:
        yield "load average", ", ".join(f"{one:.2f}" for one in about.load_average)
    for zone, degrees in about.temperatures_c.items():
        yield f"temperature of {zone}", f"{degrees:.1f} °C"
    yield "profile", run.profile.id
    yield from run.profile.fields.items()
    yield from run.profile.facts.items()
    yield "plugin, pytest, Python", f"{about.plugin}, {about.pytest}, {about.python}"


def _commit(run: Results) -> str:
    about = run.environment
    if not about.commit:
        return "unknown"
    return about.commit[:12] + (" with local changes" if about.dirty else "")
