"""The search for the most subjects, repeated on a gait model: its answers should agree.

Run from the repository's virtual environment (``make .venv/.installed``)::

    .venv/bin/python benchmarks/subjects_repeat.py [--quick] [--json FILE] [--check]
        [--model NAME] [--deadline MS]

Each search is one cell, as ``suites/test_subjects.py`` has it: 25 inferences a second for each
subject, 99 in 100 of them within the deadline. Beside each, in turns, a closed loop of one request
in flight says how fast the machine was just then: where the answers differ as that does, it was the
machine and not the search. The goal: all answers are settled and lie within 10 % of one another.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from benchmarks.load_parts.models import write_models
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.capacity.driver import measure_most_subjects
from pytest_gaitperf.measure.capacity.search import SEARCH_S
from pytest_gaitperf.measure.cell import Effort, measure
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from pytest_gaitperf.zoo.repository import ensure_built
from pytest_gaitperf.zoo.variants import Variant

MODEL = "3D_fp32_90_batchd"
DEADLINE_MS = 40.0
SLEEPY = "sleepy"
GOAL = 0.10
BESIDE_S = 4.0


@dataclass(frozen=True, slots=True)
class Repeat:
    """One search: its answer in subjects, and what one request at a time gave beside it, in inf/s.

    ``error`` says why there is none.
    """

    seconds: float
    one_at_a_time: float
    capacity: float = 0.0
    low: float = 0.0
    high: float = 0.0
    settled: bool = False
    probes: int = 0
    error: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="two searches in place of five")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--check", action="store_true", help="exit 1 where the goal is missed")
    parser.add_argument(
        "--model",
        default=MODEL,
        metavar="NAME",
        help=f"a gait model (default: {MODEL}), or "
        f"{SLEEPY}, which sleeps 20 ms a request: its pace does not change with the machine",
    )
    parser.add_argument(
        "--deadline",
        type=float,
        default=DEADLINE_MS,
        metavar="MS",
        help=f"one frame by default ({DEADLINE_MS:g}); on shared cores a slow model wants more, "
        "since a frame is missed by the machine's own hiccups",
    )
    options = parser.parse_args()
    count = 2 if options.quick else 5
    each_s = SEARCH_S + BESIDE_S
    print(
        f"{count} searches for the most subjects that {options.model} serves, each request within "
        f"{options.deadline:g} ms (p99),\nin turns with one request at a time. Up to "
        f"{count * each_s / 60:.0f} minutes; it wants the machine for itself: the load average is "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."
    )
    repeats = run(options.model, options.deadline / 1e3, count)
    answers = [repeat.capacity for repeat in repeats if not repeat.error]
    spread = max(answers) / min(answers) - 1 if len(answers) == count else float("inf")
    settled = sum(repeat.settled for repeat in repeats)
    met = spread <= GOAL and settled == count  # where time ran out, answers agree by accident
    if answers:
        beside = [repeat.one_at_a_time for repeat in repeats]
        print(
            f"median {statistics.median(answers):.3g} subjects; largest to smallest "
            f"{spread:+.1%}, one request at a time {max(beside) / min(beside) - 1:+.1%}"
        )
    if options.json:
        content = {
            "benchmark": "subjects_repeat",
            "model": options.model,
            "deadline_ms": options.deadline,
            "load_average": os.getloadavg(),
            "spread": spread,
            "goal": GOAL,
            "met": met,
            "repeats": [asdict(repeat) for repeat in repeats],
        }
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    found = f"{spread:.1%} apart, {settled} of {count} settled" if answers else "no answer"
    print(f"subjects_repeat: {found}, goal {GOAL:.0%}: {'met' if met else 'missed'}")
    return 1 if options.check and not met else 0


def run(model: str, deadline_s: float, count: int) -> list[Repeat]:
    """Search so many times, and print a line for each."""
    search = Workload(model, 1, most_subjects=True, deadline_s=deadline_s)
    repeats = []
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        if model == SLEEPY:
            write_models(repository)
        else:
            ensure_built(repository, [Variant.parse(model)], lambda _text: None)
        options = ServerOptions(mode="local", repository=repository, models=(model,))
        with open_server(options) as server:
            print(f"Triton {server.version}; 1/s is what one request at a time gave just before")
            print("subjects   interval       1/s    probes  seconds", flush=True)
            for _ in range(count):
                beside = measure(server, Workload(model, 1, 1), Metering(), Effort(0.01, BESIDE_S))
                rate = beside.metrics["throughput"].value
                began_s = time.monotonic()
                try:
                    measured = measure_most_subjects(
                        server, search, Metering(), Effort(budget_s=SEARCH_S)
                    )
                except MeasurementError as error:
                    seconds = time.monotonic() - began_s
                    repeats.append(Repeat(seconds=seconds, one_at_a_time=rate, error=str(error)))
                    print(f"none: {error}", flush=True)
                    continue
                answer = measured.search
                assert answer is not None
                repeats.append(
                    Repeat(
                        seconds=time.monotonic() - began_s,
                        one_at_a_time=rate,
                        capacity=answer.capacity,
                        low=answer.low,
                        high=answer.high,
                        settled=answer.settled,
                        probes=len(answer.probes),
                    )
                )
                print(
                    f"{answer.capacity:8.3f}   {answer.low:.2f} .. {answer.high:.2f}  {rate:6.1f}"
                    f"  {len(answer.probes):6d}  {repeats[-1].seconds:7.1f}"
                    + ("" if answer.settled else "  not settled"),
                    flush=True,
                )
    return repeats


if __name__ == "__main__":
    raise SystemExit(main())
