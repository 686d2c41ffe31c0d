"""What ten thousand cells cost: loading a profile's baselines, judging a run against them, saving.

Makes the baselines of 100 models with 100 cells (batch x concurrency) and 5 metrics each, with 5
sessions and with 10, in a temporary directory. Then, as one run does: load and validate all files,
judge every cell, record every cell and write all files. Goal: 2 s in all.

It is the work of one thread, and the wall time of a shared machine wobbles: the goal is held
against its CPU time (user + system), with the wall time beside it, which has the disk's syncs in it
too. Each is the best of 3 runs. As a yardstick in the same turns: what the standard library's
`json` needs to do nothing but parse the same files and to write them again, in memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pytest_gaitperf.engine.session import CellResult

from pytest_gaitperf.baseline.cells import Fingerprint
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, Provenance
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.judging import Judging
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pytest_gaitperf.engine.resources import Resources

GOAL_S = 2.0
SESSIONS = (5, 10)
ENERGY, RAILS = "energy_per_inference", "VDD_IN"
RECORDED = ("throughput", "latency_p50", "latency_p99", ENERGY, "server_cpu_per_inference")
WINDOWS = 30
PARTS = ("load", "judge", "save", "all", "json load", "json dump")


class Profile:
    """A device that does not change: its cells' values in some sessions, the last one new.

    Sessions differ by 2 % in all, 1 % per model and 2.5 % per cell and metric (SDs of logs).
    """

    def __init__(self, models: int, sessions: int) -> None:
        rng = np.random.default_rng(1)
        sides = range(1, 11)
        self.cells = [
            Workload(f"m{m:03}", b, c) for m in range(models) for b in sides for c in sides
        ]
        shape = (sessions + 1, len(self.cells), len(RECORDED))
        logs = 0.025 * rng.standard_normal(shape)
        logs += 0.02 * rng.standard_normal((sessions + 1, 1, 1))
        logs += np.repeat(0.01 * rng.standard_normal((sessions + 1, models, 1)), 100, axis=1)
        signs = np.array([METRICS[metric].worse_sign for metric in RECORDED])
        self.values = rng.uniform(1e-3, 100, shape[1:]) * np.exp(signs * logs)
        self.spreads = rng.uniform(0.01, 0.1, shape)
        self.sessions = sessions

    def record(self, store: BaselineStore, session: int) -> None:
        """Queue a session's values and write them."""
        for place, cell in enumerate(self.cells):
            entries = {
                metric: Value(value, spread, WINDOWS, RAILS if metric == ENERGY else "")
                for metric, value, spread in zip(
                    RECORDED,
                    self.values[session, place].tolist(),
                    self.spreads[session, place].tolist(),
                    strict=True,
                )
            }
            store.record(cell.model, cell.key, facts(), entries)
        day = f"{session + 1:02}"
        store.write(
            Provenance(f"202611{day}T000000Z", f"2026-11-{day}T00:00:00Z", "abc" * 13, plugin="0.1")
        )

    def measured(self) -> list[CellResult]:
        """Return the new session's cells as a run has them after measuring."""
        return [
            CellResult(
                cell,
                measurement(cell, self.values[-1, place], self.spreads[-1, place]),
                facts=facts(),
            )
            for place, cell in enumerate(self.cells)
        ]


def facts() -> Fingerprint:
    signature = "input:FP32[25,60,60,2] -> code:FP32[512]"
    return Fingerprint(
        "2.51.0", signature, "http", "inline", rails={ENERGY: RAILS}, content="a" * 64
    )


def measurement(
    cell: Workload, values: NDArray[np.float64], spreads: NDArray[np.float64]
) -> Measurement:
    metrics = zip(RECORDED, values.tolist(), strict=True)
    return Measurement(
        workload=cell,
        metrics={name: Estimate(METRICS[name].unit, value) for name, value in metrics},
        spread=dict(zip(RECORDED, spreads.tolist(), strict=True)),
        spread_windows=dict.fromkeys(RECORDED, WINDOWS),
        windows=WINDOWS,
        window_s=0.25,
        duration_s=WINDOWS * 0.25,
        requests=300,
        failures=0,
        client_cpu_per_request_us=25.0,
        client_load=0.05,
        time_split_s={},
        rails_j={},
        energy_rails=(RAILS,),
        estimated=False,
        absent={},
        notes=(),
        invalid=None,
        inferences=300.0,
        energy_failed=False,
        energy_error=None,
        energy_note=None,
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU time and the wall time of some work, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def run_once(profile: Profile, root: Path) -> dict[str, tuple[float, float]]:
    """Load, judge and save once; return each part's CPU and wall time in seconds."""
    results = profile.measured()
    store = BaselineStore(root, "device", {"module": "any"})
    resources = SimpleNamespace(
        store=store,
        settings=Settings(baselines=root, profile="device"),
        planned=profile.cells,
        by_hand=[],
        progress=SimpleNamespace(say=lambda _: None),
        restart_server=lambda: None,
    )
    known = {result.workload: result.measurement for result in results}
    judging = Judging(
        cast("Resources", resources),
        measure=lambda cell: cast("Measurement", known[cell]),
        counts=lambda _measurement, _metric: True,
        tolerance=lambda _cell, _metric: 0.05,
    )
    gc.collect()
    times = {
        "load": timed(store.check),
        "judge": timed(lambda: judging.judge(results, planned=True)),
        "save": timed(lambda: profile.record(store, profile.sessions)),
    }
    assert all(result.judged for result in results)  # else nothing was timed
    cpu, wall = (sum(time[kind] for time in times.values()) for kind in (0, 1))
    return times | {"all": (cpu, wall)}


def yardstick(root: Path) -> dict[str, tuple[float, float]]:
    """Parse the files with the standard library and write them again, in memory."""
    texts = [path.read_text() for path in root.glob("*/*.json")]
    documents: list[Any] = []
    gc.collect()
    return {
        "json load": timed(lambda: documents.extend(map(json.loads, texts))),
        "json dump": timed(lambda: [json.dumps(document) for document in documents]),
    }


def best(runs: Sequence[dict[str, tuple[float, float]]], kind: int) -> dict[str, float]:
    return {part: min(run[part][kind] for run in runs) for part in PARTS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 models in place of 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    arguments = parser.parse_args()
    models = 10 if arguments.quick else 100
    print(
        f"{models} models x 100 cells x {len(RECORDED)} metrics with {SESSIONS[0]} and "
        f"{SESSIONS[1]} sessions: loaded, judged and saved 3 times each; about "
        f"{models * 0.9:.0f} s"
    )
    rows: dict[int, dict[str, dict[str, float]]] = {}
    goal = GOAL_S * models / 100
    heads = "".join(f"{part:>11}" for part in PARTS)
    print(f"{'s, best of 3':18}{heads}{'MB':>8}")
    for sessions in SESSIONS:
        profile, runs = Profile(models, sessions), []
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            for session in range(sessions):
                profile.record(BaselineStore(root, "device", {"module": "any"}), session)
            size_mb = sum(path.stat().st_size for path in root.glob("*/*.json")) / 1e6
            before = {path: path.read_bytes() for path in root.glob("*/*.json")}
            for _ in range(3):
                runs.append(run_once(profile, root) | yardstick(root))
                for path, data in before.items():
                    path.write_bytes(data)
        rows[sessions] = {"cpu_s": best(runs, 0), "wall_s": best(runs, 1)}
        for kind, times in rows[sessions].items():
            numbers = "".join(f"{times[part]:11.2f}" for part in PARTS)
            print(f"{sessions:2} sessions, {kind[:-2]:5}{numbers}{size_mb:8.1f}")
    worst = max(row["cpu_s"]["all"] for row in rows.values())
    met = worst <= goal
    print(
        f"baseline_scale: {models * 100} cells loaded, judged and saved in {worst:.2f} s of CPU "
        f"(goal {goal:g} s): {'met' if met else 'MISSED'}"
    )
    if arguments.json:
        figures = {"cells": models * 100, "rows": rows, "goal_s": goal, "met": met}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


if __name__ == "__main__":
    sys.exit(main())
