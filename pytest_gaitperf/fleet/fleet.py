"""The pytest that gathers a fleet: it measures nothing itself.

Each board runs the whole suite in a pytest of its own, at its own pace; execnet carries the job
there and the record back. All that travels is plain data, which is checked as any file is.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import execnet
import pytest
from _pytest.config import create_terminal_writer

from pytest_gaitperf.config.option import without
from pytest_gaitperf.config.settings import Settings, load_settings
from pytest_gaitperf.engine.usage import check_outputs, check_words
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, sanitize
from pytest_gaitperf.files import write_output
from pytest_gaitperf.fleet.board import Board, baselines_in, take_in
from pytest_gaitperf.fleet.conversation import Conversation
from pytest_gaitperf.report.exporters import exported
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.markdown import MOST_BYTES, escape, summary, table
from pytest_gaitperf.report.terminal import summarize
from pytest_gaitperf.report.text import text_width
from pytest_gaitperf.results import FLEET, Outcome
from pytest_gaitperf.results_file import encode
from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FLAG = "--gaitperf-board"
_OWN = {"--gaitperf-json", "--gaitperf-report", "--gaitperf-summary", "--gaitperf-export"}
_SHARED = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
_WORD = re.compile(r"popen|dont_write_bytecode|env:[^=]+=.*|[^=]+=.*\S.*")
"""A word of a board, as execnet has them: all others have a value."""
_WORDS = "give words such as ssh=HOST//chdir=DIR//python=PYTHON"


def gather(config: pytest.Config) -> int:
    """Run this command line on every board, write and show what they found, and return the code.

    1 where a board is red, else 10 where one is lost or unmeasured, else 0; a code that all share,
    such as 4 or 5 of pytest's own, stays. Raises ConfigurationError before anything is started.
    """
    settings = load_settings(config)
    _check(config, settings)
    settings = check_words(settings)
    check_outputs(replace(settings, power_trace=None))  # the boards write their traces themselves
    fleet = _Fleet(config, settings)
    stopped = False
    try:
        fleet.run()
    except KeyboardInterrupt:
        stopped = True
    finally:
        fleet.stop()
    fleet.write()
    fleet.show()
    return int(pytest.ExitCode.INTERRUPTED) if stopped else fleet.code


def _check(config: pytest.Config, settings: Settings) -> None:
    if "GAITPERF_BOARD" in os.environ:  # this is a board, and would start boards without end
        raise ConfigurationError(
            f"{_FLAG} is in addopts, which boards read too: give it on the command line"
        )
    if settings.power_modes or settings.gpu_clocks or settings.emc_clocks:
        raise ConfigurationError(
            f"{_FLAG} runs on several boards, and a sweep over power modes or clocks sets one: "
            "run the sweep on each board itself"
        )
    if getattr(config.option, "dist", "no") != "no" or getattr(config.option, "tx", None):
        raise ConfigurationError(f"{_FLAG} reaches the boards itself: leave pytest-xdist out")


class _Fleet:
    """The boards, from the first question to the last file."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        # No public access to a writer before a reporter is there.
        self._terminal = create_terminal_writer(config, sys.stdout)
        self._quiet = config.get_verbosity() < 0
        specs = _specs(settings.boards)
        self.boards = {
            spec.id: Board(spec.id, str(spec.ssh or spec.python or "here")) for spec in specs
        }
        self._conversation = Conversation(specs, self.boards, self._job, self._say)
        self._given = baselines_in(settings.baselines)
        self._written: list[str] = []
        self._problems: list[str] = []

    @property
    def code(self) -> int:
        """The exit code of the fleet."""
        codes = {board.code for board in self.boards.values()}
        if len(codes) == 1 and (code := codes.pop()) in _SHARED:
            return int(code or 0)
        outcomes = {board.outcome for board in self.boards.values()}
        if self._problems:
            outcomes.add(Outcome.UNMEASURED)
        return _worst(outcomes).exit_code

    def run(self) -> None:
        """Run the suite on every board that can."""
        self._conversation.run()

    def stop(self) -> None:
        """Leave the boards; what still runs there ends in good order."""
        self._conversation.stop()

    def write(self) -> None:
        """Write what was asked for; what cannot be written is a problem of the fleet."""
        for step in (self._baselines, self._results, self._pages, self._exports, self._summary):
            try:
                step()
            except GaitperfError as error:
                self._problems.append(str(error))

    def show(self) -> None:
        """Show each board's table, then all boards in one."""
        terminal, boards = self._terminal, list(self.boards.values())
        width = text_width(terminal.fullwidth)
        for board in boards:
            if board.run is not None:
                terminal.sep("=", f"gaitperf: {board.name}", blue=True, bold=True)
                summarize(
                    board.run,
                    terminal.line,
                    width=width,
                    colour=terminal.hasmarkup,
                    every=self._config.get_verbosity() > 0,
                    columns=self._settings.columns,
                )
        terminal.sep("=", "gaitperf fleet", blue=True, bold=True)
        names = max(len(board.name) for board in boards)
        profiles = max(len(board.profile) for board in boards)
        for board in boards:
            place = f"{board.name:{names}}  {sanitize(board.profile):{profiles}}  "
            markup = {"green": True} if board.outcome is Outcome.GREEN else {"red": True}
            lines = textwrap.wrap(board.ending, max(width - len(place), 30), break_long_words=False)
            for line in (place + lines[0], *(" " * len(place) + more for more in lines[1:])):
                terminal.line(sanitize(line.rstrip()), **markup)
        bad = sum(board.outcome is not Outcome.GREEN for board in boards)
        terminal.line(
            f"{bad} of {count(len(boards), 'board')} not green" if bad else "every board is green"
        )
        for line in self._written:
            terminal.line(line)
        for problem in self._problems:
            terminal.line(f"ERROR: {sanitize(problem)}", red=True, bold=True)

    def _job(self, name: str) -> dict[str, object]:
        words = list(map(str, self._config.invocation_params.args))
        arguments = without(
            words, {_FLAG, "--junitxml", "--junit-xml", "--gaitperf-baselines", *_OWN}
        )
        if self._settings.power_trace is not None:
            arguments = without(arguments, {"--power-trace"})
            arguments.append(f"--power-trace={self._settings.power_trace / name}")
        junit = getattr(self._config.option, "xmlpath", None) is not None
        return {
            "name": name,
            "arguments": arguments,
            "baselines": str(self._settings.baselines),
            "files": self._given,
            "junit": junit,
        }

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._terminal.line(sanitize(text))
            self._terminal.flush()

    # Files

    def _baselines(self) -> None:
        if self._settings.update == "none":
            return
        written: list[Path] = []
        for board in self.boards.values():
            if board.baselines and board.outcome is Outcome.GREEN:
                try:
                    board.check_own()
                    written += take_in(
                        self._settings.baselines, self._given, board.baselines, board.name
                    )
                except GaitperfError as error:
                    why = " ".join(str(error).split())  # in a line, as all that a board says
                    self._problems.append(f"the baselines of {board.name} were not taken: {why}")
        if written:
            self._written.append(
                f"baselines written: {', '.join(map(str, dict.fromkeys(written)))}"
            )

    def _results(self) -> None:
        """Write each board's results, and an index of all boards at the path that was given."""
        self._write_junit()
        path = self._settings.json
        if path is None:
            return
        for board in self._with_results():
            write_output(_file_of(board, path), encode(board.run).encode())
        index = {
            "schema": FLEET,
            "outcome": _worst(board.outcome for board in self.boards.values()).value,
            "boards": [
                {
                    "board": board.name,
                    "where": board.where,
                    "profile": board.run.profile.id if board.run is not None else None,
                    "outcome": board.outcome.value,
                    "lost": board.code is None,
                    "exit_code": board.code,
                    "why": board.why or None,
                    "results": _file_of(board, path).name if board.run is not None else None,
                }
                for board in self.boards.values()
            ],
        }
        write_output(path, (json.dumps(index, indent=1) + "\n").encode())
        own = ", ".join(_file_of(board, path).name for board in self._with_results())
        self._written.append(f"results written: {path}" + (f", beside it {own}" if own else ""))

    def _write_junit(self) -> None:
        given = getattr(self._config.option, "xmlpath", None)
        for board in self.boards.values():
            if given is not None and board.junit:
                write_output(_file_of(board, Path(given)), board.junit.encode())

    def _pages(self) -> None:
        path = self._settings.report
        if path is None:
            return
        for board in self._with_results():
            write_output(_file_of(board, path), page([board.run], {}).encode())
        self._written.append(f"report written: a page of each board beside {path}")

    def _exports(self) -> None:
        for name, path in self._settings.exports.items():
            for board in self._with_results():
                own = _file_of(board, path)
                write_output(own, exported(name, [board.run], own.name))
            self._written.append(f"{name} written: a file of each board beside {path}")

    def _summary(self) -> None:
        asked, given = self._settings.summary, os.environ.get("GITHUB_STEP_SUMMARY")
        text = ""
        if asked is not None or given:
            text = markdown(self.boards.values(), columns=self._settings.columns)
        if asked is not None:
            write_output(asked, text.encode())
        if given:
            try:
                with Path(given).open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                why = error.strerror or error
                raise GaitperfError(f"no job summary in {given}: {why}") from None

    def _with_results(self) -> list[Any]:
        return [board for board in self.boards.values() if board.run is not None]


def _specs(boards: Sequence[str]) -> list[Any]:
    """Return execnet's specs, each with a name: by ``id=``, else by its host."""
    names: set[str] = set()
    specs = []
    for number, text in enumerate(boards):
        if wrong := [word for word in text.split("//") if not _WORD.fullmatch(word)]:
            raise ConfigurationError(f"{_FLAG}={text}: {wrong[0]!r} is no word of one: {_WORDS}")
        try:
            spec = execnet.XSpec(text)
        except (AttributeError, ValueError, KeyError) as error:
            raise ConfigurationError(f"{_FLAG}={text}: {error}: {_WORDS}") from None
        host = spec.ssh.split()[-1].rpartition("@")[2] if spec.ssh else ""
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", spec.id or host or f"board{number}")
        spec.id = name if name not in names else f"{name}-{number}"
        names.add(spec.id)
        specs.append(spec)
    return specs


def _file_of(board: Board, path: Path) -> Path:
    """Return a board's own file: its name before the suffix."""
    return path.with_name(f"{path.stem}-{board.name}{path.suffix}")


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    found = set(outcomes)
    for outcome in (Outcome.RED, Outcome.UNMEASURED):
        if outcome in found:
            return outcome
    return Outcome.GREEN


def markdown(
    boards: Iterable[Board], most_bytes: int = MOST_BYTES, columns: tuple[str, ...] = ()
) -> str:
    """Return all boards in a table, then each board's own summary, worst first, as far as it fits.

    ``most_bytes`` bounds the whole, but for the table; ``columns`` as of ``summary``.
    """
    ordered = sorted(boards, key=lambda board: (board.outcome is Outcome.GREEN, board.name))
    bad = sum(board.outcome is not Outcome.GREEN for board in ordered)
    title = f"❌ gaitperf: {count(bad, 'board')} of {len(ordered)} not green"
    if not bad:
        title = f"✅ gaitperf: {count(len(ordered), 'board')}, all green"
    rows = [(board.name, board.profile, board.ending) for board in ordered]
    parts = [f"## {title}\n\n", table(("board", "profile", "outcome"), rows), "\n"]
    room, left_out = most_bytes, 0
    for board in ordered:
        part = ""
        if board.run is not None:
            part = f"\n# {escape(board.name)}\n\n{summary(board.run, columns=columns)}"
        room -= len(part.encode())
        if room < 0:
            left_out += 1
        else:
            parts.append(part)
    if left_out:
        parts.append(f"\n{count(left_out, 'board')} left out: see --gaitperf-json\n")
    return "".join(parts)
