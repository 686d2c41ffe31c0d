"""What the installed but unused plugin adds to the start of pytest.

Runs `pytest` on a file with one empty test, with the plugin and with `-p no:gaitperf`, in turns
within one run, and compares the pairs. Goal: the median pair differs by at most 10 ms.

Wall time of a whole process wobbles by more than that on a shared machine. Starting pytest is the
work of one thread, so the goal is held against its CPU time (user + system), which wobbles less;
the wall time and the time that the plugin's import takes are shown beside it. The development
plugins are left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL_MS = 10.0
OTHERS = ("-p", "no:hypothesispytest", "-p", "no:xdist")
# Byte code is kept, as at any user's: without it every start compiles the plugin anew.
ENVIRONMENT = {name: os.environ[name] for name in os.environ if name != "PYTHONDONTWRITEBYTECODE"}
_IMPORT = """
import time
import argparse, dataclasses, pathlib, enum, typing, pytest, _pytest.config
start = time.perf_counter_ns()
import pytest_gaitperf.plugin
print((time.perf_counter_ns() - start) / 1e6)
"""


def run_once(directory: Path, *extra: str) -> tuple[float, float]:
    """Run pytest once; return its wall and its CPU time (user + system) in ms."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *OTHERS, *extra]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=directory, check=True, capture_output=True, env=ENVIRONMENT)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1e3, cpu * 1e3


def import_once() -> float:
    """Return the time (ms) that importing the plugin takes once pytest is imported."""
    command = [sys.executable, "-c", _IMPORT]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8 pairs in place of 40")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    arguments = parser.parse_args()
    pairs = 8 if arguments.quick else 40
    print(
        f"{pairs} pairs of pytest on an empty test, with the plugin and without; about "
        f"{pairs * 1.2:.0f} s"
    )
    runs: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "test_empty.py").write_text("def test_empty():\n    pass\n")
        for extra in ((), ("-p", "no:gaitperf")):
            run_once(directory, *extra)  # the first run writes the byte code
        for index in range(pairs):
            for plugin in (True, False) if index % 2 else (False, True):
                runs[plugin].append(run_once(directory, *(() if plugin else ("-p", "no:gaitperf"))))
    wall_ms, cpu_ms = (
        [
            with_it[kind] - without[kind]
            for with_it, without in zip(runs[True], runs[False], strict=True)
        ]
        for kind in (0, 1)
    )
    rows = {
        "pytest with the plugin, wall ms": [wall for wall, _ in runs[True]],
        "pytest without it, wall ms": [wall for wall, _ in runs[False]],
        "added per pair, wall ms": wall_ms,
        "added per pair, CPU ms": cpu_ms,
        "import of the plugin, wall ms": [import_once() for _ in range(pairs)],
    }
    print(f"{'':34}{'median':>8}{'quartiles':>18}")
    for title, values in rows.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{title:34}{middle:8.1f}{low:9.1f} ..{high:7.1f}")
    added = statistics.median(cpu_ms)
    met = added <= GOAL_MS
    print(
        f"startup: {added:.1f} ms CPU, {statistics.median(wall_ms):.1f} ms wall added "
        f"(goal {GOAL_MS:g} ms): {'met' if met else 'MISSED'}"
    )
    if arguments.json:
        figures = {"rows": rows, "added_ms": added, "goal_ms": GOAL_MS, "met": met}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


if __name__ == "__main__":
    sys.exit(main())
