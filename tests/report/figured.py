"""Runs of a board as results documents: made up, with values that are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.baseline.cells import CellBaseline, Fingerprint, Session
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.gate.verdict import Policy, SessionValue, judge
from pytest_gaitperf.metrics import METRICS
from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.reading import results_of
from pytest_gaitperf.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

RAILS = {"VDD_IN": 1.0, "VDD_CPU_GPU_CV": 0.62, "VDD_SOC": 0.21}
"""The rails by their share of the total, which is VDD_IN."""

SPLIT = {
    "client_send": 0.02,
    "network": 0.08,
    "queue": 0.2,
    "compute_input": 0.05,
    "compute_infer": 0.6,
    "compute_output": 0.04,
    "client_receive": 0.01,
}
JUDGED = ("throughput", "latency_p50", "latency_p99", "energy_per_inference")
POLICY = Policy(comparisons=12)
DURATION_S = 10.0
SEEN = 4
"""How many sessions the baselines have."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cell of the board: its model, which is the so-manieth, and its load."""

    model: str
    number: int
    batch: int
    concurrency: int

    @property
    def key(self) -> str:
        return f"b{self.batch}-c{self.concurrency}"

    @property
    def truth(self) -> dict[str, float]:
        """A queue that saturates: throughput, latencies and energy."""
        capacity = 90.0 * (self.number + 1) * self.batch**0.4
        rate = capacity * self.concurrency / (self.concurrency + 1.5)
        latency = self.concurrency * self.batch / rate
        power = 6 + 0.02 * rate
        return {
            "throughput": rate,
            "latency_p50": latency,
            "latency_p90": latency * 1.5,
            "latency_p95": latency * 1.8,
            "latency_p99": latency * 3.1,
            "energy_per_inference": power / rate,
            "power_mean": power,
        }

    def baseline(self, metric: str, sessions: int) -> list[SessionValue]:
        """Sessions of the truth, with an SD of about 1.5 %."""
        return [
            SessionValue(self.truth[metric] * math.exp(0.02 * math.sin(2.4 * i)), 0.01, 12)
            for i in range(sessions)
        ]

    def verdict(self, metric: str, value: float, sessions: int) -> Verdict:
        """The gate's verdict on a value."""
        past = self.baseline(metric, sessions)
        return judge(metric, SessionValue(value, 0.01, 12), past, POLICY)


PLACES = tuple(
    Place(model, number, batch, concurrency)
    for number, model in enumerate(("3D_fp32_0", "2D_fp16_40", "GaitSet_int8"))
    for batch in (1, 8)
    for concurrency in (1, 2, 4)
)


def document(
    places: tuple[Place, ...] = PLACES,
    *,
    time: str = "2026-11-20T10:00:00Z",
    worse: float = 1.0,
    sessions: int = SEEN,
    estimated: bool = False,
) -> dict[str, Any]:
    """A results document; every cell is this much worse than the truth."""
    return {
        "schema": 1,
        "profile": {"id": "orin-nano-15w"},
        "environment": {"time": time},
        "sessions": {"began": [time]},
        "cells": [_cell(place, worse, sessions, estimated=estimated) for place in places],
    }


def recorded(rails: str = "VDD_IN") -> Mapping[str, CellBaseline]:
    """The baselines that the documents were judged by, by cell."""
    fingerprint = Fingerprint(
        triton="2.51.0",
        signature="",
        protocol="http",
        transport="inline",
        rails={"energy_per_inference": rails},
        content="",
        data="",
    )
    return {
        f"{place.model}-{place.key}": CellBaseline(
            place.model,
            place.key,
            tuple(
                Session(
                    id=f"2026111{i}T080000Z",
                    time=f"2026-11-1{i}T08:00:00Z",
                    commit="",
                    dirty=None,
                    plugin="",
                    recorder="",
                    version="1",
                    fingerprint=fingerprint,
                    values={
                        metric: Value(place.baseline(metric, SEEN)[i].value, 0.01, 12)
                        for metric in JUDGED
                    },
                )
                for i in range(SEEN)
            ),
        )
        for place in PLACES
    }


def reported(
    *documents: dict[str, Any], baselines: Mapping[str, CellBaseline] | None = None
) -> ReportData:
    """What a page of these documents, oldest first, is made of."""
    return ReportData([results_of(one) for one in documents], baselines or {})


def _cell(place: Place, worse: float, sessions: int, *, estimated: bool) -> dict[str, Any]:
    values = {
        metric: value / worse if metric == "throughput" else value * worse
        for metric, value in place.truth.items()
    }
    draw = np.random.default_rng([place.number, place.batch, place.concurrency])
    shape = np.interp(
        np.arange(101), (0, 50, 90, 95, 99, 100), np.log((0.7, 1.0, 1.5, 1.8, 3.1, 12.0))
    )
    watts = 1 + 0.15 * np.sin(np.arange(100) / 5) + draw.normal(0, 0.02, 100)
    watts *= values["power_mean"] / watts.mean()
    beside = np.full(10, 4.5)
    course = np.concatenate((beside, watts, beside))
    verdicts = {name: place.verdict(name, values[name], sessions) for name in JUDGED}
    return {
        "id": f"{place.model}-{place.key}",
        "workload": {
            "model": place.model,
            "batch_size": place.batch,
            "concurrency": place.concurrency,
        },
        "metrics": {
            name: {
                "unit": METRICS[name].unit,
                "value": value,
                "low": value * 0.99,
                "high": value * 1.012,
            }
            for name, value in values.items()
        },
        "windows": 40,
        "window_s": DURATION_S / 40,
        "duration_s": DURATION_S,
        "requests": round(values["throughput"] * DURATION_S / place.batch),
        "latency_distribution": {
            "percentiles_s": (values["latency_p50"] * np.exp(shape)).tolist(),
            "sd_s": 0.3 * values["latency_p50"],
            "sd_outliers": 700,
            "tukey_outliers": 12,
            "tukey_low_s": 0.5 * values["latency_p50"],
            "tukey_high_s": 2.0 * values["latency_p50"],
        },
        "time_split_s": {part: share * values["latency_p50"] for part, share in SPLIT.items()},
        "rails_j": {
            rail: share * values["power_mean"] * DURATION_S for rail, share in RAILS.items()
        },
        "energy_rails": ["VDD_IN"],
        "energy_is_estimated": estimated,
        "course": {
            "edges_s": np.linspace(0, DURATION_S, 41).tolist(),
            "throughput": (values["throughput"] * (1 + draw.normal(0, 0.01, 40))).tolist(),
            "latency_p50_s": (values["latency_p50"] * (1 + draw.normal(0, 0.01, 40))).tolist(),
        },
        "power_trace": {
            "kind": "power",
            "readings": 1500,
            "window_s": [0.0, DURATION_S],
            "start_s": -10 * DURATION_S / 100,
            "bin_s": DURATION_S / 100,
            "watts": {rail: (share * course).tolist() for rail, share in RAILS.items()},
        },
        "verdicts": {name: verdict.state.value for name, verdict in verdicts.items()},
        "judgements": {
            name: {
                "baseline": verdict.baseline,
                "change": verdict.change,
                "high": verdict.high,
                "limit": verdict.limit,
                "sessions": verdict.sessions,
                "provisional": verdict.provisional,
            }
            for name, verdict in verdicts.items()
        },
    }
