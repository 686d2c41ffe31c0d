"""What a report of 1 000 cells weighs, and how long a reader waits until it is drawn.

Makes up a run of 1 000 cells (12 models x 9 batch sizes x 9 concurrencies, the first 1 000) with
latency distributions, power traces, the course of throughput, time splits, rails and verdicts, two
runs before it: the values are synthetic, their number and length are those of a real results file.
Writes the page of the three runs, and opens it in a real chromium
(headless, 1280 x 900) 5 times: the time from the navigation until everything in view is drawn
(tables; the page unpacks plotly.js after that, which the CPU time of its main thread includes),
then from the click on a cell until those of its figures that are in view are. Goals: 8 MB, and 2 s
for the median opening.

As a yardstick, in turns with it: an empty page whose only script is plotly.js as it is, until it
has drawn one figure of one point.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.html.page import page, plotly_script
from pytest_gaitperf.report.reading import results_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GOAL_BYTES, GOAL_S = 8_000_000, 2.0
SIDES = (1, 4, 8, 12, 16, 20, 24, 28, 32)
RAILS = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
# Runs in the page from its start, and notes when what is in view was first complete.
_WATCH = """
globalThis.isDrawn = () => {
  const inside = [...document.querySelectorAll(".plot")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.height > 0 && box.top < innerHeight && box.bottom > 0;
  });
  return document.readyState === "complete" && inside.every((one) => one.querySelector("svg"));
};
const watch = () => {
  if (isDrawn()) globalThis.drawnAt = performance.now();
  else requestAnimationFrame(watch);
};
requestAnimationFrame(watch);
"""


def cell(rng: np.random.Generator, model: str, batch: int, concurrency: int) -> dict[str, Any]:
    """Make up a cell as a results file has it."""
    latency_s = 0.004 * batch * concurrency / 4 * float(rng.lognormal(0, 0.05))
    throughput = batch * concurrency / latency_s
    values = {
        "throughput": ("inf/s", throughput),
        "latency_mean": ("s", latency_s * 1.02),
        "latency_p50": ("s", latency_s),
        "latency_p90": ("s", latency_s * 1.2),
        "latency_p95": ("s", latency_s * 1.3),
        "latency_p99": ("s", latency_s * 1.6),
        "energy_per_inference": ("J", 9.0 / throughput),
        "power_mean": ("W", 9.0),
    }
    judged = ("throughput", "latency_p50", "latency_p99", "energy_per_inference")
    state = {
        name: str(rng.choice(["pass"] * 12 + ["inconclusive", "regressed"])) for name in judged
    }
    changes = {name: float(rng.normal(0, 0.03)) for name in judged}
    return {
        "id": f"{model}-b{batch}-c{concurrency}",
        "workload": {
            "model": model,
            "version": "1",
            "batch_size": batch,
            "concurrency": concurrency,
            "protocol": "http",
            "transport": "inline",
        },
        "metrics": {
            name: {"unit": unit, "value": value, "low": value * 0.99, "high": value * 1.01}
            for name, (unit, value) in values.items()
        },
        "windows": 20,
        "window_s": 0.5,
        "duration_s": 10.0,
        "requests": int(10 * throughput / batch) + 1,
        "latency_distribution": {
            "percentiles_s": sorted(map(float, rng.lognormal(np.log(latency_s), 0.15, 101))),
            "sd_s": latency_s * 0.15,
            "sd_outliers": 12,
            "tukey_outliers": 4,
            "tukey_low_s": latency_s * 0.7,
            "tukey_high_s": latency_s * 1.5,
        },
        "client_load": 0.06,
        "time_split_s": {
            "client_send": latency_s * 0.02,
            "network": latency_s * 0.05,
            "queue": latency_s * 0.3,
            "compute_input": latency_s * 0.02,
            "compute_infer": latency_s * 0.57,
            "compute_output": latency_s * 0.02,
            "client_receive": latency_s * 0.02,
        },
        "rails_j": dict(zip(RAILS, (90.0, 55.0, 20.0), strict=True)),
        "energy_rails": ["VDD_IN"],
        "notes": ["the budget ended before the asked precision of 2.0%"] if batch > 24 else [],
        "verdicts": state,
        "judgements": {
            name: {
                "baseline": values[name][1] / (1 + changes[name]),
                "now": values[name][1],
                "change": changes[name],
                "low": changes[name] - 0.02,
                "high": changes[name] + 0.02,
                "limit": 0.05,
                "sessions": 5,
                "reason": f"{values[name][1]:.4g} is {abs(changes[name]):.1%} beside the baseline "
                "(limit 5.0 %, 5 sessions)",
            }
            for name in judged
        },
        "course": {
            "edges_s": [0.5 * place for place in range(21)],
            "throughput": [float(f"{throughput * rng.lognormal(0, 0.02):.4g}") for _ in range(20)],
            "latency_p50_s": [
                float(f"{latency_s * rng.lognormal(0, 0.02):.4g}") for _ in range(20)
            ],
        },
        "power_trace": {
            "start_s": -1.0,
            "bin_s": 0.1,
            "window_s": [0.0, 10.0],
            "readings": 2400,
            "watts": {
                rail: [float(f"{watts * rng.lognormal(0, 0.05):.5g}") for _ in range(120)]
                for rail, watts in zip(RAILS, (9.0, 5.5, 2.0), strict=True)
            },
        },
    }


def document(number: int, cells: int) -> dict[str, Any]:
    """Make up the results of one run."""
    rng = np.random.default_rng(number)
    names = [f"{net}_{kind}" for net in ("3D", "2D", "GaitSet") for kind in "abcd"]
    where = islice(product(names, SIDES, SIDES), cells)
    return {
        "schema": 1,
        "profile": {"id": "synthetic", "fields": {}, "facts": {}},
        "environment": {"time": f"2026-11-{20 + number:02}T10:00:00Z"},
        "cells": [cell(rng, *one) for one in where],
    }


class Opening(NamedTuple):
    """Seconds until what is in view is drawn, and until the figures in view of a chosen cell are.

    ``cpu_s`` is of the page's main thread, until plotly.js is ready too.
    """

    wall_s: float
    cpu_s: float
    chosen_s: float


def opening(browser: Browser, path: Path) -> Opening:
    """Open a page, then choose its first cell where it has one."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        context.add_init_script(_WATCH)
        shown = context.new_page()
        inside = context.new_cdp_session(shown)
        inside.send("Performance.enable")
        shown.goto(path.as_uri())
        shown.wait_for_function("() => globalThis.drawnAt")
        wall_s = shown.evaluate("drawnAt") / 1e3  # from the navigation
        shown.wait_for_function("() => typeof Plotly !== 'undefined'")
        metrics = inside.send("Performance.getMetrics")["metrics"]
        cpu_s = next(one["value"] for one in metrics if one["name"] == "ThreadTime")
        link = shown.locator("#cells-table a").first
        if not link.count():
            return Opening(wall_s, cpu_s, 0.0)
        began = time.perf_counter()
        link.evaluate("one => one.click()")
        shown.wait_for_function("() => isDrawn()")
        return Opening(wall_s, cpu_s, time.perf_counter() - began)
    finally:
        context.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 openings in place of 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    arguments = parser.parse_args()
    openings = 2 if arguments.quick else 5
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if chromium is None:
        print("report_size: there is no chromium, chromium-browser or google-chrome on the PATH")
        return 1
    print(f"a synthetic run of 1 000 cells, its page opened {openings} times; about a minute")
    runs = tuple(results_of(document(number, 1000)) for number in range(3))
    plotly_script()  # packed once for each process
    began = time.perf_counter()
    content = page(ReportData(runs)).encode()
    writing_s = time.perf_counter() - began
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where chromium is

    opened: list[Opening] = []
    yardstick: list[Opening] = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        report, alone = Path(name) / "report.html", Path(name) / "plotly.html"
        report.write_bytes(content)
        alone.write_text(
            '<!DOCTYPE html><meta charset="utf-8"><title>plotly.js</title>'
            f'<div class="plot" id="p" style="height:300px"></div>'
            f"<script>{plotly_script().text}</script>"
            '<script>Plotly.newPlot("p", [{x: [1], y: [1]}])</script>'
        )
        # Only root needs that, and only root may not have a sandbox.
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        opening(browser, alone)  # the first page warms the browser up
        for index in range(openings):
            for path in (report, alone) if index % 2 else (alone, report):
                (opened if path is report else yardstick).append(opening(browser, path))
        browser.close()
    rows = {
        "opening, s": [one.wall_s for one in opened],
        "opening, CPU s": [one.cpu_s for one in opened],
        "plotly.js alone, s": [one.wall_s for one in yardstick],
        "plotly.js alone, CPU s": [one.cpu_s for one in yardstick],
        "figures of a chosen cell, s": [one.chosen_s for one in opened],
    }
    print(f"{'':30}{'median':>8}{'least':>8}{'most':>8}")
    for title, values in rows.items():
        print(f"{title:30}{statistics.median(values):8.2f}{min(values):8.2f}{max(values):8.2f}")
    print(f"{'writing the page, s':30}{writing_s:8.2f}")
    print(f"{'size, MB':30}{len(content) / 1e6:8.2f}")
    middle = {title: statistics.median(values) for title, values in rows.items()}
    met = len(content) <= GOAL_BYTES and middle["opening, s"] <= GOAL_S
    print(
        f"report_size: {len(content) / 1e6:.2f} MB (goal 8), opened in "
        f"{middle['opening, s']:.2f} s (goal {GOAL_S:g} s; plotly.js alone "
        f"{middle['plotly.js alone, s']:.2f} s): {'met' if met else 'MISSED'}"
    )
    if arguments.json:
        figures = {"rows": rows, "writing_s": writing_s, "bytes": len(content), "met": met}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


if __name__ == "__main__":
    sys.exit(main())
