"""A pytest plugin that gates throughput, latency and energy of models on an NVIDIA Triton server.

What stands here, the fixtures, the options, the hooks (``pytest_gaitperf.hooks``) and the results
file are stable within a minor version; every other module may change in any release.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.meter import Meter
    from pytest_gaitperf.power.sensor import Sensor
    from pytest_gaitperf.report.exporters import Exporter
    from pytest_gaitperf.results import Cell, Outcome, Run, Verdict, VerdictKind
    from pytest_gaitperf.results_file import read_results
    from pytest_gaitperf.workload import Workload

__version__ = "0.2.0"

__all__ = [
    "Cell",
    "Exporter",
    "Measurement",
    "Meter",
    "Outcome",
    "Run",
    "Sensor",
    "Verdict",
    "VerdictKind",
    "Workload",
    "__version__",
    "read_results",
]

_HOMES = {
    "Cell": "results",
    "Exporter": "report.exporters",
    "Measurement": "measurement",
    "Meter": "power.meter",
    "Outcome": "results",
    "Run": "results",
    "Sensor": "power.sensor",
    "Verdict": "results",
    "VerdictKind": "results",
    "Workload": "workload",
    "read_results": "results_file",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: every start of pytest imports this package."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
