"""Whether an imported power log comes to the average that its submission states.

    .venv/bin/python benchmarks/power_logs.py RESULTS [--match WORDS] [--json FILE] [--check]

RESULTS is a git repository of MLPerf inference results (mlcommons/inference_results_v2.0 and the
like), with the runs' `spl.txt` and detail logs. The submission checker's power is the plain mean of
the readings within the detail log's window; ours is the integral over it, from edge to edge, by the
code of `gaitperf power import`. Nothing is written into RESULTS.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pytest_gaitperf.errors import GaitperfError  # noqa: E402 - of this checkout
from pytest_gaitperf.power.energy import error_budget, integrate  # noqa: E402
from pytest_gaitperf.power.imports import imported  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

GOAL = 0.001
ERRORS = 3.0


def logs(repository: Path, words: str) -> Iterator[tuple[str, str, str]]:
    """Yield the path of each run with its power log and its detail log."""

    def git(*command: str) -> bytes:
        return subprocess.run(
            [shutil.which("git") or "git", "-C", str(repository), *command],
            capture_output=True,
            check=True,
        ).stdout

    # A detail log's begin and end are what is wanted of its megabytes.
    names = git("ls-tree", "-r", "--name-only", "HEAD").decode().splitlines()
    known, seen = set(names), set()
    for name in names:
        run = name.removesuffix("/spl.txt")
        detail = f"{run}/mlperf_log_detail.txt"
        if name == run or not run.endswith("run_1") or not re.search(words, name, re.IGNORECASE):
            continue
        if detail in known:
            power = git("show", f"HEAD:{name}")
            if power not in seen:  # one log is often there for several scenarios
                seen.add(power)
                yield run, power.decode(), git("show", f"HEAD:{detail}").decode()


def compared(power: str, detail: str) -> dict[str, Any]:
    """Compare one log's integral with the plain mean of its readings in the window."""
    found = imported(power, "log", detail=detail)
    start_ns, end_ns = int(found.edges_ns[0]), int(found.edges_ns[-1])
    times, watts = found.trace.times_ns, found.trace.values[:, 0]
    mean_w = float(np.mean(watts[(times > start_ns) & (times < end_ns) & (watts > 0)]))
    rails = found.about.total_rails
    energy = integrate(found.trace, start_ns, end_ns)
    period_s = float(np.median(np.diff(times))) * 1e-9
    budget = error_budget(found.trace, rails, start_ns, end_ns, period_s)
    return {
        "seconds": energy.duration_s,
        "watts": mean_w,
        "error": energy.mean_power_w(rails) / mean_w - 1,
        "stated": budget.relative if budget is not None else 0.0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, metavar="RESULTS")
    parser.add_argument("--match", default="orin|xavier|jetson", metavar="WORDS")
    parser.add_argument("--quick", action="store_true", help="the first ten logs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    print(f"The power logs of {options.results} with {options.match}; about a minute.", flush=True)
    rows, refused = [], []
    for run, power, detail in logs(options.results, options.match):
        try:
            rows.append({"run": run, **compared(power, detail)})
        except (GaitperfError, ValueError) as error:
            refused.append({"run": run, "why": str(error)})
        if options.quick and len(rows) + len(refused) == 10:
            break
    worst = sorted(rows, key=lambda row: -abs(row["error"]))
    for row in worst[:5]:
        print(
            f"{row['error']:+9.3%} of {row['watts']:8.2f} W in {row['seconds']:6.0f} s  "
            f"{row['run']}"
        )
    for one in refused[:5]:
        print(f"refused: {one['why']}  {one['run']}")
    within = sum(abs(row["error"]) <= GOAL for row in rows)
    stated = sum(abs(row["error"]) <= ERRORS * row["stated"] for row in rows)
    if options.json:
        options.json.write_text(json.dumps({"runs": rows, "refused": refused}, indent=2) + "\n")
    exact = binomtest(within, max(len(rows), 1)).proportion_ci(0.95, method="exact")
    print(
        f"\n{within} of {len(rows)} logs within {GOAL:.1%} of the plain mean ({exact.low:.1%} .. "
        f"{exact.high:.1%}), {stated} within three stated errors; {len(refused)} refused"
    )
    return 1 if options.check and (stated < len(rows) or not rows) else 0


if __name__ == "__main__":
    sys.exit(main())
