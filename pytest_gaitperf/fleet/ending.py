"""The end of a fleet: its files, all written by the controller."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import write_output
from pytest_gaitperf.fleet.merging import take_in
from pytest_gaitperf.report.export.exporters import exporter
from pytest_gaitperf.report.export.results_file import session_of
from pytest_gaitperf.report.markdown import escape, table
from pytest_gaitperf.report.schema import FLEET
from pytest_gaitperf.report.summary import MOST_BYTES
from pytest_gaitperf.report.text import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_gaitperf.fleet.board import Board
    from pytest_gaitperf.fleet.controller import Controller


def write(fleet: Controller) -> None:
    """Write what was asked for; what cannot be written is a problem of the fleet."""
    for step in (_baselines, _results, _report, _exports, _summary):
        _attempt(step, fleet)


def _attempt(step: Callable[[Controller], None], fleet: Controller) -> None:
    try:
        step(fleet)
    except GaitperfError as error:
        fleet.problems.append(str(error))


def file_of(board: Board, path: Path) -> Path:
    """Return a board's own file: its name before the suffix."""
    return path.with_name(f"{path.stem}-{board.name}{path.suffix}")


def _baselines(fleet: Controller) -> None:
    if fleet.settings.update == "none":
        return
    files = take_in(fleet.settings.baselines, fleet.boards.values())
    if files:
        fleet.written.append(f"baselines written: {', '.join(map(str, files))}")


def _results(fleet: Controller) -> None:
    """Write each board's results, and an index of all boards at the path that was given."""
    path = fleet.settings.json
    if path is None:
        return
    told = [board for board in fleet.boards.values() if board.results is not None]
    for board in told:
        assert board.report is not None  # noqa: S101 - the results came with it
        write_output(file_of(board, path), board.report.results.encode())
    index = {
        "schema": FLEET,
        "boards": [
            {
                "board": board.name,
                "where": board.where,
                "profile": board.profile or None,
                "lost": board.report is None,
                "exit_code": board.code,
                "why": board.why or None,
                "verdicts": board.report.verdicts if board.report is not None else {},
                "results": file_of(board, path).name if board.results is not None else None,
            }
            for board in fleet.boards.values()
        ],
    }
    write_output(path, (json.dumps(index, indent=1) + "\n").encode())
    own = ", ".join(file_of(board, path).name for board in told)
    fleet.written.append(f"results written: {path}" + (f", beside it {own}" if own else ""))


def _report(fleet: Controller) -> None:
    """Write each board's page, with the baselines of its profile."""
    path = fleet.settings.report
    if path is None:
        return
    from pytest_gaitperf.report.html.data import ReportData  # noqa: PLC0415 - asked for
    from pytest_gaitperf.report.html.page import page  # noqa: PLC0415 - as above

    for board in fleet.boards.values():
        if board.results is not None:
            known = {}
            with suppress(GaitperfError):  # damaged baselines: every cell has said so
                store = BaselineStore(fleet.settings.baselines, board.profile, {})
                known = {f"{one.model}-{one.key}": one for one in store.cells()}
            data = ReportData((board.results,), known)
            write_output(file_of(board, path), page(data).encode())
    fleet.written.append(f"report written: a page of each board beside {path}")


def _exports(fleet: Controller) -> None:
    for name, path in fleet.settings.exports.items():
        for board in fleet.boards.values():
            figures = session_of(board.results) if board.results is not None else None
            if figures is not None and figures.cells:
                own = file_of(board, path)
                write_output(own, exporter(name).export([figures], own.name).encode())
        fleet.written.append(f"{name} written: a file of each board beside {path}")


def _summary(fleet: Controller) -> None:
    asked, given = fleet.settings.summary, os.environ.get("GITHUB_STEP_SUMMARY")
    if asked is None and not given:
        return
    text = markdown(fleet.boards.values())
    if asked is not None:
        write_output(asked, text.encode())
    if given:
        try:
            with Path(given).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise GaitperfError(f"no job summary in {given}: {error.strerror or error}") from None


def markdown(boards: Iterable[Board], most_bytes: int = MOST_BYTES) -> str:
    """Return all boards in a table, then each board's own summary, worst first, as far as it fits.

    ``most_bytes`` bounds the whole, but for the table.
    """
    ordered = sorted(boards, key=lambda board: (not board.code, board.name))
    bad = sum(bool(board.code) for board in ordered)
    title = f"❌ gaitperf: {count(bad, 'board')} of {len(ordered)} not green"
    if not bad:
        title = f"✅ gaitperf: {count(len(ordered), 'board')}, all green"
    rows = [(board.name, board.profile or "unknown", board.ending) for board in ordered]
    parts = [f"## {title}\n\n", table(("board", "profile", "outcome"), rows), "\n"]
    room, left_out = most_bytes, 0
    for board in ordered:
        part = f"\n# {escape(board.name)}\n\n{board.report.summary}" if board.report else ""
        room -= len(part.encode())
        if room < 0:
            left_out += 1
        else:
            parts.append(part)
    if left_out:
        parts.append(f"\n{count(left_out, 'board')} left out: see --gaitperf-json\n")
    return "".join(parts)
