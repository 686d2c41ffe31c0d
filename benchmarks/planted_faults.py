"""Whether planted faults turn exactly their own test red, on a real Triton.

Run from the repository's virtual environment::

    .venv/bin/python benchmarks/planted_faults.py [--case NAME[,NAME]] [--runs N] [--quick]
        [--sessions N] [--json FILE] [--host WORDS] [--check] [-- ARGUMENTS OF PYTEST]

Two equal models that work in plain Python for some milliseconds are measured as a user does: the
gait suite's grid with one and four requests in flight, and the plugin's defaults but for a short
budget. First eight sessions are recorded. Then runs are gated against them: with the same models,
with one of them that keeps 1 MiB of each request, with one that takes 200 or 500 ms longer to load
(of which Triton's Python backend itself takes 1.3 s), with one whose output has one of 16 channels
at 0, and with one whose output has NaN there in some answers. The other model is its reference. A
run is right where the tests that are red are those of that model's memory, of its start or of its
answers, and no others; with the same models, where none is.

One of them is also measured alone and beside a neighbour, 25 requests a second of a model that
works for 1 ms each, all on one CPU. With a neighbour that takes a third of that CPU at the same
rate (``heavier-neighbour``) a run is right where the neighbours' test is red, and no test of the
model alone; with the same neighbour (``equal-neighbour``), where no test is.

With ``--json`` every run is added to the file, and ``--runs`` says how many of each case it shall
have for this machine, so that an interrupted program goes on where it was.

The cases of a sustained load have a suite, a grid and sessions of their own: the model is kept
under load for 60 s, and ``slows-later`` takes 30 % longer from 20 s on.
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
from typing import TYPE_CHECKING, Any, NamedTuple

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
SESSIONS = 8
GOAL = 1.0
_SECONDS_PER_RUN = 45
_GRID = """\
batch_sizes = [1]
concurrencies = [1, 4]

[accuracy.suspect]
reference = "steady"
"""
NEIGHBOUR = "neighbour"
BESIDE = f"{MODELS[1]}-b1-c1-beside={NEIGHBOUR}-r25"
_LIGHT_S, _HEAVY_S = 0.001, 1 / 3 / 25
_MIXES = f"""\
models = "{MODELS[1]}"
batch_sizes = [1]
concurrencies = [1]
beside = [{{}}, {{ {NEIGHBOUR} = "25/s" }}]
"""
_SUSTAINED_GRID = """\
models = ["suspect"]
batch_sizes = [1]
concurrencies = [1]
sustained = "60 s"
"""


class Scene(NamedTuple):
    """What is run: the suites, the grid, and how many sessions are recorded at most."""

    suites: tuple[str, ...]
    grid: str
    sessions: int


ALONE = Scene(SUITES, _GRID, SESSIONS)
MIXED = Scene(SUITES[:1], _MIXES, SESSIONS)
LASTING = Scene(("test_sustained.py",), _SUSTAINED_GRID, 4)

# Memory of its own for each request, whether it is kept or given back: a page that is touched for
# the first time costs CPU time, on some machines more than the model's own work.
_MODEL = """\
import mmap
import time

import numpy as np
import triton_python_backend_utils as pb_utils

# The stub reads NumPy's structures as they were in NumPy 1, and crashes with the other way there.
DLPACK = int(np.__version__.partition(".")[0]) >= 2


class TritonPythonModel:
    def initialize(self, args):
        self.kept = []
        self.began = 0.0
        time.sleep({sleep_s})

    def execute(self, requests):
        answers = []
        for request in requests:
            total = 0
            self.began = self.began or time.monotonic()
            slow = time.monotonic() - self.began > {slow_after_s}
            for number in range({additions} * 13 // 10 if slow else {additions}):
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
            values = np.array(np.from_dlpack(tensor) if DLPACK else tensor.as_numpy())
            values[:, 3] *= {channel} if values[0, 0] < {below} else 1.0
            make = pb_utils.Tensor.from_dlpack if DLPACK else pb_utils.Tensor
            answers.append(pb_utils.InferenceResponse([make("OUTPUT0", values)]))
        return answers
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of one model, and the quantity whose test is to be red, "" where none is.

    ``neighbour_s`` is the CPU time of each of the neighbour's requests, 0 where there is none.
    ``later_s`` is after how long a load that is kept up becomes 30 % slower, 0 for another load.
    """

    name: str
    quantity: str = ""
    sleep_s: float = 0.0
    leaks: bool = False
    channel: str = "1.0"
    below: float = 2.0
    neighbour_s: float = 0.0
    later_s: float = 0.0

    @property
    def scene(self) -> Scene:
        """What is run."""
        return MIXED if self.neighbour_s else LASTING if self.later_s else ALONE

    @property
    def cell(self) -> str:
        """The cell with the fault."""
        lasting = f"{MODELS[1]}-b1-c1-1min"
        return {ALONE: f"{MODELS[1]}-model", MIXED: BESIDE, LASTING: lasting}[self.scene]

    def is_right(self, red: Sequence[str]) -> bool:
        """Return whether those tests are red that are to be; a slower cell is so in all of them."""
        expected = f"test_{self.quantity}[{self.cell}]"
        if not self.quantity:
            return not red
        if self.neighbour_s:
            return expected in red and all(f"[{BESIDE}]" in one for one in red)
        return red == [expected]


_NEVER_S = 1e9

CASES = (
    Case("equal"),
    Case("leak", "memory", leaks=True),
    Case("slow-load", "cold_start", sleep_s=0.2),
    Case("slow-load-500", "cold_start", sleep_s=0.5),
    Case("wrong-channel", "accuracy", channel="0.0"),
    Case("nan", "accuracy", channel="np.nan", below=0.1),
    Case("equal-neighbour", neighbour_s=_LIGHT_S),
    Case("heavier-neighbour", "neighbours", neighbour_s=_HEAVY_S),
    Case("equal-later", later_s=_NEVER_S),
    Case("slows-later", "sustained", later_s=20.0),
)


def write_models(repository: Path, case: Case) -> None:
    """Write both models, the second one with the case's fault, and the neighbour if it has one."""
    for name in (*MODELS, *([NEIGHBOUR] if case.neighbour_s else [])):
        folder = repository / name
        (folder / "1").mkdir(parents=True, exist_ok=True)
        (folder / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
        of = case if name == MODELS[1] else CASES[0]
        code = _MODEL.format(
            sleep_s=of.sleep_s,
            leaks=of.leaks,
            channel=of.channel,
            below=of.below,
            slow_after_s=of.later_s or _NEVER_S,
            additions=0 if name == NEIGHBOUR else 400_000,
            works_s=case.neighbour_s if name == NEIGHBOUR else 0.0,
        )
        (folder / "1" / "model.py").write_text(code, encoding="utf-8")


def measure(project: Path, case: Case, *arguments: str, verbose: bool = False) -> Run | None:
    """Run a case's suites in a project; return its record, None where it has none."""
    suites, grid, _ = case.scene
    for suite in suites:
        shutil.copy(HERE.parent / "suites" / suite, project / suite)
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
    allowed = os.sched_getaffinity(0)
    if case.scene is MIXED:  # on another CPU a neighbour takes nothing; children inherit it
        os.sched_setaffinity(0, {max(allowed)})
    try:
        subprocess.run(command, cwd=project, env=environment, stdout=seen, stderr=seen, check=False)
    finally:
        os.sched_setaffinity(0, allowed)
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
    named = options.case.split(",") if options.case else []
    cases = [case for case in CASES if not named or case.name in named]
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
        projects: dict[Scene, Path] = {}
        for case in (case for case, entry in rows if len(entry["runs"]) < wanted):
            if case.scene not in projects:
                projects[case.scene] = project = Path(directory, str(len(projects)))
                project.mkdir()
                equal = next(one for one in CASES if one.scene is case.scene and not one.quantity)
                few = min(sessions, case.scene.sessions)
                record(project, equal, options.arguments, sessions=few, **how)
        while missing:  # in turns, so that no case has a time of its own
            for case, entry in rows:
                if len(entry["runs"]) < wanted:
                    found = run_once(case, projects[case.scene], options.arguments, **how)
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
