"""Whether a leak, slower loading and a heavier neighbour turn their own test red, on a real Triton.

Run from the repository's virtual environment::

    .venv/bin/python benchmarks/planted_faults.py [--case NAME[,NAME]] [--runs N]
        [--sessions N] [--quick] [--json FILE] [--host WORDS] [--check] [-- ARGUMENTS OF PYTEST]

Two equal models that work in plain Python for some milliseconds are measured as a user does: the
gait suite's grid with one and four requests in flight, and the plugin's defaults but for a short
budget. First eight sessions are recorded. Then runs are gated against them: with the same models,
with one of them that keeps 1 MiB of each request, and with one that takes 200 or 500 ms longer to
load (of which Triton's Python backend itself takes 1.3 s). A run is right where the tests that are
red are those of that model's memory, or of its start, and no others; with the same models, where
none is.

One of them is also measured alone and beside a neighbour, 25 requests a second of a model that
works for 1 ms each, all on one CPU. With a neighbour that takes a third of that CPU at the same
rate (``heavier-neighbour``) a run is right where the neighbours' test is red, and no test of the
model alone; with the same neighbour (``equal-neighbour``), where no test is.

With ``--json`` every run is added to the file, and ``--runs`` says how many of each case it shall
have for this machine, so that an interrupted program goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from scipy.stats import binomtest  # noqa: E402 - of this checkout, from here on

from benchmarks.truth import CONFIG, entry_of, read, write  # noqa: E402
from pytest_gaitperf import read_results  # noqa: E402
from pytest_gaitperf.metrics import quantity_of  # noqa: E402
from pytest_gaitperf.results import Outcome, VerdictKind  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.results import Run

MODELS = ("steady", "suspect")
SUITES = ("test_grid.py", "test_models.py")
NEIGHBOUR = "neighbour"
BESIDE = f"{MODELS[1]}-b1-c1-beside={NEIGHBOUR}-r25"
SESSIONS = 8
GOAL = 1.0
_SECONDS_PER_RUN = 45
_GRID = "batch_sizes = [1]\nconcurrencies = [1, 4]\n"
_MIXES = f"""\
models = "{MODELS[1]}"
batch_sizes = [1]
concurrencies = [1]
beside = [{{}}, {{ {NEIGHBOUR} = "25/s" }}]
"""
_LIGHT_S, _HEAVY_S = 0.001, 1 / 3 / 25
# Memory of its own for each request, whether it is kept or given back: a page that is touched for
# the first time costs CPU time, on some machines more than the model's own work.
_MODEL = """\
import mmap
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.kept = []
        time.sleep({sleep_s})

    def execute(self, requests):
        answers = []
        for request in requests:
            total = 0
            for number in range({additions}):
                total += number
            ends_s = time.process_time() + {works_s}
            while time.process_time() < ends_s:
                pass
            block = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            block.write(b"x" * (1 << 20))
            if {leaks}:
                self.kept.append(block)
            else:
                block.close()
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            answers.append(pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack("OUTPUT0", tensor.to_dlpack())]))
        return answers
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of one model, and the quantity whose test is to be red, "" where none is.

    ``neighbour_s`` is the CPU time of each of the neighbour's requests, 0 where there is none.
    """

    name: str
    quantity: str = ""
    sleep_s: float = 0.0
    leaks: bool = False
    neighbour_s: float = 0.0

    @property
    def cell(self) -> str:
        """The cell with the fault."""
        return BESIDE if self.neighbour_s else f"{MODELS[1]}-model"

    def is_right(self, red: Sequence[str]) -> bool:
        """Return whether those tests are red that are to be; a slower cell is so in all of them."""
        expected = f"test_{self.quantity}[{self.cell}]"
        if not self.quantity:
            return not red
        if self.neighbour_s:
            return expected in red and all(f"[{BESIDE}]" in one for one in red)
        return red == [expected]


CASES = (
    Case("equal"),
    Case("leak", "memory", leaks=True),
    Case("slow-load", "cold_start", sleep_s=0.2),
    Case("slow-load-500", "cold_start", sleep_s=0.5),
    Case("equal-neighbour", neighbour_s=_LIGHT_S),
    Case("heavier-neighbour", "neighbours", neighbour_s=_HEAVY_S),
)


def write_models(repository: Path, case: Case) -> None:
    """Write the models, the second one with the case's fault, or what it is measured beside."""
    for name in (MODELS[1], NEIGHBOUR) if case.neighbour_s else MODELS:
        folder = repository / name
        (folder / "1").mkdir(parents=True, exist_ok=True)
        (folder / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
        faulty, beside = name == MODELS[1], name == NEIGHBOUR
        code = _MODEL.format(
            sleep_s=case.sleep_s if faulty else 0.0,
            leaks=case.leaks and faulty,
            additions=0 if beside else 400_000,
            works_s=case.neighbour_s if beside else 0.0,
        )
        (folder / "1" / "model.py").write_text(code, encoding="utf-8")


def measure(project: Path, case: Case, *arguments: str, verbose: bool = False) -> Run | None:
    """Run the suite in a project; return its record, None where it has none."""
    suites = SUITES[:1] if case.neighbour_s else SUITES
    for suite in suites:
        shutil.copy(HERE.parent / "suites" / suite, project / suite)
    grid = _MIXES if case.neighbour_s else _GRID
    (project / "grid.toml").write_text(grid, encoding="utf-8")
    results = project / "results.json"
    results.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *suites),
        *("--triton=local", "--power=none", "--gaitperf-profile=planted"),
        *("--gaitperf-grid=grid.toml", "--gaitperf-budget=6.5"),
        *("--gaitperf-json=results.json", *arguments),
    ]
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    seen = None if verbose else subprocess.DEVNULL
    environment = {**os.environ, "PYTHONPATH": path}
    cpus = os.sched_getaffinity(0)
    if case.neighbour_s:
        os.sched_setaffinity(0, {max(cpus)})  # which what is started inherits
    try:
        subprocess.run(command, cwd=project, env=environment, stdout=seen, stderr=seen, check=False)
    finally:
        os.sched_setaffinity(0, cpus)
    return read_results(results) if results.exists() else None


def red_tests(run: Run) -> list[str]:
    """Return the tests whose verdict is red."""
    return sorted(
        {
            f"test_{quantity_of(verdict.metric)}[{cell.id}]"
            for cell in run.cells
            if cell.outcome is Outcome.RED
            for verdict in cell.verdicts.values()
            if verdict.kind is VerdictKind.REGRESSED
        }
    )


def record(
    project: Path, case: Case, arguments: Sequence[str], *, sessions: int, verbose: bool
) -> None:
    """Record sessions of a case without a fault."""
    write_models(project / "model_repository", case)
    more = ("--gaitperf-update=missing", f"--gaitperf-sessions={sessions}")
    run = measure(project, case, *more, *arguments, verbose=verbose)
    if run is None or not any(cell.recorded for cell in run.cells):
        raise SystemExit(f"nothing was recorded: {run.reasons[:2] if run else 'no results'}")


def run_once(
    case: Case, project: Path, arguments: Sequence[str], *, verbose: bool
) -> dict[str, Any]:
    """Gate once; say which tests were red, and how far the case's quantity had moved."""
    write_models(project / "model_repository", case)
    began_s = time.monotonic()
    run = measure(project, case, *arguments, verbose=verbose)
    seconds = round(time.monotonic() - began_s, 1)
    if run is None:
        return {"right": False, "outcome": "none", "red": [], "changes": {}, "seconds": seconds}
    red = red_tests(run)
    own = (cell for cell in run.cells if cell.id == case.cell)
    changes = {
        name: round(verdict.change, 4)
        for cell in own
        for name, verdict in cell.verdicts.items()
        if verdict.change is not None
    }
    return {
        "right": case.is_right(red),
        "outcome": run.outcome.value,
        "red": red,
        "changes": changes,
        "seconds": seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", help="only these, separated by commas")
    parser.add_argument("--runs", type=int, default=10, help="runs of each case (default: 10)")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="recorded (default: 8)")
    parser.add_argument("--quick", action="store_true", help="one run of each, of 2 sessions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the runs to FILE")
    parser.add_argument("--host", default=f"{os.cpu_count()} CPUs", help="the machine, in words")
    parser.add_argument("--check", action="store_true", help="exit 1 where a run is not right")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each run's own output")
    parser.add_argument("arguments", nargs="*", help="more arguments of pytest, behind --")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.case or case.name in options.case.split(",")]
    entries = read(options.json)
    rows = [(case, entry_of(entries, case, options.host)) for case in cases]
    wanted, sessions = (1, 2) if options.quick else (options.runs, options.sessions)
    missing = sum(max(wanted - len(entry["runs"]), 0) for _, entry in rows)
    print(
        f"Gates two models, one with a planted fault, against {sessions} sessions: {missing} runs, "
        f"about {(missing + sessions / 2) * _SECONDS_PER_RUN / 60:.0f} min; the load average is "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs.",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as directory:
        how = {"verbose": options.verbose}
        projects = {beside: Path(directory, str(beside)) for beside in (False, True)}
        for beside, project in projects.items():
            rests = (one for one, entry in rows if len(entry["runs"]) < wanted)
            if any(bool(one.neighbour_s) is beside for one in rests):
                project.mkdir()
                equal = next(one for one in CASES if bool(one.neighbour_s) is beside)
                record(project, equal, options.arguments, sessions=sessions, **how)
        while missing:  # in turns, so that no case has a time of its own
            for case, entry in rows:
                if len(entry["runs"]) < wanted:
                    project = projects[bool(case.neighbour_s)]
                    found = run_once(case, project, options.arguments, **how)
                    entry["runs"].append(found)
                    missing -= 1
                    write(options.json, entries, "planted_faults")
                    print(f"  {case.name}: {found}", flush=True)
    right = 0
    print(f"\n{'case':18}{'runs':>5}{'right':>7}  95 % (exact)")
    for case, entry in rows:
        runs = entry["runs"]
        good = sum(run["right"] for run in runs)
        right += good == len(runs)
        if runs:
            exact = binomtest(good, len(runs)).proportion_ci(method="exact")
            print(f"{case.name:18}{len(runs):5}{good:7}  {exact.low:.2f} .. {exact.high:.2f}")
    print(f"planted_faults: {right} of {len(rows)} cases right in every run")
    return int(options.check and right < len(rows))


if __name__ == "__main__":
    sys.exit(main())
