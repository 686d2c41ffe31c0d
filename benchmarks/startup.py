"""What the installed but unused plugin adds to the start of pytest.

Runs pytest on a file with one empty test, with the plugin and with `-p no:gaitperf`, in turns
within one run, and compares the pairs. Goal: the median pair differs by at most 10 ms of CPU time
(user + system): starting pytest is the work of one thread, and CPU time wobbles less than wall time
on a shared machine. Every other plugin is left out on both sides.

Each turn is a fork of this process, which has imported pytest and nothing else of ours. So the
start of Python and the import of pytest, most of the time and of its noise, are in neither side,
and whatever only the plugin needs is in its own. The interval of the median is that of the order
statistics (binomial, no assumption on the noise).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path
from statistics import NormalDist, median

import pytest

GOAL_MS = 10.0
# With them pytest would import or write more than what is compared.
OTHERS = sorted({point.name for point in entry_points(group="pytest11")} - {"gaitperf"})
ARGUMENTS = ["-q", "-p", "no:cacheprovider", *(f"-pno:{name}" for name in OTHERS)]
WITHOUT = "-pno:gaitperf"


def run_once(directory: Path, *extra: str) -> tuple[float, float]:
    """Run pytest once in a fork; return its wall and its CPU time (user + system) in ms."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.chdir(directory)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os._exit(pytest.main([*ARGUMENTS, *extra]))
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"pytest ended with {os.waitstatus_to_exitcode(status)}")
    return wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3


def interval(values: list[float]) -> tuple[float, float, float]:
    """Return the median between the ends of its 95 % interval."""
    ordered, n = sorted(values), len(values)
    reach = NormalDist().inv_cdf(0.975) * n**0.5 / 2
    low, high = max(int(n / 2 - reach), 0), min(int(n / 2 + reach) + 1, n - 1)
    return ordered[low], median(ordered), ordered[high]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 pairs in place of 200")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    arguments = parser.parse_args()
    pairs = 40 if arguments.quick else 200
    print(
        f"{pairs} pairs of pytest on an empty test, with the plugin and without; about "
        f"{pairs * 0.4:.0f} s"
    )
    # Byte code is kept, as at any user's: without it every start compiles the plugin anew.
    sys.dont_write_bytecode = False
    runs: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "test_empty.py").write_text("def test_empty():\n    pass\n")
        for extra in ((), (WITHOUT,)):
            run_once(directory, *extra)  # the first run writes the byte code
        for index in range(pairs):
            for plugin in (True, False) if index % 2 else (False, True):
                runs[plugin].append(run_once(directory, *(() if plugin else (WITHOUT,))))
    both = list(zip(runs[True], runs[False], strict=True))
    rows = {
        "with the plugin, CPU ms": [cpu for _, cpu in runs[True]],
        "without it, CPU ms": [cpu for _, cpu in runs[False]],
        "added per pair, wall ms": [with_it[0] - without[0] for with_it, without in both],
        "added per pair, CPU ms": [with_it[1] - without[1] for with_it, without in both],
    }
    print(f"{'':26}{'median':>8}{'95 % interval':>20}")
    for title, values in rows.items():
        low, middle, high = interval(values)
        print(f"{title:26}{middle:8.1f}{low:10.1f} ..{high:7.1f}")
    met = middle <= GOAL_MS  # of the last row
    print(
        f"startup: {middle:.1f} ms CPU added ({low:.1f} .. {high:.1f}; goal {GOAL_MS:g} ms): "
        f"{'met' if met else 'MISSED'}"
    )
    if arguments.json:
        figures = {"rows": rows, "added_ms": middle, "goal_ms": GOAL_MS, "met": met}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


if __name__ == "__main__":
    sys.exit(main())
