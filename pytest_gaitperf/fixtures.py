"""The fixtures: ``triton``, ``power_meter``, ``cell`` and ``perf``."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, LeftOut, sanitize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_gaitperf.config.marker import Marker
    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.engine.interruption import Interruption
    from pytest_gaitperf.engine.loading import Loaded
    from pytest_gaitperf.engine.session import Session
    from pytest_gaitperf.fleet.worker import Worker
    from pytest_gaitperf.load.encode import Sample
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.power.spent import Spent
    from pytest_gaitperf.results import LimitCheck, Verdict
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

SESSION = pytest.StashKey["Session"]()
INTERRUPTION: pytest.StashKey[Interruption] = pytest.StashKey()
BOARD = "gaitperf-board"
"""The name of the plugin that a board's pytest has in a fleet."""


def get_session(config: pytest.Config) -> Session:
    """Return the state of this run, made on first use.

    Raises
    ------
    ConfigurationError
        A setting that cannot be read.
    """
    if SESSION not in config.stash:
        from pytest_gaitperf.config.settings import load_settings  # noqa: PLC0415
        from pytest_gaitperf.engine.interruption import Interruption  # noqa: PLC0415 - only when measuring
        from pytest_gaitperf.engine.resources import Resources  # noqa: PLC0415
        from pytest_gaitperf.engine.session import Session  # noqa: PLC0415
        from pytest_gaitperf.report.progress import Progress  # noqa: PLC0415 - only when measuring

        settings = load_settings(config)
        said = _check_power_mode(config, settings)
        board: Worker | None = config.pluginmanager.get_plugin(BOARD)
        if board is not None:
            settings = board.own(settings)
        progress = Progress(config) if board is None else board.progress(config)
        if said:
            progress.say(said)
        name = "gaitperf" if board is None else f"gaitperf-{board.name}"
        logs = _log_directory(config, name)
        resources = Resources(settings, logs, progress, board="" if board is None else board.name)
        if board is not None:
            resources.baselines_named = board.baselines_named
        config.stash[INTERRUPTION] = Interruption()
        config.stash[SESSION] = Session(resources)
    return config.stash[SESSION]


def _log_directory(config: pytest.Config, name: str) -> Path | None:
    """Return where to keep the log of a started server; None, for none, without a cache there."""
    if not config.pluginmanager.has_plugin("cacheprovider"):
        return None
    try:
        directory = Path(config.cache.mkdir(name))
    except OSError:  # a checkout that only may be read
        return None
    return directory if os.access(directory, os.W_OK) else None


def _check_power_mode(config: pytest.Config, settings: Settings) -> str:
    """Restore the power mode that a killed sweep left behind; return a line about it.

    Raises ConfigurationError where another run is changing the modes, and for a sweep that is not
    asked for on the command line.
    """
    from pytest_gaitperf.host.power_modes import MODE_SET, restore_leftover  # noqa: PLC0415

    if MODE_SET in os.environ or config.option.collectonly:
        return ""
    if settings.power_modes:
        raise ConfigurationError(
            "power_modes is set in a file, which would make every run a sweep: give "
            f"--gaitperf-power-modes={','.join(settings.power_modes)} on the command line"
        )
    return restore_leftover()


@contextmanager
def _failing(prefix: str = "") -> Iterator[None]:
    """Turn an error of ours into a failure that shows its message and no traceback."""
    try:
        yield
    except LeftOut as why:
        pytest.skip(str(why))
    except GaitperfError as error:
        # Without the cause, which would be shown above the message, with its traceback.
        raise pytest.fail.Exception(f"{prefix}{error}", pytrace=False) from None


def _session(request: pytest.FixtureRequest) -> Session:
    config = request.config
    # Tests are refused before they run; but one can also ask for a fixture while it runs.
    if config.pluginmanager.has_plugin("gaitperf-refusal"):
        pytest.fail("measurements cannot share a device: run without -n", pytrace=False)
    with _failing():
        session = get_session(config)
        session.resources.take_device()
    return session


@pytest.fixture(scope="session")
def triton(request: pytest.FixtureRequest) -> TritonServer:
    """Return the running Triton server, attached to or started for this run: ``triton.url``.

    A ``TritonServer``: ``url`` (host:port, text), ``host``, ``http_port``, ``version``,
    ``models()`` (names of those that are ready), ``model(name)`` (metadata and configuration),
    ``statistics(name)`` (counts and nanoseconds), ``cpu_seconds()`` (None where unknown) and
    ``process`` (None unless this run started it).
    """
    with _failing():
        return _session(request).resources.server


class PowerMeter:
    """Measures the joules of a block; see the fixture ``power_meter``.

    Whatever a ``Meter`` has is an attribute of this too: ``description``, ``rails``,
    ``total_rails``, ``minimum_window_s``, ``estimated`` ...
    """

    def __init__(self, metering: Metering, meter: Meter) -> None:
        self._metering, self._meter = metering, meter

    @contextmanager
    def measure(self) -> Iterator[Spent]:
        """Measure a block: ``with power_meter.measure() as spent: ...``, then ``spent.joules``.

        ``spent`` also has ``rails_j``, ``duration_s``, ``mean_w``, ``above_idle_j``,
        ``relative_error`` and ``estimated``. The test fails, without a traceback, when the block is
        shorter than the meter resolves, when the meter fails, and inside another such block.
        """
        from pytest_gaitperf.power.spent import spending  # noqa: PLC0415 - only when measuring

        with _failing("power_meter: "), spending(self._metering, self._meter) as spent:
            yield spent

    def __getattr__(self, name: str) -> Any:
        """Give what the meter has."""
        return getattr(self._meter, name)


@pytest.fixture(scope="session")
def power_meter(request: pytest.FixtureRequest) -> PowerMeter:
    """Measure the joules of a block: ``with power_meter.measure() as spent: work()``.

    Then assert on ``spent.joules``, ``spent.rails_j["VDD_IN"]``, ``spent.mean_w`` (watts) ... The
    meter is that of ``--power``; without one the test is skipped, with the reason.
    """
    session = _session(request)
    with _failing():
        metering = session.resources.metering
    if metering.meter is None:
        pytest.skip(sanitize(metering.absent))
    return PowerMeter(metering, metering.meter)


@pytest.fixture(scope="session")
def cell(request: pytest.FixtureRequest) -> Workload:
    """Return the ``Workload`` to measure: the test runs once for each cell of the grid.

    It has ``model``, ``batch_size``, ``concurrency`` (or ``request_rate``, ``subjects``), ``id``
    (such as ``resnet50-b8-c4``) and more. The grid is that of ``--gaitperf-grid`` and
    ``--gaitperf-models``, or of the marker
    ``@pytest.mark.gaitperf(models=..., batch_sizes=..., concurrencies=...)``.
    """
    return cast("Workload", request.param)


class Loader:
    """Loads the run's server and looks at what happened; see the fixture ``load``."""

    def __init__(self, session: Session) -> None:
        self._resources = session.resources

    def __call__(self, workload: Workload, seconds: float, *, power: bool = False) -> Loaded:
        """Load the server with a workload for about ``seconds``, drain, and tell what happened.

        Slow requests take longer. Failed ones are counted; the test fails, without a traceback,
        only where nothing can be said. With ``power`` the meter is read too.
        """
        from pytest_gaitperf.engine.loading import load_for  # noqa: PLC0415 - only when measuring

        with _failing(f"{workload.id} could not be loaded: "):
            if power:
                self._resources.metering.check_free()
            return load_for(self._resources, workload, seconds, power=power)

    def inputs(self, workload: Workload) -> Sample:
        """Return what the first request of a workload carries: arrays by tensor name.

        They come from a fixed seed, or from ``--gaitperf-data``, batch dimension included.
        """
        from pytest_gaitperf.engine.loading import samples_of  # noqa: PLC0415 - only when measuring

        with _failing(f"{workload.id} has no input: "):
            return samples_of(self._resources, workload)[0]


@pytest.fixture(scope="session")
def load(request: pytest.FixtureRequest) -> Loader:
    """Load the server for some seconds: ``load(Workload("resnet50", 8, 4), seconds=1.0)``.

    No warm-up, no verdict. It gives a ``Loaded``: the times of every request (``record``), what the
    server counted (``counted``), ``throughput.value`` (inferences/s), ``latencies_s`` (ascending),
    ``latency_mean``, ``in_flight``, ``seconds``; with ``power=True`` (default: False) the meter's
    ``power`` too. ``load.inputs(workload)`` are the arrays that a request carries, by tensor.
    """
    return Loader(_session(request))


class Perf:
    """Measures workloads and gates them against their baselines; see the fixture ``perf``."""

    def __init__(
        self, session: Session, marker: Marker, record: Callable[[str, object], None]
    ) -> None:
        self._session = session
        self._marker = marker
        self._record = record

    def measure(self, workload: Workload) -> Measurement:
        """Measure a workload, or return what this run already measured of it.

        The test fails, without a traceback, when the workload cannot be measured or the
        measurement is invalid; it is skipped for more subjects than this run found served.
        """
        with _failing(f"{workload.id} could not be measured: "):
            if (metering := self._session.resources.opened_metering) is not None:
                metering.check_free()
            measurement = self._session.measure(workload).measurement
        assert measurement is not None  # noqa: S101 - measure() raised otherwise
        if measurement.invalid:
            text = f"{workload.id} is invalid: {measurement.invalid}"
            pytest.fail(sanitize(text), pytrace=False)
        return measurement

    def gate(self, workload: Workload, quantity: str) -> None:
        """Compare ``quantity`` with the workload's baseline: throughput, latency, energy, subjects.

        The test fails when it regressed, when there is no baseline or none that compares, and when
        a limit on it is not met or cannot be checked. It is skipped, with the reason, when the
        quantity could not be measured.
        """
        session, measurement = self._session, self.measure(workload)
        with _failing():
            session.policies.mark([workload], self._marker.rules, self._marker.where)
        absent = session.absent(workload, quantity)
        if quantity == "energy" and measurement.energy_failed:
            pytest.fail(sanitize(f"the power meter failed: {absent}"), pytrace=False)
        checks = session.check(workload, session.policies.limits(workload, quantity))
        broken = [check for check in checks if session.is_broken(check)]
        if absent is not None and not broken:
            pytest.skip(sanitize(absent))
        with _failing(f"{workload.id} could not be judged: "):
            verdicts = [] if absent is not None else session.judge(workload, quantity)
        from pytest_gaitperf.report.export.junit import properties_of_test  # noqa: PLC0415 - measuring

        for name, value in properties_of_test(measurement, verdicts):
            self._record(name, value)
        red = [verdict for verdict in verdicts if session.is_red(verdict)]
        self._fail_for(workload, red, broken)

    def require(self, workload: Workload, limit: str, *more: str) -> None:
        """Measure a workload and hold it to limits, such as ``"latency_p99 <= 40 ms"``.

        No baseline is needed. Any metric may be limited, with ``<=`` or ``>=`` as its direction
        is, and with a unit. The test fails when a limit is not met or could not be measured; with
        ``--power=none`` a limit on energy skips it.
        """
        from pytest_gaitperf.config.policy import parse_limit
        from pytest_gaitperf.results import LimitState  # noqa: PLC0415 - as below

        try:
            limits = [parse_limit(text) for text in (limit, *more)]
        except ArgumentTypeError as error:
            raise pytest.fail.Exception(f"perf.require: {error}", pytrace=False) from None
        self.measure(workload)
        checks = self._session.check(workload, limits)
        self._fail_for(workload, [], [check for check in checks if self._session.is_broken(check)])
        for check in checks:
            if check.state is LimitState.UNMEASURED:
                pytest.skip(check.absent)

    def _fail_for(
        self, workload: Workload, red: Sequence[Verdict], broken: Sequence[LimitCheck]
    ) -> None:
        if not red and not broken:
            return
        from pytest_gaitperf.report.failure import failure_text  # noqa: PLC0415 - only measuring

        result = self._session.results[workload]
        text = failure_text(self._session, result, red, broken)
        pytest.fail(sanitize(text), pytrace=False)


@pytest.fixture(scope="session", name="_gaitperf_properties")
def properties_of_the_run(
    request: pytest.FixtureRequest, record_testsuite_property: Callable[[str, object], None]
) -> Iterator[None]:
    """Tell ``--junitxml`` at the end what everything was measured on."""
    yield
    from pytest_gaitperf.report.export.junit import properties_of_run  # noqa: PLC0415 - only measuring

    for name, value in properties_of_run(get_session(request.config)):
        record_testsuite_property(name, value)


@pytest.fixture
def perf(request: pytest.FixtureRequest) -> Perf:
    """Measure workloads, and gate them: ``perf.gate(cell, "throughput")``.

    ``perf.measure(Workload(model, batch_size, concurrency)).metrics["latency_p99"].value`` gives
    seconds to assert on: any workload, no baseline. ``perf.require(cell, "latency_p99 <= 40 ms")``
    holds it to a limit, ``perf.gate(cell, quantity)`` to its baseline: throughput, latency, energy
    or subjects. With the fixture ``cell`` the cell is measured before the test starts, so that a
    cell that cannot be measured is an error (E) and only a red verdict is a failure (F).
    """
    session = _session(request)
    from pytest_gaitperf.config.marker import read_marker  # noqa: PLC0415 - only when measuring

    with _failing():
        marker = read_marker(request.node)
    request.getfixturevalue("_gaitperf_properties")
    record = request.node.user_properties
    perf = Perf(session, marker, lambda name, value: record.append((name, value)))
    if "cell" in request.fixturenames:
        perf.measure(request.getfixturevalue("cell"))
    return perf
