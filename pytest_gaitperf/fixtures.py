"""The fixtures: ``triton``, ``power_meter``, ``cell`` and ``perf``."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_gaitperf.interruption import Interruption
    from pytest_gaitperf.load.encode import Sample
    from pytest_gaitperf.loading import Loaded
    from pytest_gaitperf.marker import Marker
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.policy import LimitCheck
    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.session import Session
    from pytest_gaitperf.settings import Settings
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.verdict import Verdict
    from pytest_gaitperf.workload import Workload

SESSION = pytest.StashKey["Session"]()
INTERRUPTION: pytest.StashKey[Interruption] = pytest.StashKey()


def get_session(config: pytest.Config) -> Session:
    """Return the state of this run, made on first use.

    Raises
    ------
    ConfigurationError
        A setting that cannot be read.
    """
    if SESSION not in config.stash:
        from pytest_gaitperf.interruption import Interruption  # noqa: PLC0415 - only when measuring
        from pytest_gaitperf.report.progress import Progress  # noqa: PLC0415 - only when measuring
        from pytest_gaitperf.resources import Resources  # noqa: PLC0415
        from pytest_gaitperf.session import Session  # noqa: PLC0415
        from pytest_gaitperf.settings import load_settings  # noqa: PLC0415

        settings = load_settings(config)
        said = _check_power_mode(config, settings)
        progress = Progress(config)
        if said:
            progress.say(said)
        config.stash[INTERRUPTION] = Interruption()
        config.stash[SESSION] = Session(Resources(settings, _log_directory(config), progress))
    return config.stash[SESSION]


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
    from pytest_gaitperf.device.power_modes import MODE_SET, restore_leftover  # noqa: PLC0415

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
    if hasattr(config, "workerinput"):
        pytest.fail(
            "measurements cannot share a device: run without -n (one pytest, one server, one "
            "measurement at a time)",
            pytrace=False,
        )
    with _failing():
        return get_session(config)


@pytest.fixture(scope="session")
def triton(request: pytest.FixtureRequest) -> TritonServer:
    """Return the running Triton server: attached to, or started for this run.

    It has ``url``, ``host``, ``http_port``, ``version``, ``models()``, ``model(name)`` (metadata
    and configuration), ``statistics(name)``, ``cpu_seconds()`` and ``process`` (None unless this
    run started it).
    """
    with _failing():
        return _session(request).resources.server


@pytest.fixture(scope="session")
def power_meter(request: pytest.FixtureRequest) -> Meter:
    """Return the power meter of ``--power``; skip the test, with the reason, when there is none."""
    session = _session(request)
    with _failing():
        metering = session.resources.metering
    if metering.meter is None:
        pytest.skip(metering.absent)
    return metering.meter


@pytest.fixture(scope="session")
def cell(request: pytest.FixtureRequest) -> Workload:
    """Return the workload to measure: the test runs once for each cell of the grid.

    The grid is that of ``--gaitperf-grid`` and ``--gaitperf-models``, or of the marker
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
        from pytest_gaitperf.loading import load_for  # noqa: PLC0415 - only when measuring

        with _failing(f"{workload.id} could not be loaded: "):
            return load_for(self._resources, workload, seconds, power=power)

    def inputs(self, workload: Workload) -> Sample:
        """Return what the first request of a workload carries: arrays by tensor name.

        They come from a fixed seed, or from ``--gaitperf-data``, batch dimension included.
        """
        from pytest_gaitperf.loading import samples_of  # noqa: PLC0415 - only when measuring

        with _failing(f"{workload.id} has no input: "):
            return samples_of(self._resources, workload)[0]


@pytest.fixture(scope="session")
def load(request: pytest.FixtureRequest) -> Loader:
    """Load the server for a stated time, and look at what happened: no warm-up, no verdict.

    ``load(Workload("resnet50", 8, 4), seconds=1.0)`` gives a ``Loaded``: the times of every request
    (``record``), what the server counted (``counted``), and what is computed from them.
    ``load.inputs(workload)`` are the arrays that a request carries.
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
            measurement = self._session.measure(workload).measurement
        assert measurement is not None  # noqa: S101 - measure() raised otherwise
        if measurement.invalid:
            pytest.fail(f"{workload.id} is invalid: {measurement.invalid}", pytrace=False)
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
            pytest.fail(f"the power meter failed: {absent}", pytrace=False)
        checks = session.check(workload, session.policies.limits(workload, quantity))
        broken = [check for check in checks if session.is_broken(check)]
        if absent is not None and not broken:
            pytest.skip(absent)
        with _failing(f"{workload.id} could not be judged: "):
            verdicts = [] if absent is not None else session.judge(workload, quantity)
        from pytest_gaitperf.export.junit import properties_of_test  # noqa: PLC0415 - measuring

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
        from pytest_gaitperf.policy import LimitState, parse_limit  # noqa: PLC0415 - as below

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
        pytest.fail(failure_text(self._session, result, red, broken), pytrace=False)


@pytest.fixture(scope="session", name="_gaitperf_properties")
def properties_of_the_run(
    request: pytest.FixtureRequest, record_testsuite_property: Callable[[str, object], None]
) -> Iterator[None]:
    """Tell ``--junitxml`` at the end what everything was measured on."""
    yield
    from pytest_gaitperf.export.junit import properties_of_run  # noqa: PLC0415 - only measuring

    for name, value in properties_of_run(get_session(request.config)):
        record_testsuite_property(name, value)


@pytest.fixture
def perf(request: pytest.FixtureRequest) -> Perf:
    """Measure workloads, and gate them: ``perf.gate(cell, "throughput")``.

    With the fixture ``cell`` the cell is measured before the test starts, so that a cell that
    cannot be measured is an error (E) and only a red verdict is a failure (F). Elsewhere,
    ``perf.measure(Workload(model, batch_size, concurrency)).metrics["latency_p99"].value`` gives
    seconds to assert on, and ``perf.require(cell, "latency_p99 <= 40 ms")`` holds it to a limit.
    """
    session = _session(request)
    from pytest_gaitperf.marker import read_marker  # noqa: PLC0415 - only when measuring

    with _failing():
        marker = read_marker(request.node)
    request.getfixturevalue("_gaitperf_properties")
    record = request.node.user_properties
    perf = Perf(session, marker, lambda name, value: record.append((name, value)))
    if "cell" in request.fixturenames:
        perf.measure(request.getfixturevalue("cell"))
    return perf
