"""What the plugin relies on in a power meter and in an exporter, as checks their authors run."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from pytest_gaitperf.environment import Environment, Profile, Triton
from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, Sensor
from pytest_gaitperf.results import Cell, Run
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pytest_gaitperf.power.meter import Backend, Meter
    from pytest_gaitperf.report.exporters import Exporter

HEAVY = ("numpy", "scipy", "pytest")
"""What a reader's module must not import: the sampler is a small process that starts at once."""


def check_meter(
    backend: Backend | Meter | Sensor,
    request: Request | None = None,
    *,
    watts: tuple[float, float] | None = None,
) -> None:
    """Check that a meter does what the plugin relies on; takes about five of its windows.

    - ``backend``: what the entry point names (it is called with ``request``, by default an empty
      Request), or the Sensor or Meter that it returns. It must have something to read: a fake or
      the device.
    - ``request``: For instance ``Request(sysfs_root=board.root)`` with a ``FakeBoard``.
    - ``watts``: the total's mean power lies between these two, where the test knows.

    Raises AssertionError: names the promise that was broken; MeterError: the meter's own, where it
    cannot read.
    """
    found = backend(request or Request()) if callable(backend) else backend
    if isinstance(found, Sensor):
        _check_sensor(found)
        found = SampledMeter(found)
    try:
        _check_description(found)
        covered = _check_windows(found, watts)
    finally:
        found.close()
    found.close()  # once more: close() is idempotent
    _refuses(found, *covered, "after close()")


def _check_sensor(sensor: Sensor) -> None:
    _expect(sensor.kind in ("power", "energy"), f"kind is {sensor.kind!r}, not power or energy")
    try:
        plain = json.loads(json.dumps(dict(sensor.arguments))) == dict(sensor.arguments)
    except TypeError:
        plain = False
    _expect(plain, "arguments must be JSON values: the reader is made in another process")
    _expect(sensor.nominal_period_s > 0, "nominal_period_s must be positive")
    of_chips = [rail for rails in sensor.chips.values() for rail in rails]
    _expect(set(of_chips) <= set(sensor.rails), "chips names a rail that is not among rails")
    module, _, attribute = sensor.reader.partition(":")
    _expect(bool(module and attribute), f"reader is {sensor.reader!r}, not module:attribute")
    code = (
        "import importlib, sys\n"
        f"getattr(importlib.import_module({module!r}), {attribute!r})\n"
        f"sys.exit(', '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    command = [sys.executable, "-c", code]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    _expect(
        tried.returncode == 0,
        f"the reader {sensor.reader} must be importable in a fresh process, without "
        f"{', '.join(HEAVY)}: {tried.stderr.strip()}",
    )


def _check_description(meter: Meter) -> None:
    for what, text in (("name", meter.name), ("description", meter.description)):
        _expect(bool(text) and "\n" not in text, f"{what} must be one line of text, not {text!r}")
    rails = meter.rails
    _expect(bool(rails) and len(set(rails)) == len(rails), f"rails are empty or repeat: {rails}")
    _expect(bool(meter.total_rails), "total_rails is empty: say which rails make the total")
    for what, some in (("total_rails", meter.total_rails), ("gpu_rails", meter.gpu_rails)):
        _expect(set(some) <= set(rails), f"{what} names {some}, of which some are not in rails")
    _expect(isinstance(meter.estimated, bool), "estimated must be True or False")
    period_s, window_s = meter.update_period_s, meter.minimum_window_s
    _expect(0 < period_s < math.inf, f"update_period_s is {period_s}, not a positive number")
    _expect(
        period_s <= window_s < math.inf,
        f"minimum_window_s ({window_s}) must not be shorter than update_period_s ({period_s})",
    )


def _check_windows(meter: Meter, watts: tuple[float, float] | None) -> tuple[int, int]:
    """Return the last window that it covered."""
    before_ns = time.monotonic_ns()
    meter.start()
    meter.start()  # idempotent
    start_ns = time.monotonic_ns()
    _refuses(meter, before_ns - 10**9, start_ns, "for a window that began before start()")
    time.sleep(2 * meter.minimum_window_s)
    middle_ns = time.monotonic_ns()
    _check_window(meter, start_ns, middle_ns, watts)  # while it samples
    time.sleep(meter.minimum_window_s)
    end_ns = time.monotonic_ns()
    meter.stop()
    meter.stop()  # idempotent
    whole_j = _check_window(meter, start_ns, end_ns, watts)  # after stop(), up to the call
    halves_j = _check_window(meter, start_ns, middle_ns, watts)
    halves_j += _check_window(meter, middle_ns, end_ns, watts)
    _expect(
        math.isclose(whole_j, halves_j, rel_tol=0.02, abs_tol=1e-9),
        f"a window has {whole_j:.4g} J, but its two parts have {halves_j:.4g} J together",
    )
    meter.start()
    start_ns = time.monotonic_ns()
    time.sleep(2 * meter.minimum_window_s)
    end_ns = time.monotonic_ns()
    meter.stop()
    _check_window(meter, start_ns, end_ns, watts)  # it can be started again
    return start_ns, end_ns


def _check_window(
    meter: Meter, start_ns: int, end_ns: int, watts: tuple[float, float] | None
) -> float:
    """Return the total's joules over a window that the meter must cover."""
    trace = meter.trace(start_ns, end_ns)
    _expect(trace.rails == meter.rails, f"a trace has the rails {trace.rails}, not {meter.rails}")
    _expect(bool((abs(trace.values) < math.inf).all()), "a trace holds NaN or infinity")
    energy = integrate(trace, start_ns, end_ns)  # MeterError where it does not cover the window
    mean_w = energy.mean_power_w(meter.total_rails)
    low, high = watts or (-math.inf, math.inf)
    _expect(low <= mean_w <= high, f"the total is {mean_w:.4g} W, not {low:g} to {high:g} W")
    return energy.total_j(meter.total_rails)


def _refuses(meter: Meter, start_ns: int, end_ns: int, when: str) -> None:
    try:
        meter.trace(start_ns, end_ns)
    except MeterError:
        return
    raise AssertionError(f"{meter.name}: trace() must raise MeterError {when}")


HOSTILE = "a \"b\", <c>'d' =1+1 {e} \\n | \u00e4"
"""A name with what formats quote; the plugin itself lets no control characters through."""

_ENERGY = "energy_per_inference"
_VALUES = {
    "throughput": 41.25,
    "latency_p50": 0.0235,
    "latency_p99": 0.0475,
    _ENERGY: 0.00625,
    "server_cpu_per_inference": 0.0215,
}


def sample_runs() -> tuple[Run, ...]:
    """Return three runs of four cells: measured and estimated energy, and none; odd names.

    The newest has a fifth cell, which could not be measured.
    """
    latencies = distribution(np.linspace(0.02, 0.05, 200))
    without = {name: value for name, value in _VALUES.items() if name != _ENERGY}
    cells = (
        _cell(Workload("3D_fp32_0_batchd", 1, 1), latencies=latencies, requests=200),
        _cell(Workload("3D_fp32_0_batchd", 8, 4), energy_estimated=True),
        _cell(Workload("without_energy", 1, 1), without),
        _cell(Workload(HOSTILE, 1, 1)),
    )
    older = (_cell(cells[0].workload), *cells[1:])
    lost = Workload("3D_fp32_0_batchd", 16, 1)
    unmeasured = Cell(id=lost.id, workload=lost, error="the client was saturated")
    return (
        _run(1, older[:3]),
        _run(2, older, commit="0123abc", dirty=False),
        _run(3, (*cells, unmeasured), commit="0123abc", dirty=False),
    )


def _run(day: int, cells: tuple[Cell, ...], **about: Any) -> Run:
    return settled(
        Run(
            profile=Profile("orin-nano", facts={"recorder": HOSTILE}),
            environment=Environment(
                time=f"2026-11-{day:02}T10:00:00Z",
                plugin="0.1.0",
                triton=Triton("2.51.0"),
                **about,
            ),
            cells=cells,
        )
    )


def _cell(workload: Workload, values: dict[str, float] = _VALUES, **more: Any) -> Cell:
    metrics = {name: Estimate(METRICS[name].unit, value) for name, value in values.items()}
    measurement = Measurement(metrics=metrics, **more)
    return Cell(id=workload.id, workload=workload, measurement=measurement)


def check_exporter(exporter: Exporter, name: str = "figures.txt") -> str:
    """Check that an exporter keeps the promises of every export; return a sample of its text.

    ``name`` is passed on as the name of the file. Raises AssertionError, which names the promise
    that was broken; whether the format itself is right is for the caller to test, on the text that
    is returned.
    """
    history = sample_runs()
    for runs in (history, history[-1:], history[:1]):
        for file in (name, ""):  # "" is the standard output
            text = exporter.export(runs, file)
            _expect(type(text) is str and text.strip() != "", "export() must return text")
            _expect(text == exporter.export(runs, file), "the same runs give another text")
            text.encode()  # UTF-8; a lone surrogate is an error here
            _expect(re.search(r"\bnan\b", text, re.IGNORECASE) is None, "NaN is written")
    for cell in history[-1].cells:
        if cell.measurement is not None:
            _check_energy(exporter, history[-1], cell, name)
    return exporter.export(history, name)


def _check_energy(exporter: Exporter, run: Run, cell: Cell, name: str) -> None:
    """Estimated energy is never written as if measured; what is missing is absent, not zero."""
    measurement = cell.measurement
    assert measurement is not None
    without = {key: value for key, value in measurement.metrics.items() if key != _ENERGY}
    energy = {_ENERGY: Estimate(METRICS[_ENERGY].unit, _VALUES[_ENERGY])}
    zero = {_ENERGY: Estimate(METRICS[_ENERGY].unit, 0.0)}

    def exported(metrics: dict[str, Estimate], *, estimated: bool) -> str:
        found = replace(measurement, metrics=metrics, energy_estimated=estimated)
        return exporter.export([replace(run, cells=(replace(cell, measurement=found),))], name)

    none = exported(without, estimated=False)
    measured = exported(without | energy, estimated=False)
    estimated = exported(without | energy, estimated=True)
    zeroed = exported(without | zero, estimated=False)
    if none != measured:  # the format has energy
        _expect(none != zeroed, "energy that was not measured is written as zero: leave it out")
        _expect(
            measured != estimated,
            "estimated energy is written as measured energy is: name it an estimate",
        )


def _expect(met: bool, sentence: str) -> None:
    if not met:
        raise AssertionError(sentence)
