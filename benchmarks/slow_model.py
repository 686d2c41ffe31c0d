"""Check that a model which really burns 30 % more turns exactly its own tests red.

Writes two models into a private repository, records a baseline of several sessions, runs once more
unchanged (nothing may be red), then makes the `model.py` of one of the two burn 30 % more CPU and
runs again: the throughput and latency tests of that model should be red, and no other. Everything
goes through `pytest suites/test_grid.py` and the real Triton, as a user would run it.

The two models spin a core for 20 ms a request by the clock, so that the changing speed of a shared
machine is not part of the question. With `--gait` they are two reference networks: on a machine
whose sessions differ by 10 % the gate then rightly wants more sessions before it turns red.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "suites" / "test_grid.py"
GAIT = ("3D_fp32_40_batchd", "2D_fp32_40_batchd")
SPINNING = ("burner", "steady")
CONFIG = """
backend: "python"
max_batch_size: 32
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""
SPIN = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass
        value = pb_utils.get_input_tensor_by_name(request, "INPUT0")
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor.from_dlpack("OUTPUT0", value.to_dlpack())]
        )
"""
BURN = """

_execute = TritonPythonModel.execute


def _slower(self, requests):
    import time

    began = time.perf_counter()
    answers = _execute(self, requests)
    until = time.perf_counter() + {extra} * (time.perf_counter() - began)
    while time.perf_counter() < until:
        pass
    return answers


TritonPythonModel.execute = _slower
"""
GRID = """
batch_sizes = [1]
concurrencies = [1, 4]
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of the suite: its exit code, the red and green tests, and every cell's changes."""

    code: int
    red: frozenset[str]
    green: frozenset[str]
    cells: list[dict[str, object]]


def run_suite(directory: Path, budget_s: float, *options: str) -> Outcome:
    """Run `pytest suites/` on the private repository and baselines."""
    junit, results = directory / "junit.xml", directory / "results.json"
    command = [
        sys.executable, "-m", "pytest", str(SUITE), "-q", "-p", "no:cacheprovider",
        "--triton=local", f"--triton-repository={directory / 'repository'}",
        f"--gaitperf-grid={directory / 'grid.toml'}", f"--gaitperf-budget={budget_s}",
        f"--gaitperf-baselines={directory / 'baselines'}", f"--gaitperf-json={results}",
        f"--junitxml={junit}", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode not in (0, 1):
        sys.exit(f"the suite ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    red: set[str] = set()
    green: set[str] = set()
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - pytest has just written it
        if case.find("skipped") is None:
            bad = case.find("failure") is not None or case.find("error") is not None
            (red if bad else green).add(case.attrib["name"])
    cells = json.loads(results.read_text(encoding="utf-8"))["cells"]
    return Outcome(done.returncode, frozenset(red), frozenset(green), cells)


def write_models(repository: Path, *, gait: bool) -> tuple[str, str]:
    """Write the two models; return their names, the one to slow down first."""
    if gait:
        build = [sys.executable, "-m", "pytest_gaitperf.cli", "models", "build"]
        build += ["--repository", str(repository), *GAIT]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - ours
        return GAIT
    for name in SPINNING:
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(CONFIG)
        (repository / name / "1" / "model.py").write_text(SPIN)
    return SPINNING


def show(title: str, outcome: Outcome) -> None:
    """Print each cell's changes and verdicts."""
    print(
        f"\n{title}: exit code {outcome.code}, {len(outcome.red)} red, {len(outcome.green)} green"
    )
    for cell in outcome.cells:
        judgements, verdicts = cell.get("judgements"), cell.get("verdicts")
        if not isinstance(judgements, dict) or not isinstance(verdicts, dict):
            print(f"  {cell['id']}: {cell.get('error')}")
            continue
        parts = [
            f"{name} {item['change']:+.1%} (limit {item['limit']:+.1%}) {verdicts[name]}"
            for name, item in judgements.items()
            if item["change"] is not None and item["limit"] is not None
        ]
        print(f"  {cell['id']}: {', '.join(parts) or verdicts}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gait", action="store_true", help="use two reference networks")
    parser.add_argument("--sessions", type=int, default=3, help="sessions to record (default: 3)")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds a cell (default: 10)")
    parser.add_argument("--extra", type=float, default=0.3, help="extra CPU (default: 0.3)")
    parser.add_argument("--quick", action="store_true", help="1 session, 6 s a cell")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    arguments = parser.parse_args()
    sessions = 1 if arguments.quick else arguments.sessions
    budget_s = 6.0 if arguments.quick else arguments.budget
    minutes = (sessions + 2) * (4 * (budget_s + 1) + 8) / 60
    print(
        f"{sessions} sessions to record, one run unchanged, one with a model that burns "
        f"{arguments.extra:.0%} more; about {minutes:.0f} min"
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        slow, _ = write_models(directory / "repository", gait=arguments.gait)
        (directory / "grid.toml").write_text(GRID)
        for number in range(sessions):
            recorded = run_suite(directory, budget_s, "--gaitperf-update=all")
            show(f"session {number + 1} of {sessions}", recorded)
        same = run_suite(directory, budget_s)
        show("unchanged", same)
        model = directory / "repository" / slow / "1" / "model.py"
        shutil.copy(model, directory / "model.py")
        model.write_text(model.read_text() + BURN.format(extra=arguments.extra))
        slower = run_suite(directory, budget_s)
        show(f"{slow} burns {arguments.extra:.0%} more", slower)
    wanted = frozenset(
        f"test_{quantity}[{slow}-b1-c{concurrency}]"
        for quantity in ("throughput", "latency")
        for concurrency in (1, 4)
    )
    missed, false = wanted - slower.red, slower.red - wanted
    met = not same.red and not missed and not false
    print(
        f"\nslow_model: unchanged: {len(same.red)} red of {len(same.red | same.green)}; "
        f"{arguments.extra:.0%} slower: {len(wanted & slower.red)} of {len(wanted)} expected "
        f"tests red, {len(false)} others red; {time.monotonic() - began:.0f} s: "
        f"{'met' if met else 'MISSED'}"
    )
    if arguments.json:
        figures = {
            "sessions": sessions,
            "unchanged_red": sorted(same.red),
            "red": sorted(slower.red),
            "expected": sorted(wanted),
            "met": met,
            "unchanged": same.cells,
            "slower": slower.cells,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and not met)


if __name__ == "__main__":
    sys.exit(main())
