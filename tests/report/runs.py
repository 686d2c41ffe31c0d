"""Runs as the engine closes them: made up, with values that are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from pytest_gaitperf.environment import Environment, Power, Profile, Sessions, Triton
from pytest_gaitperf.measurement import (
    Capacity,
    Distribution,
    Measurement,
    PowerTimeline,
    Timeline,
    Trial,
)
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.results import Cell, Policy, Run, Verdict, VerdictKind
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BASE = {
    "throughput": 1234.5,
    "latency_p50": 0.0213,
    "latency_p99": 0.0831,
    "energy_per_inference": 0.0123,
    "server_cpu_per_inference": 0.0009,
}
JUDGED = ("throughput", "latency_p50", "latency_p99", "energy_per_inference")
RAILS = {"VDD_IN": 1.0, "VDD_CPU_GPU_CV": 0.6, "VDD_SOC": 0.2}
"""The rails by their share of the total, which is VDD_IN."""

SPLIT = {"network": 0.1, "queue": 0.2, "compute_infer": 0.7}
"""The parts of a request's time by their share of the median."""

DURATION_S = 3.0
SEEN = 4
"""How many sessions the baselines have."""

NOISE = 0.02
"""Half the width of a verdict's interval, on the log scale; the limit is there too."""


def scaled(values: Mapping[str, float], factor: float) -> dict[str, float]:
    """Values that are this many times worse."""
    return {
        name: value / factor if METRICS[name].worse_sign < 0 else value * factor
        for name, value in values.items()
    }


def measured(values: Mapping[str, float] = BASE, factor: float = 1.0, **more: Any) -> Measurement:
    """A measurement this much worse than the values, with all that a big device gives."""
    now = scaled(values, factor)
    rate = now.get("throughput", 100.0)
    watts = now.get("energy_per_inference", 0.01) * rate
    p50 = now.get("latency_p50", 0.02)
    shape = np.interp(np.arange(101), (0, 50, 90, 99, 100), np.log((0.7, 1.0, 1.5, 3.1, 12.0)))
    wave = 1 + 0.1 * np.sin(np.arange(60))
    inside = watts * wave / wave.mean()
    course = np.concatenate(([watts / 2] * 6, inside, [watts / 2] * 6))
    known: dict[str, Any] = {
        "metrics": {
            name: Estimate(METRICS[name].unit, value, value * 0.99, value * 1.01)
            for name, value in now.items()
        },
        "windows": 12,
        "window_s": DURATION_S / 12,
        "duration_s": DURATION_S,
        "requests": 3000,
        "inferences": rate * DURATION_S,
        "client_cpu_per_request_us": 25.0,
        "client_load": 0.05,
        "time_split_s": {name: share * p50 for name, share in SPLIT.items()},
        "rails_j": {name: share * watts * DURATION_S for name, share in RAILS.items()},
        "energy_rails": ("VDD_IN",),
        "latencies": Distribution(
            percentiles_s=tuple((p50 * np.exp(shape)).tolist()),
            sd_s=0.3 * p50,
            sd_outliers=700,
            tukey_outliers=12,
            tukey_low_s=0.5 * p50,
            tukey_high_s=2.0 * p50,
        ),
        "timeline": Timeline(
            edges_s=tuple(np.linspace(0, DURATION_S, 31).tolist()),
            throughput=tuple((rate * (1 + 0.01 * np.cos(np.arange(30)))).tolist()),
            latency_p50_s=tuple((p50 * (1 + 0.01 * np.sin(np.arange(30)))).tolist()),
        ),
        "power": PowerTimeline(
            start_s=-DURATION_S / 10,
            bin_s=DURATION_S / 60,
            span_s=DURATION_S,
            watts={name: tuple((share * course).tolist()) for name, share in RAILS.items()},
            readings=1500,
        ),
    }
    return Measurement(**(known | more))


def verdict(metric: str, base: float, factor: float = 1.0, **more: Any) -> Verdict:
    """The verdict on a value that is so many times worse than the base."""
    worse = math.log(factor)
    sign = METRICS[metric].worse_sign
    kind = VerdictKind.PASS
    if abs(worse) > NOISE:
        kind = VerdictKind.REGRESSED if worse > 0 else VerdictKind.IMPROVED
    known: dict[str, Any] = {
        "kind": kind,
        "reason": f"{kind.value} beside {base:g}",
        "baseline": base,
        "now": base * math.exp(sign * worse),
        "change": math.expm1(sign * worse),
        "low": math.expm1(sign * worse - NOISE),
        "high": math.expm1(sign * worse + NOISE),
        "limit": math.expm1(sign * NOISE),
        "sessions": SEEN,
    }
    return Verdict(metric, **(known | more))


def cell(
    workload: Workload | None = None,
    factor: float = 1.0,
    *,
    values: Mapping[str, float] = BASE,
    judged: Iterable[str] = JUDGED,
    verdicts: Mapping[str, Any] | None = None,
    measurement: Mapping[str, Any] | None = None,
    **more: Any,
) -> Cell:
    """A judged cell this much worse than its baseline, which has the values.

    ``verdicts`` and ``measurement`` change fields of every verdict and of the measurement.
    """
    load = Workload("3D_fp32_0_batchd", 8, 4) if workload is None else workload
    known: dict[str, Any] = {
        "measurement": measured(values, factor, **(measurement or {})),
        "verdicts": {
            name: verdict(name, values[name], factor, **(verdicts or {}))
            for name in judged
            if name in values
        },
    }
    return Cell(id=load.id, workload=load, **(known | more))


def lost(workload: Workload | None = None, error: str = "it did not answer") -> Cell:
    """A cell that could not be measured."""
    load = Workload("[markup]", 1, 1) if workload is None else workload
    return Cell(id=load.id, workload=load, error=error)


def missing(workload: Workload, **more: Any) -> Cell:
    """A cell without a baseline."""
    found = {"throughput": Verdict("throughput", VerdictKind.MISSING, "there is none", now=1234.5)}
    return replace(cell(workload, **more), verdicts=found)


def searched(subjects: float = 42.6, base: float = 50.0) -> Cell:
    """A search whose answer is this many subjects."""
    trials = (
        Trial(subjects=42.6, served=True, seconds=5.0, requests=5300, late=31, latency_s=0.037),
        Trial(
            subjects=44.3,
            served=False,
            seconds=0.7,
            requests=400,
            late=180,
            latency_s=0.081,
            growing=True,
        ),
    )
    answer = Capacity(
        subjects=subjects,
        low=41.7,
        high=45.2,
        settled=True,
        trials=trials,
        too_much=trials[1],
        at=42.6,
    )
    estimate = Estimate("subjects", subjects, 41.7, 45.2)
    load = Workload("3D_fp32_0_batchd", 1, most_subjects=True)
    found = measured()
    return Cell(
        id=load.id,
        workload=load,
        measurement=replace(
            found, metrics={"subjects": estimate, **found.metrics}, capacity=answer
        ),
        verdicts={"subjects": verdict("subjects", base, base / subjects)},
    )


def run(*cells: Cell, time: str = "2026-11-22T10:00:00Z", **more: Any) -> Run:
    """A run of these cells, with its outcomes."""
    known: dict[str, Any] = {
        "profile": Profile("agx-orin", {"power_mode": "MAXN"}),
        "environment": Environment(
            time=time,
            commit="0123456789abcdef",
            dirty=False,
            plugin="0.1.0",
            pytest="8.3",
            python="3.12.1",
            triton=Triton("2.51.0", "local", "127.0.0.1:8000"),
            power=Power(
                meter="ina3221",
                description="INA3221",
                rails=tuple(RAILS),
                total_rails=("VDD_IN",),
                idle_w=({"VDD_IN": 5.0}, {"VDD_IN": 5.5}),
            ),
            temperatures_c={"cpu": 51.5},
        ),
        "arguments": ("suites",),
        "baselines": "baselines",
        "sessions": Sessions(began=(time,)),
        "cells": cells,
    }
    return settled(Run(**(known | more)))


LONG = "a_model_with_a_name_longer_than_the_terminal_" * 2
REGRESSED = cell(
    factor=1.6,
    model_change="the model's files changed: sha256:0123456789ab -> sha256:ba9876543210",
)
GOOD = cell(Workload("3D_fp32_0_batchd", 32, 32))
MIXED = run(REGRESSED, GOOD, missing(Workload(LONG, 1, 1)), lost())
"""A regressed, a good, a missing and an unmeasured cell, of models with long names."""

STRICT = Policy(strict=True)


@dataclass(frozen=True, slots=True)
class Place:
    """A cell of a made-up board: its model, the number of that, and its load."""

    model: str
    number: int
    batch: int
    concurrency: int

    @property
    def workload(self) -> Workload:
        return Workload(self.model, self.batch, self.concurrency)

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


PLACES = tuple(
    Place(model, number, batch, concurrency)
    for number, model in enumerate(("3D_fp32_0", "2D_fp16_40", "GaitSet_int8"))
    for batch in (1, 8)
    for concurrency in (1, 2, 4)
)


def board(
    places: Iterable[Place] = PLACES,
    factor: float = 1.0,
    *,
    measurement: Mapping[str, Any] | None = None,
    verdicts: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """A run of the board; every cell is this much worse than the truth."""
    return run(
        *(
            cell(
                place.workload,
                factor,
                values=place.truth,
                measurement=measurement,
                verdicts=verdicts,
            )
            for place in places
        ),
        **more,
    )
