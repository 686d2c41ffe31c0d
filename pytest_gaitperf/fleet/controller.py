"""The pytest that gathers a fleet: it measures nothing itself."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.config.settings import load_settings
from pytest_gaitperf.errors import GaitperfError, sanitize
from pytest_gaitperf.files import check_writable
from pytest_gaitperf.fleet.board import LOST, Board
from pytest_gaitperf.fleet.messages import BASELINES, CELL, INPUT, OUTPUT, PROBLEM
from pytest_gaitperf.report.text import text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _pytest.terminal import TerminalReporter

_BY_ITSELF = re.compile(r"gw\d+")
_LOUDEST = (pytest.ExitCode.TESTS_FAILED, LOST)


class Controller:
    """The plugin of a run with ``--dist each``: boards by the name of their gateway.

    Raises ConfigurationError for settings that cannot be read, GaitperfError for files that cannot
    be written.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.settings = load_settings(config)
        settings = self.settings
        outputs = (settings.json, settings.report, settings.summary, *settings.exports.values())
        for path in filter(None, outputs):
            check_writable(path)
        if settings.report is not None:
            from pytest_gaitperf.report.html.page import require_plotly  # noqa: PLC0415 - asked for

            require_plotly()
        self.boards: dict[str, Board] = {}
        self.written: list[str] = []
        self.problems: list[str] = []
        self._channels: dict[str, Any] = {}

    @property
    def concerned(self) -> bool:
        """Whether a board measures, or cannot: other people's tests may be distributed so, too."""
        return any(board.profile or board.why for board in self.boards.values())

    # What xdist asks and tells

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Put our way to distribute in place of xdist's."""
        plain = config.pluginmanager.get_plugin("dsession")
        if plain is None:  # only collecting
            return
        from pytest_gaitperf.fleet.distribution import FleetSession  # noqa: PLC0415 - xdist

        config.pluginmanager.unregister(plain)
        config.pluginmanager.unregister(name="terminaldistreporter")
        config.pluginmanager.register(FleetSession(config, self), "dsession")

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        """Name each board: by ``id=`` of its gateway, else by its host."""
        for spec in specs:
            host = spec.ssh.split()[-1].rpartition("@")[2] if spec.ssh else ""
            if host and _BY_ITSELF.fullmatch(spec.id):
                spec.id = f"{host}-{spec.id}" if host in self.boards else host
            spec.id = re.sub(r"[^A-Za-z0-9_.-]+", "-", spec.id)
            self.boards[spec.id] = Board(spec.id, str(spec.ssh or spec.python or "here"))

    def pytest_configure_node(self, node: Any) -> None:
        """Open a channel of our own to a board: what it tells on the way comes on it."""
        name = node.gateway.id
        channel = node.gateway.newchannel()
        channel.setcallback(
            lambda message: node.putevent(("gaitperf", {"board": name, "message": message}))
        )
        node.workerinput[INPUT] = {
            "board": name,
            "channel": channel,
            "baselines": str(self.settings.baselines),
            "width": self._width(),
        }
        self._channels[name] = channel

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Keep what a board tells at its end, or why it is lost."""
        board = self.boards[node.gateway.id]
        if error:
            self.lost(board.name, _why(error))
            return
        output = node.workeroutput
        if OUTPUT in output:
            board.take(output[OUTPUT])
        else:
            board.take({"code": int(output["exitstatus"])})
        if board.profile or board.why:
            self._say(f"[{board.name}] {board.ending}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Say in each test's name whose it is, in the way of xdist's groups."""
        node = getattr(report, "node", None)
        if node is not None and self.boards[node.gateway.id].profile:
            name = report.nodeid.removesuffix("]")
            report.nodeid = f"{name}@{node.gateway.id}{report.nodeid[len(name) :]}"

    # What the session tells

    def reachable(self, specs: Sequence[Any]) -> list[Any]:
        """Return where workers can run; the other boards are lost, with the reason."""
        from pytest_gaitperf.fleet.reaching import problems  # noqa: PLC0415 - needs subprocess

        found = problems(specs)
        for name, why in found.items():
            if why:
                self.lost(name, why)
        return [spec for spec in specs if not found[spec.id]]

    def lost(self, name: str, why: str) -> None:
        """Note why a board is lost; what came first is the cause."""
        board = self.boards[name]
        if not board.why:
            board.why = why
            self._say(f"[{name}] lost: {why}")

    def why_lost(self) -> str:
        """Say of all boards why they are lost."""
        return "; ".join(f"{board.name}: {board.why}" for board in self.boards.values())

    def hear(self, name: str, message: Any) -> None:
        """Take a message: a line, what is wrong, or the profile whose baselines are needed."""
        board = self.boards[name]
        try:
            kind, text = map(str, message)
        except (TypeError, ValueError):
            return
        if kind == CELL:
            self._say(f"[{name}] {sanitize(text)}")
        elif kind == PROBLEM:
            board.why = board.why or sanitize(text)
        elif kind == BASELINES:
            with suppress(OSError):  # it is gone again: xdist will say so
                self._channels[name].send(self._baselines(board, text))

    def _baselines(self, board: Board, profile: str) -> dict[str, Any]:
        """Return what a board is to compare with: the texts by model, or what is wrong here."""
        from pytest_gaitperf.fleet.merging import baselines_of  # noqa: PLC0415 - msgspec

        board.profile = profile
        try:
            board.given = baselines_of(self.settings.baselines, profile)
        except GaitperfError as error:
            return {"problem": str(error)}
        return {"files": dict(board.given)}

    # The end

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write what all boards gave, and settle the exit code: the worst of theirs."""
        from pytest_gaitperf.fleet.ending import write  # noqa: PLC0415 - only at the end of a fleet

        if not self.concerned:
            return
        for board in self.boards.values():
            if board.report is None and not board.why:
                board.why = "the fleet was stopped before it was through"
        write(self)
        if exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.TESTS_FAILED,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = self._worst()

    def _worst(self) -> int:
        codes = Counter(board.code for board in self.boards.values())
        if self.problems:
            codes[LOST] += 1
        if len(codes) == 1:
            return next(iter(codes))
        # Of a fleet that agrees on nothing else it matters whether anything is red.
        return next((int(code) for code in _LOUDEST if codes[code]), LOST)

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show each board's table, then all boards in one."""
        if self.concerned:
            from pytest_gaitperf.fleet.showing import summarize  # noqa: PLC0415 - at the end

            summarize(terminalreporter, self)

    def _width(self) -> int:
        reporter = self._reporter()
        # No public access to the writer's width.
        return text_width(reporter._tw.fullwidth) if reporter is not None else 80  # noqa: SLF001

    def _reporter(self) -> TerminalReporter | None:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def _say(self, text: str) -> None:
        reporter = self._reporter()
        if reporter is not None and reporter.verbosity >= 0:
            reporter.ensure_newline()
            reporter.write_line(text)
            reporter.currentfspath = None  # pytest goes on with its dots on the next line
            reporter.flush()


def _why(error: object) -> str:
    """Say in a line why a worker is gone, as xdist or execnet tells it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines or lines == ["Not properly terminated"]:
        return "its pytest was killed, or the connection broke"
    return sanitize(lines[-1])
