"""What a page costs: the CPU time of `gaitperf report` for a thousand and ten thousand cells.

The cells are those of a real results file, repeated under other names and with other values, so
that none shares a point with another. The cost is user and system time of the whole command.
Goal: ten times the cells cost at most ten times the CPU time, and ten thousand at most 10 s.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace as with_values
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pytest_gaitperf.results_file import encode, read_results

if TYPE_CHECKING:
    from pytest_gaitperf.results import Cell, Run

GOAL_S, GOAL_TIMES = 10.0, 10.0


def repeated(run: Run, number: int) -> Run:
    """Return the run with so many cells."""
    return replace(
        run, cells=tuple(_other(run.cells[i % len(run.cells)], i) for i in range(number))
    )


def _other(cell: Cell, number: int) -> Cell:
    model = f"{cell.workload.model}_{number}"
    factor = 1 + number * 7919 % 9973 / 9973
    found = cell.measurement
    if found is not None:
        values = {
            name: with_values(one, value=one.value * factor, low=None, high=None)
            for name, one in found.metrics.items()
        }
        found = replace(found, metrics=values)
    workload = with_values(cell.workload, model=model)
    return replace(cell, id=f"{model}-{cell.key}", workload=workload, measurement=found)


def cpu_s(results: Path, page: Path) -> float:
    """Return the CPU time of the command."""
    command = [sys.executable, "-m", "pytest_gaitperf.cli", "report", str(results), "-o", str(page)]
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"gaitperf report ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Print the CPU time and the size by number of cells; return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a results file (--gaitperf-json)")
    run = read_results(parser.parse_args().results)
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        results, page = Path(folder, "r.json"), Path(folder, "r.html")
        for number in (1_000, 10_000):
            results.write_text(encode(repeated(run, number)), encoding="utf-8")
            costs.append(cpu_s(results, page))
            print(f"{number} cells: {costs[-1]:.1f} s, {page.stat().st_size / 1e6:.1f} MB")
    few, many = costs
    print(f"ten times the cells cost {many / few:.1f} times")
    return int(many > GOAL_S or many > GOAL_TIMES * few)


if __name__ == "__main__":
    sys.exit(main())
