"""The pytest on a board: it measures as ever, and hands its results over in place of writing."""

from __future__ import annotations

import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.terminal import TerminalReporter

from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.fleet.messages import BASELINES, CELL, OUTPUT, PROBLEM

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.engine.session import Session
    from pytest_gaitperf.report.progress import Progress

_ANSWER_S = 600.0
_RECORDED = {"missing": "recorded", "regressed": "accepted"}
"""What these verdicts are called where the baseline got the cell."""


class Worker:
    """The plugin of a board's pytest.

    ``name`` is the board's, ``baselines_named`` the controller's directory of baselines.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.name = str(given["board"])
        self._channel = given["channel"]
        self.baselines_named = Path(given["baselines"])
        self._width = int(given["width"])
        self._private: TemporaryDirectory[str] | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Tell why nothing can be run here: xdist would not."""
        try:
            return (yield)
        except pytest.UsageError as error:
            self._channel.send((PROBLEM, str(error)))
            raise

    def pytest_unconfigure(self) -> None:
        """Remove the private baselines."""
        if self._private is not None:
            self._private.cleanup()

    def own(self, settings: Settings) -> Settings:
        """Return the settings of this board: no file but power traces is written on it.

        The baselines of its profile are fetched into a private directory. Raises BaselineError for
        damaged ones.
        """
        from pytest_gaitperf.host.identity import identify  # noqa: PLC0415 - only to measure

        os.environ.pop("GITHUB_STEP_SUMMARY", None)  # what the controller adds is enough
        profile = settings.profile or identify().id
        self._channel.send((BASELINES, profile))
        answer = self._channel.receive(_ANSWER_S)
        if "problem" in answer:
            raise BaselineError(answer["problem"])
        self._private = TemporaryDirectory(prefix="gaitperf-baselines-")
        directory = Path(self._private.name) / profile
        directory.mkdir()
        for model, content in answer["files"].items():
            (directory / f"{model}.json").write_bytes(content)
        trace = settings.power_trace
        return replace(
            settings,
            profile=profile,
            baselines=Path(self._private.name),
            json=None,
            report=None,
            summary=None,
            exports={},
            power_trace=None if trace is None else trace / self.name,
        )

    def progress(self, config: pytest.Config) -> Progress:
        """Return what shows each line on the controller."""
        from pytest_gaitperf.report.progress import Progress  # noqa: PLC0415 - only to measure

        channel = self._channel

        class Told(Progress):
            def say(self, text: str) -> None:
                channel.send((CELL, text))

            def live(self, text: str) -> None:
                """Show nothing: fifty live lines are none."""

        return Told(config)

    def tell(self, config: pytest.Config, session: Session, code: int, *, clean: bool) -> None:
        """Leave this board's results for xdist to carry, as ``board.Report`` has them."""
        from msgspec.structs import replace  # noqa: PLC0415 - only at the end

        from pytest_gaitperf.report.results import results, results_text  # noqa: PLC0415
        from pytest_gaitperf.report.summary import summary  # noqa: PLC0415
        from pytest_gaitperf.report.terminal import summarize  # noqa: PLC0415

        report: dict[str, Any] = {"code": code}
        if session.results:
            words = Counter(
                _RECORDED.get(verdict.state.value, verdict.state.value)
                if result.recorded
                else verdict.state.value
                for result in session.results.values()
                for verdict in result.verdicts.values()
            )
            errors = sum(result.error is not None for result in session.results.values())
            report |= {
                "results": results_text(replace(results(session), board=self.name)),
                "summary": summary(session, clean=clean),
                "verdicts": dict(words) | ({"not measured": errors} if errors else {}),
                "baselines": {path.stem: path.read_text() for path in session.written},
            }
        section = io.StringIO()
        reporter = TerminalReporter(config, section)
        writer = reporter._tw  # noqa: SLF001 - it is to write for the controller's terminal
        writer.fullwidth, writer.hasmarkup = self._width, False
        summarize(reporter, session)
        # What is shown names the controller's directory and not the private one.
        there, here = str(self.baselines_named), str(session.settings.baselines)
        report["text"] = section.getvalue().partition("\n")[2].replace(here, there)
        report["problems"] = [problem.replace(here, there) for problem in session.problems]
        config.workeroutput[OUTPUT] = report  # type: ignore[attr-defined]  # xdist's
