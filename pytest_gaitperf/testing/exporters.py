"""What the plugin promises of an export, as a check that an exporter's author runs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.measure.evaluation import distribution
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.report.export.history import CellFigures, SessionFigures

if TYPE_CHECKING:
    from pytest_gaitperf.report.export.exporters import Exporter

HOSTILE = "a \"b\", <c>'d' =1+1 {e} \\n | \u00e4"
"""A name with what formats quote; the plugin itself lets no control characters through."""

_ENERGY = "energy_per_inference"
_VALUES = {"throughput": 41.25, "latency_p50": 0.0235, "latency_p99": 0.0475, _ENERGY: 0.00625}


def sample_sessions() -> tuple[SessionFigures, ...]:
    """Return three sessions of four cells: measured and estimated energy, and none; odd names."""
    latencies = distribution(np.linspace(0.02, 0.05, 200))
    cells = (
        replace(_cell("3D_fp32_0_batchd", "b1-c1", _VALUES), latencies=latencies, requests=200),
        _cell("3D_fp32_0_batchd", "b8-c4", _VALUES, estimated=True),
        _cell("without_energy", "b1-c1", {k: v for k, v in _VALUES.items() if k != _ENERGY}),
        _cell(HOSTILE, "b1-c1", _VALUES),
    )
    newest = SessionFigures(
        time="2026-11-03T10:00:00Z",
        profile="orin-nano",
        cells=cells,
        commit="0123abc",
        dirty=False,
        recorder=HOSTILE,
        plugin="0.1.0",
        triton="2.51.0",
        left_out={"3D_fp32_0_batchd-b16-c1": "the client was saturated"},
    )
    older = tuple(replace(cell, latencies=None, requests=0) for cell in cells)
    return (
        replace(newest, time="2026-11-01T10:00:00Z", cells=older[:3], commit="", dirty=None),
        replace(newest, time="2026-11-02T10:00:00Z", cells=older),
        newest,
    )


def check_exporter(exporter: Exporter, name: str = "figures.txt") -> str:
    """Check that an exporter keeps the promises of every export; return a sample of its text.

    ``name`` is passed on as the name of the file. Raises AssertionError, which names the promise
    that was broken; whether the format itself is right is for the caller to test, on the text that
    is returned.
    """
    history = sample_sessions()
    for sessions in (history, history[-1:], history[:1]):
        for file in (name, ""):  # "" is the standard output
            text = exporter.export(sessions, file)
            _expect(type(text) is str and text.strip() != "", "export() must return text")
            _expect(text == exporter.export(sessions, file), "the same sessions give another text")
            text.encode()  # UTF-8; a lone surrogate is an error here
            _expect(re.search(r"\bnan\b", text, re.IGNORECASE) is None, "NaN is written")
    for cell in history[-1].cells:
        _check_energy(exporter, history[-1], cell, name)
    return exporter.export(history, name)


def _check_energy(
    exporter: Exporter, session: SessionFigures, cell: CellFigures, name: str
) -> None:
    """Estimated energy is never written as if measured; what is missing is absent, not zero."""
    without = {key: value for key, value in cell.metrics.items() if key != _ENERGY}
    energy = {_ENERGY: Estimate(METRICS[_ENERGY].unit, _VALUES[_ENERGY])}
    zero = {_ENERGY: Estimate(METRICS[_ENERGY].unit, 0.0)}
    none, measured, estimated, zeroed = (
        exporter.export([replace(session, cells=(replace(cell, metrics=m, estimated=e),))], name)
        for m, e in (
            (without, False),
            (without | energy, False),
            (without | energy, True),
            (without | zero, False),
        )
    )
    if none != measured:  # the format has energy
        _expect(none != zeroed, "energy that was not measured is written as zero: leave it out")
        _expect(
            measured != estimated,
            "estimated energy is written as measured energy is: name it an estimate",
        )


def _cell(
    model: str, key: str, values: dict[str, float], *, estimated: bool = False
) -> CellFigures:
    metrics = {name: Estimate(METRICS[name].unit, value) for name, value in values.items()}
    labels = {"batch_size": key[1:].partition("-")[0], "concurrency": key.partition("-c")[2]}
    return CellFigures(model, key, labels, metrics, estimated)


def _expect(met: bool, sentence: str) -> None:
    if not met:
        raise AssertionError(sentence)
