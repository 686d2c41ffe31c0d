"""What an exporter is given: sessions of cells with their figures, from a run or a baseline."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_gaitperf.metrics import METRICS, Estimate, quantity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_gaitperf.baseline.cells import CellBaseline
    from pytest_gaitperf.measurement import Distribution


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One cell in one session.

    ``labels`` say how it was loaded (batch_size, concurrency ...), as far as it is known.
    ``metrics`` are in the units of ``METRICS``. ``estimated`` says that the energy is no
    measurement. ``latencies`` are there where every request is known, so not from a baseline.
    """

    model: str
    key: str
    labels: Mapping[str, str]
    metrics: Mapping[str, Estimate]
    estimated: bool = False
    requests: int = 0
    latencies: Distribution | None = None

    @property
    def id(self) -> str:
        """The cell's name, e.g. ``3D_fp32_0_batchd-b8-c4``."""
        return f"{self.model}-{self.key}"

    def is_estimate(self, metric: str) -> bool:
        """Return whether a metric of this cell is an estimate, not a measurement."""
        return self.estimated and quantity_of(metric) == "energy"


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """One session: ``time`` is UTC ISO 8601, ``dirty`` None where it is not known.

    ``left_out`` says of each cell without figures why.
    """

    time: str
    profile: str
    cells: tuple[CellFigures, ...]
    commit: str = ""
    dirty: bool | None = None
    recorder: str = ""
    plugin: str = ""
    triton: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


def scaled(value: float, scale: float) -> float:
    """Return a value in another unit, without the digits that the conversion makes up."""
    return float(f"{value * scale:.12g}")


def baseline_sessions(cells: Iterable[CellBaseline], profile: str) -> tuple[SessionFigures, ...]:
    """Return what a profile's baselines hold, by session, oldest first."""
    facts: dict[str, SessionFigures] = {}
    figures: dict[str, list[CellFigures]] = {}
    for cell in cells:
        for session in cell.sessions:
            facts.setdefault(
                session.id,
                SessionFigures(
                    time=session.time,
                    profile=profile,
                    cells=(),
                    commit=session.commit,
                    dirty=session.dirty,
                    recorder=session.recorder,
                    plugin=session.plugin,
                    triton=session.fingerprint.triton,
                ),
            )
            rails = session.fingerprint.rails.get("energy_per_inference", "")
            figures.setdefault(session.id, []).append(
                CellFigures(
                    model=cell.model,
                    key=cell.key,
                    labels=_load(cell.key)
                    | {
                        "protocol": session.fingerprint.protocol,
                        "transport": session.fingerprint.transport,
                    },
                    metrics={
                        name: Estimate(METRICS[name].unit, value.value)
                        for name, value in session.values.items()
                        if name in METRICS
                    },
                    estimated=rails.startswith("estimate"),
                )
            )
    order = sorted(facts, key=lambda session: (facts[session].time, session))
    return tuple(replace(facts[session], cells=tuple(figures[session])) for session in order)


def _load(key: str) -> dict[str, str]:
    """Read from a cell's name what its baseline does not say elsewhere (see ``Workload.key``)."""
    found = re.match(r"b(?P<batch_size>\d+)(-c(?P<concurrency>\d+)|-s(?P<subjects>\d+))?", key)
    return {name: text for name, text in found.groupdict().items() if text} if found else {}
