"""pytest hooks, nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.fixtures import (
    BOARD,
    INTERRUPTION,
    SESSION,
    cell,
    get_session,
    load,
    perf,
    power_meter,
    properties_of_the_run,
    triton,
)
from pytest_gaitperf.options import add_options

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from _pytest.terminal import TerminalReporter

    from pytest_gaitperf.fleet.worker import Worker

__all__ = ["cell", "load", "perf", "power_meter", "properties_of_the_run", "triton"]

_MARKER = (
    "gaitperf(models, batch_sizes, concurrencies, request_rates, subjects, most_subjects, arrival, "
    "frame_rate, deadline, percentile, protocol, transport, shapes, ranges, tolerance, tolerances, "
    "limits): the cells that a test with the fixture 'cell' is run for, in place of the grid's, "
    """and what is asked of the test's cells. All are optional; what is not given is the grid's.
    models: name or pattern, or a list of them. batch_sizes: list of whole numbers.
    Loads, lists, of which one or more (the others are then none): concurrencies (requests in
    flight), request_rates (per second), subjects; or most_subjects=True, a search for the most.
    arrival: "constant" (default) or "poisson", of request rates. frame_rate: inferences per second
    of a subject (25). deadline: text, such as "20 ms" (one frame). percentile: in time (99).
    protocol: "http" or "grpc". transport: "inline" or "shm".
    shapes: {model: {tensor: [sizes]}}, of dynamic tensors. ranges: {model: {tensor: [low, high]}}.
    tolerance: 0.05 or "5%". tolerances: {metric: the same}. limits: ["latency_p99 <= 40 ms"].
    Example: @pytest.mark.gaitperf(models="resnet*", batch_sizes=[1, 8], concurrencies=[4])"""
)
_PROBLEM = pytest.StashKey[str]()
_NARROWED = pytest.StashKey[bool]()
_OUTCOMES = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options: see ``options.py``."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[_OUTCOMES] = {"setup": 0, "call": 0}


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """See to pytest-xdist; run pytest once for each of the power modes that were asked for."""
    option = config.option
    _prepare_distribution(config)
    if not option.gaitperf_power_modes or option.help or option.version or option.collectonly:
        return None
    from pytest_gaitperf.errors import GaitperfError  # noqa: PLC0415
    from pytest_gaitperf.host.power_modes import MODE_SET  # noqa: PLC0415 - only for a sweep

    if MODE_SET in os.environ:
        return None
    from pytest_gaitperf.sweep import sweep  # noqa: PLC0415

    try:
        return sweep(config)
    except GaitperfError as error:
        raise pytest.UsageError(str(error)) from None


def _prepare_distribution(config: pytest.Config) -> None:
    """Make ``--dist each`` a fleet; refuse what else xdist would do with tests that measure."""
    given = getattr(config, "workerinput", None)
    option = config.option
    if given is None and (getattr(option, "dist", "no") == "no" or not option.tx):
        return
    # Not at the top: only under xdist.
    from pytest_gaitperf.fleet.messages import INPUT  # noqa: PLC0415

    if given is not None and INPUT in given:
        from pytest_gaitperf.fleet.worker import Worker  # noqa: PLC0415

        config.pluginmanager.register(Worker(given[INPUT]), BOARD)
        return
    from pytest_gaitperf.errors import GaitperfError  # noqa: PLC0415
    from pytest_gaitperf.fleet.asked import is_fleet  # noqa: PLC0415
    from pytest_gaitperf.fleet.refusal import Refusal, RefusingWorker  # noqa: PLC0415

    try:
        if given is not None:
            config.pluginmanager.register(RefusingWorker(), "gaitperf-refusal")
        elif option.dist != "each" or option.numprocesses or not is_fleet(config):
            config.pluginmanager.register(Refusal(), "gaitperf-refusal")
        else:
            from pytest_gaitperf.fleet.controller import Controller  # noqa: PLC0415

            config.pluginmanager.register(Controller(config), "gaitperf-fleet")
    except GaitperfError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``cell`` once for each cell of its grid."""
    if "cell" not in metafunc.fixturenames:
        return
    # Not at the top: only when measuring.
    from pytest_gaitperf.config.grid import expand, load_grid  # noqa: PLC0415
    from pytest_gaitperf.config.marker import read_marker  # noqa: PLC0415
    from pytest_gaitperf.errors import GaitperfError  # noqa: PLC0415

    cells = []
    try:
        session = get_session(metafunc.config)
        marker = read_marker(metafunc.definition)
        grid = load_grid(session.settings.grid)
        for arguments in marker.grids:
            grid = grid.narrowed(arguments, marker.where)
        settings = session.settings
        cells = expand(
            grid,
            session.resources.known_models,
            settings.models,
            unavailable=session.resources.unavailable_models,
            protocol=settings.protocol,
            transport=settings.transport,
            frame_rate=settings.frame_rate,
            deadline_s=settings.deadline,
        )
        session.policies.mark(cells, marker.rules, marker.where)
    except GaitperfError as error:
        # A usage error can only be raised once everything is collected.
        metafunc.config.stash.setdefault(_PROBLEM, str(error))
    ids = [workload.id for workload in cells]
    metafunc.parametrize("cell", cells, ids=ids, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Stop with a usage error when the cells could not be told."""
    # Where the tests are refused that need the cells, that is what is to be said.
    if _PROBLEM in config.stash and not config.pluginmanager.has_plugin("gaitperf-refusal"):
        if SESSION in config.stash:
            config.stash[SESSION].resources.close()
        raise pytest.UsageError(config.stash[_PROBLEM])


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note that the run leaves out some tests."""
    if items:
        items[0].config.stash[_NARROWED] = True


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note the cells of the tests that are left after deselection."""
    config = session.config
    if SESSION not in config.stash:
        return
    from pytest_gaitperf.workload import Workload  # noqa: PLC0415 - only when measuring

    measured: list[Workload] = []
    loaded: list[Workload] = []
    others = False
    for item in session.items:
        workload = item.callspec.params.get("cell") if hasattr(item, "callspec") else None
        fixtures = getattr(item, "fixturenames", ())
        if isinstance(workload, Workload):
            (measured if "perf" in fixtures else loaded).append(workload)
        else:
            others |= not {"load", "perf", "triton"}.isdisjoint(fixtures)
    config.stash[SESSION].resources.plan(dict.fromkeys(measured), loaded, others=others)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count failures by phase: a cell that cannot be measured fails in setup, a red one in call.

    What is shown while a cell is measured ends here: pytest goes on with its own line.
    """
    report = yield
    if SESSION in item.config.stash:
        item.config.stash[SESSION].progress.clear()
    if report.failed and report.when in ("setup", "call"):
        item.config.stash[_OUTCOMES][report.when] += 1
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write results and baselines, stop what was started, and settle the exit code.

    A run whose only failures are cells that could not be measured exits with 3, so that CI can
    tell a broken set-up from a regression (1).
    """
    config = session.config
    if SESSION not in config.stash:
        return
    interruption = config.stash[INTERRUPTION]
    interruption.postpone()
    from pytest_gaitperf.engine.orphans import asks_for_all  # noqa: PLC0415 - only when measuring
    from pytest_gaitperf.report.ending import finish  # noqa: PLC0415 - as above

    outcomes = config.stash[_OUTCOMES]
    measured = config.stash[SESSION]
    clean = exitstatus == pytest.ExitCode.OK
    ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    stopped = session.shouldfail or session.shouldstop
    whole = ended and not stopped and _NARROWED not in config.stash and asks_for_all(config)
    wrote = finish(measured, clean=clean, whole=whole, interrupted=lambda: interruption.arrived > 0)
    if clean and interruption.arrived:
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    elif (not wrote and clean) or (
        exitstatus == pytest.ExitCode.TESTS_FAILED and measured.has_errors and not outcomes["call"]
    ):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    board: Worker | None = config.pluginmanager.get_plugin(BOARD)
    if board is not None:
        board.tell(config, measured, int(session.exitstatus), clean=clean)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Show the table, and what was written; on GitHub annotate what is red."""
    if SESSION not in config.stash or config.option.collectonly or hasattr(config, "workerinput"):
        return
    from pytest_gaitperf.report.terminal import summarize  # noqa: PLC0415 - imports rich

    summarize(terminalreporter, config.stash[SESSION])
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from pytest_gaitperf.report.annotations import annotate  # noqa: PLC0415 - on GitHub only

        stats = terminalreporter.stats
        failed = [*stats.get("failed", ()), *stats.get("error", ())]
        for line in annotate(config.stash[SESSION], failed, config.rootpath):
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what was started, whatever happened before."""
    if SESSION in config.stash:
        config.stash[INTERRUPTION].postpone()
        config.stash[SESSION].resources.close()
        config.stash[INTERRUPTION].restore()
