"""A run that measures: a plugin of its own, which is there only when a test measures."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import pytest_benchmark
from pytest_gaitperf.config.grid import Grid, load_grid
from pytest_gaitperf.config.marker import read_marker
from pytest_gaitperf.config.settings import Settings, load_settings
from pytest_gaitperf.engine.closing import close
from pytest_gaitperf.engine.engine import Engine
from pytest_gaitperf.engine.interruption import Interruption
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.engine.resuming import check_resume, keep_journal, resume
from pytest_gaitperf.engine.usage import check_words
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, sanitize
from pytest_gaitperf.host.modes import MODE_SET, restore_leftover
from pytest_gaitperf.own import NARROWED, REFUSAL, is_ours
from pytest_gaitperf.perf import Loader, Perf, PowerMeter, failing
from pytest_gaitperf.progress import TerminalProgress
from pytest_gaitperf.report.ci import Failed, annotate, properties_of_run
from pytest_gaitperf.report.terminal import summarize
from pytest_gaitperf.report.text import text_width
from pytest_gaitperf.results import Outcome
from pytest_gaitperf.text import count
from pytest_gaitperf.workload import Workload
from pytest_gaitperf.zoo import repository as zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.results import Run
    from pytest_gaitperf.triton.server import TritonServer

_ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


class Running:
    """The engine of this run, with the hooks that drive it; ``record`` is there at the end.

    Raises ConfigurationError for a setting that cannot be read.
    """

    def __init__(self, config: pytest.Config) -> None:
        settings = load_settings(config)
        if settings.boards:
            raise ConfigurationError(
                "boards is set in a file, which would make every run a fleet: give "
                "--gaitperf-board on the command line, once for each"
            )
        settings = check_words(settings)
        said = _check_power_mode(config, settings)
        self._config = config
        self._progress = TerminalProgress(config)
        if said:
            self._progress.say(said)
        hook = config.hook
        resources = Resources(
            settings,
            _log_directory(config),
            self._progress,
            prepare=hook.pytest_gaitperf_prepare_models,
            board=os.environ.get("GAITPERF_BOARD", ""),
        )
        self.engine = Engine(
            resources,
            lambda workload, verdict: hook.pytest_gaitperf_verdict(
                workload=workload, verdict=verdict
            ),
        )
        keep_journal(self.engine)
        self.record: Run | None = None
        self.suite_property: Callable[[str, object], None] | None = None
        """Adds a property to the file of ``--junitxml``; set when a test gets ``perf``."""
        self._interruption = Interruption()
        self._grid: Grid | None = None
        self._idle: set[str] = set()
        self._of_answers: set[str] = set()
        self._uncollected = 0
        # At the end: what raises before it is tried again for the next test.
        config.pluginmanager.register(zoo, "gaitperf-zoo")

    # Collection

    def generate(self, metafunc: pytest.Metafunc) -> None:
        """Run a test that asks for ``perf_cell`` once for each cell of its grid.

        A grid that its marker makes impossible is this test's error. Raises GaitperfError for what
        concerns every test: the options, the grid's file, a word or a rule in a marker.
        """
        engine = self.engine
        marker = read_marker(metafunc.definition)
        if self._grid is None:
            self._grid = load_grid(engine.settings.grid)
        offers = engine.resources.offers
        cells: Sequence[Workload | GaitperfError]
        try:
            grid = self._grid
            for arguments in marker.grids:
                grid = grid.narrowed(arguments, marker.where)
            found = engine.plan(grid, offers, marker.quantity)
            if marker.quantity == "accuracy":
                self._of_answers.add(f"{metafunc.definition.nodeid}[")
            if marker.quantity:
                found = [one for one in found if marker.quantity in one.quantities]
                self._idle |= set() if found else {f"{metafunc.definition.nodeid}["}
        except GaitperfError as error:
            if not any(marker.grids):
                raise
            cells, ids = [error], ["error"]
        else:
            engine.policies.mark(found, marker.rules, marker.where)
            cells, ids = found, [workload.id for workload in found]
        metafunc.parametrize("perf_cell", cells, ids=ids, indirect=True, scope="session")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop the tests of a quantity that no cell has: pytest would skip each, and say so."""
        items[:] = [item for item in items if not item.nodeid.startswith(tuple(self._idle))]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the cells of the tests that are left after deselection."""
        measured: dict[Workload, None] = {}
        loaded: list[Workload] = []
        others = False
        for item in session.items:
            params = item.callspec.params if hasattr(item, "callspec") else {}
            workload = params.get("perf_cell")
            if isinstance(workload, GaitperfError):
                continue  # its grid cannot be, as the test will say
            if "perf_cell" in params and not isinstance(workload, Workload):
                emptied = is_ours(item, "perf_cell") and not self._config.option.collectonly
                self.engine.without_cells += emptied
                continue  # its grid has none of the models that were asked for
            if isinstance(workload, Workload) and is_ours(item, "perf_cell"):
                if is_ours(item, "perf"):
                    measured[workload] = None
                else:
                    loaded.append(workload)
            else:
                others |= any(
                    is_ours(item, name) for name in ("triton_load", "perf", "triton_server")
                )
        self.engine.resources.plan(measured, loaded, others=others)
        if not any(one.nodeid.startswith(tuple(self._of_answers)) for one in session.items):
            self.engine.measuring.alone.asked.clear()  # it would be measured for nobody
        if (measured or others) and not self._config.option.collectonly:
            try:
                self.engine.check_settings()
                check_resume(self.engine)
                if self.engine.settings.benchmarks:
                    pytest_benchmark.check(self._config)
            except GaitperfError as error:
                raise pytest.UsageError(str(error)) from None

    # The measuring phase

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Measure, judge and confirm what is planned, before the first test."""
        option = session.config.option
        self._uncollected = session.testsfailed
        broken = session.testsfailed and not option.continue_on_collection_errors
        only_shown = option.collectonly or getattr(option, "setupplan", False)
        if self.engine.resources.planned and not broken and not only_shown:
            began_s = time.monotonic()
            resume(self.engine)
            self.engine.run_planned()
            self._progress.clear()
            self._progress.say(f"measured in {time.monotonic() - began_s:.1f} s")
        result = yield
        if self.engine.settings.benchmarks and not only_shown:
            found = [cell.record() for cell in self.engine.measuring.cells.values()]
            pytest_benchmark.show(session.config, found, self.engine.resources.profile.id)
        return result

    # What fixtures give

    def cell(self, found: Workload | GaitperfError) -> Workload:
        """Return what ``perf_cell`` gives: the cell, where its grid has one."""
        with failing():
            if isinstance(found, GaitperfError):
                raise found
        return found

    def server(self) -> TritonServer:
        """Return the server of ``triton_server``."""
        engine = self._engine()
        with failing():
            return engine.resources.server

    def power_meter(self) -> PowerMeter:
        """Return what ``power_meter`` gives; the test is skipped where there is no meter."""
        engine = self._engine()
        with failing():
            metering = engine.resources.metering
        if metering.meter is None:
            pytest.skip(sanitize(metering.absent))
        return PowerMeter(metering, metering.meter)

    def loader(self) -> Loader:
        """Return what ``triton_load`` gives."""
        return Loader(self._engine())

    def perf(self, request: pytest.FixtureRequest) -> Perf:
        """Return what ``perf`` gives; a cell that could not be measured is an error of the test."""
        engine = self._engine()
        with failing():
            marker = read_marker(request.node)
        request.getfixturevalue("_gaitperf_properties")
        perf = Perf(request.node, engine, marker)
        if is_ours(request.node, "perf_cell"):
            perf.measure(request.getfixturevalue("perf_cell"))
        return perf

    def _engine(self) -> Engine:
        # Tests are refused before they run; but one can also ask for a fixture while it runs.
        if self._config.pluginmanager.has_plugin(REFUSAL):
            pytest.fail("measurements cannot share a device: run without -n", pytrace=False)
        with failing():
            self.engine.resources.take_device()
        return self.engine

    # What becomes of tests, and the end

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep with a failed test whether the record of its cell tells why."""
        report = yield
        self._progress.clear()
        if report.failed:
            error = None if call.excinfo is None else call.excinfo.value
            why = getattr(error, "gaitperf", "failed")
            report.gaitperf = why  # type: ignore[attr-defined]  # for the next hook
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a failure for good: here one that is run again does not come."""
        why = getattr(report, "gaitperf", "")
        if report.failed and why == "failed":
            self.engine.failed_tests.append(report.nodeid)
        elif report.failed and why == "unmeasured":
            self.engine.unmeasured_tests.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Record the run, and settle the exit code: green 0, red 1, unmeasured 10."""
        self._interruption.postpone()
        ended = exitstatus in _ENDED
        stopped = session.shouldfail or session.shouldstop
        narrowed = NARROWED in self._config.stash
        if ended and self._uncollected:
            self.engine.failed_tests.append(f"collecting {count(self._uncollected, 'module')}")
        whole = ended and not (stopped or narrowed or self._uncollected)
        whole = whole and asks_for_all(self._config)
        interruption = self._interruption
        hook = self._config.hook
        run = self.record = close(
            self.engine,
            ended=ended,
            whole=whole,
            interrupted=lambda: interruption.arrived > 0,
            more=lambda run: hook.pytest_gaitperf_record(run=run),
        )
        if self.suite_property is not None:  # before pytest writes its file, in the same hook
            for name, value in properties_of_run(run):
                self.suite_property(name, value)
        hook.pytest_gaitperf_finished(run=run)
        if exitstatus == pytest.ExitCode.OK and interruption.arrived:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        elif run.outcome is not Outcome.GREEN and exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.TESTS_FAILED,
        ):
            session.exitstatus = run.outcome.exit_code

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show the table, and what was written; on GitHub annotate what is not green."""
        run = self.record
        if run is None or not (run.cells or run.problems) or self._config.option.collectonly:
            return
        terminalreporter.write_sep("=", "gaitperf", blue=True, bold=True)
        writer = terminalreporter._tw  # noqa: SLF001 - no public access to its width and colours
        summarize(
            run,
            terminalreporter.write_line,
            width=text_width(writer.fullwidth),
            colour=writer.hasmarkup,
            every=terminalreporter.verbosity > 0,
            columns=self.engine.settings.columns,
        )
        if os.environ.get("GITHUB_ACTIONS") == "true":
            stats, rootdir = terminalreporter.stats, self._config.rootpath
            failed = [*stats.get("failed", ()), *stats.get("error", ())]
            workspace = Path(os.environ.get("GITHUB_WORKSPACE", rootdir))
            for line in annotate(run, map(_failed, failed), rootdir, workspace):
                terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Stop what was started, whatever happened before."""
        self._interruption.postpone()
        self.engine.resources.close()
        self._interruption.restore()


def asks_for_all(config: pytest.Config) -> bool:
    """Return whether the command line names whole directories, and leaves nothing in them out.

    What ``-k``, ``-m`` and ``--deselect`` leave out is told by pytest.
    """
    narrow = ("lf", "stepwise", "ignore", "ignore_glob")
    if any(config.getoption(option, None) for option in narrow):
        return False
    return all((config.invocation_params.dir / one).is_dir() for one in config.args)


def _failed(report: pytest.TestReport | pytest.CollectReport) -> Failed:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext if crash is None else str(crash.message).removeprefix("Failed: ")
    file, line, name = report.location or (report.nodeid, None, report.nodeid)
    return Failed(report.nodeid, name, file, line, text, report.when == "call")


def _log_directory(config: pytest.Config) -> Path | None:
    """Return where to keep the log of a started server; None, for none, without a cache there."""
    if not config.pluginmanager.has_plugin("cacheprovider"):
        return None
    try:
        directory = Path(config.cache.mkdir("gaitperf"))
    except OSError:  # a checkout that only may be read
        return None
    return directory if os.access(directory, os.W_OK) else None


def _check_power_mode(config: pytest.Config, settings: Settings) -> str:
    """Restore the power mode that a killed sweep left behind; return a line about it.

    Raises ConfigurationError where another run is changing the modes, and for a sweep that is not
    asked for on the command line.
    """
    if MODE_SET in os.environ or config.option.collectonly:
        return ""
    for key in ("power_modes", "gpu_clocks", "emc_clocks"):
        if words := getattr(settings, key):
            raise ConfigurationError(
                f"{key} is set in a file, which would make every run a sweep: give "
                f"--gaitperf-{key.replace('_', '-')}={','.join(words)} on the command line"
            )
    return restore_leftover()
