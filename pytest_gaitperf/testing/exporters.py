"""What the plugin promises of an export, as a check that an exporter's author runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.results import Cell, Environment, Profile, Run, Triton, settled
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pytest_gaitperf.report.export import Exporter

HOSTILE = "a \"b\", <c>'d' =1+1 {e} \\n | \u00e4"
"""A name with what formats quote; the plugin itself lets no control characters through."""

_ENERGY = "energy_per_inference"
_VALUES = {"throughput": 41.25, "latency_p50": 0.0235, "latency_p99": 0.0475, _ENERGY: 0.00625}


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
