"""Results documents for pages, written by hand: what --gaitperf-json would have of such a run."""

from __future__ import annotations

from typing import Any

BASE = {
    "throughput": 400.0,
    "latency_p50": 0.02,
    "latency_p99": 0.04,
    "energy_per_inference": 0.012,
}
UNITS = {"throughput": "inf/s", "energy_per_inference": "J"}


def cell(
    model: str,
    batch: int,
    concurrency: int,
    worse: float = 1.0,
    state: str = "pass",
    **more: Any,
) -> dict[str, Any]:
    """A cell this many times worse than its baseline; ``state`` is the verdict on throughput."""
    now = {
        name: value * batch / worse if name == "throughput" else value * worse
        for name, value in BASE.items()
    }
    key = f"b{batch}-c{concurrency}"
    return {
        "id": f"{model}-{key}",
        "workload": {
            "model": model,
            "version": "",
            "batch_size": batch,
            "concurrency": concurrency,
            "request_rate": 0.0,
            "protocol": "http",
            "transport": "inline",
        },
        "metrics": {
            name: {
                "unit": UNITS.get(name, "s"),
                "value": value,
                "low": value * 0.98,
                "high": value * 1.02,
            }
            for name, value in now.items()
        },
        "windows": 12,
        "window_s": 0.5,
        "duration_s": 6.0,
        "requests": 2400,
        "latency_distribution": {
            "percentiles_s": [0.01 + 0.0003 * place * worse for place in range(101)],
            "sd_s": 0.004,
            "sd_outliers": 3,
            "tukey_outliers": 2,
            "tukey_low_s": 0.01,
            "tukey_high_s": 0.04,
        },
        "client_load": 0.05,
        "time_split_s": {"network": 0.001, "queue": 0.004 * worse**3, "compute_infer": 0.015},
        "rails_j": {"VDD_IN": 30.0, "VDD_CPU_GPU_CV": 20.0 * worse, "VDD_SOC": 5.0},
        "energy_rails": ["VDD_IN"],
        "energy_is_estimated": False,
        "notes": [],
        "verdicts": {"throughput": state, "latency_p50": "pass"},
        "judgements": {
            "throughput": {
                "baseline": BASE["throughput"] * batch,
                "now": now["throughput"],
                "change": 1 / worse - 1,
                "limit": -0.05,
                "reason": "beyond the noise",
                "sessions": 5,
            },
            "latency_p50": {"baseline": 0.02, "now": 0.02 * worse, "change": worse - 1},
        },
    } | more


def document(
    cells: list[dict[str, Any]], time: str = "2026-11-22T10:00:00Z", **more: Any
) -> dict[str, Any]:
    """A results file with these cells."""
    return {
        "schema": 1,
        "profile": {"id": "agx-orin", "fields": {"power_mode": "MAXN"}, "facts": {}},
        "environment": {
            "time": time,
            "commit": "0123456789abcdef",
            "dirty": False,
            "plugin": "0.1.0",
            "pytest": "8.3",
            "python": "3.12.1",
            "triton": {"version": "2.51.0", "mode": "local", "url": "127.0.0.1:8000"},
            "power": {"meter": "ina3221", "description": "INA3221", "rails": ["VDD_IN"]},
            "temperatures_c": {"cpu": 51.5},
        },
        "cells": cells,
    } | more
