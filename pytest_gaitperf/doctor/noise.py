"""What change this machine resolves: one model against itself, in turns."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.doctor.finding import Finding
from pytest_gaitperf.errors import ConfigurationError, MeasurementError
from pytest_gaitperf.gate.sensitivity import FEWEST_PAIRS, MEASURED_S, resolution
from pytest_gaitperf.host.lock import THIS_DEVICE, device_at, held
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.stopping import WarmUp, steady_latency_s
from pytest_gaitperf.measure.cell import model_of
from pytest_gaitperf.measure.turns import seconds_per_request
from pytest_gaitperf.triton.api import parse_url
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.models import config_paths
from pytest_gaitperf.triton.server import attaches, open_server
from pytest_gaitperf.workload import Workload
from pytest_gaitperf.zoo import plugin as zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.doctor.finding import State
    from pytest_gaitperf.gate.sensitivity import Resolution
    from pytest_gaitperf.triton.server import TritonServer

_SHORTEST_WINDOW_S = 0.25
_LATENCIES_PER_WINDOW = 4
_WARM_UP_S = 5.0
_WARM_UP_TICK_S = 0.1
_LONGEST_BUDGET_S = 600.0


def open_for(
    settings: Settings, model: str, progress: Callable[[str], None], stack: ExitStack
) -> tuple[TritonServer, Workload]:
    """Attach to a server, or start one with that model alone; closed with ``stack``.

    ``model`` "" takes the first there is. Returns the server and the cell to load: one sample, one
    request in flight. The device is held until then: a run in progress is waited for. Raises
    ConfigurationError, MeasurementError and ServerError as a run does.
    """
    attaching = attaches(settings.triton, settings.triton_url)
    stack.enter_context(
        held(
            device_at(parse_url(settings.triton_url)[0]) if attaching else THIS_DEVICE,
            command="gaitperf doctor --noise",
            waiting=lambda holder: progress(f"waiting for {holder}"),
        )
    )
    if not attaching:
        model = model or _first(settings.triton_repository)
        # As a run does: a reference network is built where its weights are missing.
        zoo.pytest_gaitperf_prepare_models(
            settings.triton_repository, (model,), progress, update=True
        )
        progress("starting Triton")
    server = stack.enter_context(
        open_server(
            ServerOptions(
                mode=settings.triton,
                url=settings.triton_url,
                grpc_port=settings.triton_grpc_port,
                repository=settings.triton_repository,
                image=settings.triton_image,
                timeout_s=settings.triton_timeout,
                models=() if attaching else (model,),
            )
        )
    )
    if not model and not server.models():
        raise ConfigurationError(f"Triton at {server.url} serves no model: load one there")
    protocol, transport = settings.protocol, settings.transport
    name = model or server.models()[0]
    return server, Workload(name, 1, 1, protocol=protocol, transport=transport)


def _first(repository: Path) -> str:
    paths = config_paths(repository)
    if not paths:
        raise ConfigurationError(
            f"model repository {repository} has no model: build some with 'gaitperf models build', "
            "or name another with --triton-repository"
        )
    return paths[0].parent.name


def measure_noise(
    server: TritonServer,
    workload: Workload,
    seconds: float,
    *,
    data: str = "random",
    progress: Callable[[str, float], None] = lambda _text, _share: None,
) -> Resolution:
    """Load one cell in turns, called A and B, for ``seconds``, and tell what this resolves.

    Each turn takes a quarter of a second or four requests; which of the two comes first in a pair
    is drawn by a fair coin. ``progress`` gets what is done and its share of the time. Raises
    MeasurementError when requests fail, or are too slow for ``FEWEST_PAIRS`` pairs.
    """
    model = model_of(server, workload)
    samples = input_data(model, workload, data).samples
    coin = np.random.default_rng()
    with ExitStack() as stack:
        loads = [stack.enter_context(open_load(server, model, workload, samples)) for _ in range(2)]
        progress("warming up", 0.0)
        latency_s = steady_latency_s(loads[0].run(WarmUp(1, _WARM_UP_S), _WARM_UP_TICK_S))
        turn_s = max(_SHORTEST_WINDOW_S, _LATENCIES_PER_WINDOW * latency_s)
        began = time.monotonic()
        taken: list[float] = []
        first: list[bool] = []
        while (spent_s := time.monotonic() - began) < seconds:
            progress(f"{len(first)} pairs of {turn_s:.2g} s", spent_s / seconds)
            first.append(bool(coin.integers(2)))
            for load in loads if first[-1] else loads[::-1]:
                record = load.run(lambda _record, _now: False, turn_s)
                if record.failures:
                    raise MeasurementError(
                        f"requests to {workload.id} failed: {'; '.join(record.failure_reasons)}"
                    )
                taken.append(seconds_per_request(record))
    if len(first) < FEWEST_PAIRS:
        needed_s = FEWEST_PAIRS * spent_s / len(first)
        raise MeasurementError(
            f"{len(first)} pairs of turns fit {seconds:g} s, and {FEWEST_PAIRS} are needed (a "
            f"request of {workload.id} takes {latency_s:.2g} s): give --noise={needed_s:.0f} or "
            "more, or a faster model with --model"
        )
    return resolution(taken, first, spent_s / len(taken))


def findings(result: Resolution, where: str, tolerance: float) -> list[Finding]:
    """Put it in words; ``where`` is the cell and its server, ``tolerance`` what a run asks for."""
    what = (
        f"this machine can resolve about {_about(result.apart)} per cell in {MEASURED_S:g} s, "
        f"{_about(result.in_turns)} in turns (--gaitperf-against)"
    )
    state: State = "ok" if result.apart <= tolerance else "warn"
    advice = ""
    if state == "warn":
        needed_s = result.seconds_for(tolerance)
        advice = (
            f"for a tolerance of {_about(tolerance)} give a cell {needed_s:.0f} s "
            f"(--gaitperf-budget={needed_s:.0f}), or compare in turns"
            if needed_s <= _LONGEST_BUDGET_S
            else "no budget mends that: find what disturbs it, or compare in turns"
        )
    seen = (
        f"{result.windows} windows of {result.window_s:.2g} s of {where} differ by "
        f"{_about(result.spread)} (SD), autocorrelation {result.autocorrelation:.2f}"
    )
    later = "what sessions differ by comes on top, and shows in recorded ones only:"
    return [
        Finding("noise", state, what, advice),
        Finding("windows", "ok", seen, later, "gaitperf baseline sensitivity"),
    ]


def _about(ratio: float) -> str:
    return f"{ratio * 100:.2g} %" if ratio < 1 else f"{ratio * 100:.0f} %"
