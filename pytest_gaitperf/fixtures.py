"""The fixtures: ``perf``, ``perf_cell``, ``triton_server``, ``power_meter`` and ``triton_load``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.own import RUNNING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.perf import Loader, Perf, PowerMeter
    from pytest_gaitperf.running import Running
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload


def get_running(config: pytest.Config) -> Running:
    """Return the run that measures, made on first use: all that it needs is imported here.

    Raises ConfigurationError for a setting that cannot be read.
    """
    running: Running | None = config.pluginmanager.get_plugin(RUNNING)
    if running is None:
        from pytest_gaitperf.running import Running  # noqa: PLC0415 - the one lazy boundary

        running = Running(config)
        config.pluginmanager.register(running, RUNNING)
    return running


@pytest.fixture(scope="session")
def triton_server(request: pytest.FixtureRequest) -> TritonServer:
    """Return the running Triton server, attached to or started for this run: ``.url``.

    A ``TritonServer``: ``url`` (host:port, text), ``host``, ``http_port``, ``version``,
    ``models()`` (names of those that are ready), ``model(name)`` (metadata and configuration),
    ``statistics(name)`` (counts and nanoseconds), ``cpu_seconds()`` (None where unknown) and
    ``process`` (None unless this run started it).
    """
    return get_running(request.config).server()


@pytest.fixture(scope="session")
def power_meter(request: pytest.FixtureRequest) -> PowerMeter:
    """Measure the joules of a block: ``with power_meter.measure() as spent: work()``.

    Then assert on ``spent.joules``, ``spent.rails_j["VDD_IN"]``, ``spent.mean_w`` (watts) ... The
    meter is that of ``--power``; without one the test is skipped, with the reason.
    """
    return get_running(request.config).power_meter()


@pytest.fixture(scope="session")
def perf_cell(request: pytest.FixtureRequest) -> Workload:
    """Return the ``Workload`` to measure: the test runs once for each cell of the grid.

    It has ``model``, ``batch_size``, ``concurrency`` (or ``request_rate``, ``subjects``), ``id``
    (such as ``resnet50-b8-c4``) and more. The grid is that of ``--gaitperf-grid`` and
    ``--gaitperf-models``, or of the marker
    ``@pytest.mark.gaitperf(models=..., batch_sizes=..., concurrencies=...)``.
    """
    return get_running(request.config).cell(request.param)


@pytest.fixture(scope="session")
def triton_load(request: pytest.FixtureRequest) -> Loader:
    """Load the server for some seconds: ``triton_load(Workload("resnet50", 8, 4), seconds=1.0)``.

    No warm-up, no verdict. It gives a ``Loaded``: the times of every request (``record``), what the
    server counted (``counted``), ``throughput.value`` (inferences/s), ``latencies_s`` (ascending),
    ``latency_mean``, ``in_flight``, ``seconds``; with ``power=True`` (default: False) the meter's
    ``power`` too. ``triton_load.inputs(workload)`` are a request's arrays by tensor.
    """
    return get_running(request.config).loader()


@pytest.fixture(scope="session", name="_gaitperf_properties")
def properties_of_the_run(
    request: pytest.FixtureRequest, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Let ``--junitxml`` tell what the run comes to, which is known after the last fixture."""
    get_running(request.config).suite_property = record_testsuite_property


@pytest.fixture
def perf(request: pytest.FixtureRequest) -> Perf:
    """Measure workloads, and gate them: ``perf.gate(perf_cell, "throughput")``.

    ``perf.measure(Workload(model, batch_size, concurrency)).metrics["latency_p99"].value`` gives
    seconds to assert on: any workload, no baseline. ``perf.require(cell, "latency_p99 <= 40 ms")``
    holds it to a limit, ``perf.gate(cell, quantity)`` to its baseline: throughput, latency, energy,
    cpu, memory, cold_start or subjects. The cells of ``perf_cell`` are measured before the first
    test starts: one that cannot be measured is an error (E), a red verdict a failure (F).
    """
    return get_running(request.config).perf(request)
