"""pytest hooks, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import hooks
from pytest_gaitperf.config.option import add_options
from pytest_gaitperf.config.options import OPTIONS
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.fixtures import (
    get_running,
    perf,
    perf_cell,
    power_meter,
    properties_of_the_run,
    triton_load,
    triton_server,
)
from pytest_gaitperf.own import (
    MEASURING,
    NARROWED,
    REFUSAL,
    Refusal,
    RefusingWorker,
    is_ours,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "perf",
    "perf_cell",
    "power_meter",
    "properties_of_the_run",
    "triton_load",
    "triton_server",
]

_MARKER = (
    "gaitperf(models, batch_sizes, concurrencies, request_rates, subjects, most_subjects, "
    "best_under, trace, speed, sequence_length, sequences, streaming, sustained, think_time, "
    "arrival, frame_rate, deadline, percentile, protocol, transport, shapes, ranges, accuracy, "
    "beside, quantity, tolerance, tolerances, must_hear, limits): the cells that a test with the "
    """fixture 'perf_cell' is run for, in place of the grid's, and what is asked of the test's
    cells. All are optional; what is not given is the grid's.
    models: name or pattern, or a list of them. batch_sizes: list of whole numbers.
    Loads, lists, of which one or more (the others are then none): concurrencies (requests in
    flight), request_rates (per second), subjects; or most_subjects=True, a search for the most;
    best_under="p99 <= 40 ms", one for the highest rate; trace, a file of arrival times to replay,
    speed (1) times as fast. sustained: keep each load up for "30 min".
    think_time: what a client waits after an answer ("20 ms").
    arrival: "constant" (default) or "poisson", of request rates. frame_rate: inferences per second
    of a subject (25). deadline: text, such as "20 ms": of a search (one frame), or of goodput.
    percentile: in time (99). sequence_length: requests in a sequence of a stateful model, 20 or
    [16, 24]; sequences: of a request rate, so many at once (4). streaming: through gRPC streams.
    protocol: "http" or "grpc". transport: "inline" or "shm".
    shapes: [[3, 224, 224], ...], of the only input, or {model: {tensor: [[3, 224, 224], ...]}}.
    ranges: {model: {tensor: [low, high]}}. accuracy: {model: {"reference": model}}.
    beside: {model: "25/s"}, kept up meanwhile, or a list of such, in which {} is none.
    quantity: only the cells that have it, such as "answers".
    tolerance: 0.05 or "5%". tolerances: {metric: the same}. must_hear: "25%" or {metric: "25%"}.
    limits: ["latency_p99 <= 40 ms"].
    Example: @pytest.mark.gaitperf(models="resnet*", batch_sizes=[1, 8], concurrencies=[4])"""
)
_PROBLEM = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options: see ``options.py``."""
    add_options(parser, OPTIONS)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that we call: see ``hooks.py``."""
    pluginmanager.add_hookspecs(hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Run pytest on every board of a fleet, or in every power mode, that was asked for."""
    option = config.option
    _refuse_sharing(config)
    if option.help or option.version or option.collectonly:
        return None
    try:
        if option.gaitperf_boards:
            from pytest_gaitperf.fleet import gather  # noqa: PLC0415 - another command, in fact

            return gather(config)
        if option.gaitperf_power_modes or option.gaitperf_gpu_clocks or option.gaitperf_emc_clocks:
            from pytest_gaitperf.sweep import is_child, sweep  # noqa: PLC0415 - as above

            return None if is_child() else sweep(config)
    except GaitperfError as error:
        raise pytest.UsageError(str(error)) from None
    return None


def _refuse_sharing(config: pytest.Config) -> None:
    """Keep the workers of pytest-xdist from measuring: they would share one device."""
    is_worker = hasattr(config, "workerinput")
    if is_worker or (getattr(config.option, "dist", "no") != "no" and config.option.tx):
        config.pluginmanager.register(RefusingWorker() if is_worker else Refusal(), REFUSAL)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for our ``perf_cell`` once for each cell of its grid."""
    if "perf_cell" not in metafunc.fixturenames or not is_ours(metafunc.definition, "perf_cell"):
        return
    try:
        get_running(metafunc.config).generate(metafunc)
    except GaitperfError as error:
        # A usage error can only be raised once everything is collected.
        metafunc.config.stash.setdefault(_PROBLEM, str(error))
        metafunc.parametrize("perf_cell", [], indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stop with a usage error when a setting or a grid of tests that measure is wrong."""
    # Where the tests are refused that measure, that is what is to be said.
    if config.pluginmanager.has_plugin(REFUSAL):
        return
    try:
        if _PROBLEM not in config.stash and any(
            is_ours(item, name) for item in items for name in MEASURING
        ):
            get_running(config)
    except GaitperfError as error:
        config.stash[_PROBLEM] = str(error)
    if _PROBLEM in config.stash:
        raise pytest.UsageError(config.stash[_PROBLEM])


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note that the run leaves out some tests."""
    if items:
        items[0].config.stash[NARROWED] = True
