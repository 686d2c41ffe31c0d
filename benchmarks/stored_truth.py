"""How often the stored gate is right on a real Triton, about models whose difference is known.

Run from the repository's virtual environment::

    .venv/bin/python benchmarks/stored_truth.py [--case NAME[,NAME]] [--runs N] [--quick]
        [--per-recording N] [--json FILE] [--host WORDS] [--check] [-- ARGUMENTS OF PYTEST]

Three models that work on one core for about 3, 5 and 8 ms are measured in 12 cells, as a user does:
the gait suite's grid, with the plugin's defaults and what stands behind ``--``. First as many
sessions are recorded as the cases need; then runs are gated against the newest 1 to 8 of them, with
the same models, or with one of the three that does (1 + change) times the work, or five times the
work for 2 % of its requests. Some are beside a process that spins. Others record, beside it or
while the server is stopped for some seconds, and nothing disturbed may be recorded. After a run of
each case, or ``--per-recording`` of them, sessions are recorded anew.

With ``--json`` every run is added to the file, under what decides it (case and machine), and
``--runs`` says how many runs of each case the file shall have for this machine: an interrupted
program goes on where it was. ``--host`` names the machine there; by default its count of CPUs does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from scipy.stats import binomtest  # noqa: E402 - of this checkout, from here on

from benchmarks.truth import CONFIG, entry_of, read, spinning, stopping, write  # noqa: E402
from pytest_gaitperf import read_results  # noqa: E402
from pytest_gaitperf.results import Outcome  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gaitperf.results import Run

MODELS = {"light": 2900, "medium": 4800, "heavy": 7700}
"""The models by their loops; 4800 are about 5 ms. (Rows of 2000 and fewer say so: they worked for
1.3 to 3.4 ms, of which a tenth of the time that a request takes is not work.)"""

_MINUTES_PER_GATE, _MINUTES_PER_SESSION = 2.5, 2.0
_PROFILE = "truth"
_MODEL = """\
import random

import numpy as np
import triton_python_backend_utils as pb_utils

DATA = np.ones(4096)
OUT = np.ones(4096)


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            for _ in range({loops} * (5 if random.random() < {tail} else 1)):
                np.add(DATA, 1.0, out=OUT)
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            answers.append(pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack("OUTPUT0", tensor.to_dlpack())]))
        return answers
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A truth to find against so many ``sessions``: one model does (1 + ``change``) times its work.

    Every ``spin_every``-th run is beside a spinning process, none for 0. ``goal`` is the least
    share of right runs: red in that model alone, or for no change not red. ``tail`` is the share of
    that model's requests that do five times the work. Without ``sessions`` the run records, and is
    right where nothing is recorded; ``stopped_s`` is how long the server is stopped meanwhile.
    """

    name: str
    sessions: int
    change: float
    spin_every: int
    goal: float
    tail: float = 0.0
    stopped_s: float = 0.0

    @property
    def slows(self) -> bool:
        """Whether one of the models is slower."""
        return bool(self.change or self.tail)

    @property
    def right(self) -> tuple[str, ...]:
        """What a run that is right comes to."""
        if not self.sessions:
            return ("unmeasured", "red")
        if self.tail:
            return ("red", "unmeasured")
        return ("red",) if self.change else ("green", "unmeasured")


CASES = (
    *(Case(f"equal-{n}", n, 0.0, 3, 1.0) for n in (1, 2, 3, 5, 8)),
    *(Case(f"twice-{n}", n, 1.0, 0, 1.0) for n in (1, 2, 3, 5, 8)),
    Case("slower-30", 3, 0.3, 0, 0.9),
    Case("slower-10", 5, 0.1, 0, 0.9),
    Case("tail", 3, 0.0, 0, 1.0, tail=0.02),
    Case("record-beside", 0, 0.0, 1, 1.0),
    Case("record-stopped-2", 0, 0.0, 0, 1.0, stopped_s=2.0),
    Case("record-stopped-5", 0, 0.0, 0, 1.0, stopped_s=5.0),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run: red, wrong red, unmeasured, green, or of one that records: recorded.

    ``slowed`` is the model that was slowed, ``red`` the cells that were red by the metrics that
    were, ``reasons`` the first of those that are not green, ``seconds`` what the run took.
    """

    came: str
    seconds: float
    spinner: bool
    slowed: str
    red: dict[str, tuple[str, ...]]
    reasons: tuple[str, ...]


def write_models(
    repository: Path, slowed: str = "", change: float = 0.0, tail: float = 0.0
) -> None:
    """Write the three models, one of them slowed."""
    for name, loops in MODELS.items():
        folder = repository / name
        (folder / "1").mkdir(parents=True, exist_ok=True)
        work = round(loops * (1 + change if name == slowed else 1))
        (folder / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
        code = _MODEL.format(loops=work, tail=tail if name == slowed else 0.0)
        (folder / "1" / "model.py").write_text(code, encoding="utf-8")


def measure(project: Path, *arguments: str, verbose: bool) -> Run | None:
    """Run the suite in a project; return its record, None where it has none."""
    shutil.copy(HERE.parent / "suites" / "test_grid.py", project / "test_grid.py")
    results = project / "results.json"
    results.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_grid.py"),
        *("--triton=local", "--power=none", f"--gaitperf-profile={_PROFILE}"),
        *("--gaitperf-json=results.json", *arguments),
    ]
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    seen = None if verbose else subprocess.DEVNULL
    subprocess.run(command, cwd=project, env=environment, stdout=seen, stderr=seen, check=False)
    return read_results(results) if results.exists() else None


def record(project: Path, arguments: Sequence[str], *, sessions: int, verbose: bool) -> Path:
    """Record sessions of the models as they are, and return the directory of their baselines."""
    write_models(project / "model_repository")
    baselines = project / "baselines"
    shutil.rmtree(baselines, ignore_errors=True)
    more = ("--gaitperf-update=missing", f"--gaitperf-sessions={sessions}")
    run = measure(project, *more, *arguments, verbose=verbose)
    if run is None or run.outcome is not Outcome.GREEN:
        reasons = "no results" if run is None else "; ".join(run.reasons[:3])
        raise SystemExit(f"nothing could be recorded: {reasons}")
    kept = project / "recorded"
    shutil.rmtree(kept, ignore_errors=True)
    return baselines.rename(kept)


def keep_newest(recorded: Path, baselines: Path, sessions: int) -> None:
    """Copy recorded baselines with the newest sessions alone."""
    shutil.rmtree(baselines, ignore_errors=True)
    shutil.copytree(recorded, baselines)
    for path in baselines.glob("*/*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        newest = sorted(document["sessions"])[-sessions:]
        document["sessions"] = {name: document["sessions"][name] for name in newest}
        for cell in document["cells"].values():
            values = cell["sessions"]
            cell["sessions"] = {name: values[name] for name in newest if name in values}
        path.write_text(json.dumps(document), encoding="utf-8")


def run_once(
    case: Case,
    project: Path,
    recorded: Path,
    arguments: Sequence[str],
    *,
    number: int,
    spinner: bool,
    verbose: bool,
) -> Result:
    """Gate a run against the newest sessions that were recorded; each model is slowed in turn."""
    slowed = list(MODELS)[number % len(MODELS)] if case.slows else ""
    write_models(project / "model_repository", slowed, case.change, case.tail)
    if case.sessions:
        keep_newest(recorded, project / "baselines", case.sessions)
    else:
        shutil.rmtree(project / "baselines", ignore_errors=True)
        arguments = (*arguments, "--gaitperf-update=missing")
    began_s = time.monotonic()
    with spinning() if spinner else nullcontext(), stopping(case.stopped_s):
        run = measure(project, *arguments, verbose=verbose)
    seconds = round(time.monotonic() - began_s, 1)
    if run is None:
        return Result("unmeasured", seconds, spinner, slowed, {}, ("no results",))
    red = {
        cell.id: tuple(
            metric for metric, one in cell.verdicts.items() if one.kind.value == "regressed"
        )
        for cell in run.cells
        if cell.outcome is Outcome.RED
    }
    came = run.outcome.value
    if any(cell.outcome is Outcome.RED and cell.workload.model != slowed for cell in run.cells):
        came = "wrong red"
    kept = [cell for cell in run.cells if cell.recorded]
    # A stop falls into one cell, and the others may be recorded.
    if kept and not case.sessions and (len(kept) == len(run.cells) or not case.stopped_s):
        came = "recorded"
    return Result(came, seconds, spinner, slowed, red, tuple(one[:200] for one in run.reasons[:3]))


# The table


@dataclass(frozen=True, slots=True)
class Row:
    """The runs of a case on a machine: how many were right, with the exact 95 % interval."""

    case: Case
    host: str
    runs: tuple[dict[str, Any], ...]

    @property
    def right(self) -> int:
        """The runs that came to what they should."""
        return sum(run["came"] in self.case.right for run in self.runs)

    @property
    def wrong(self) -> int:
        """The runs that were red in a model that nobody slowed."""
        return sum(run["came"] == "wrong red" for run in self.runs)

    @property
    def met(self) -> bool:
        """Whether the share of right runs meets the goal, and none is wrong."""
        return bool(self.runs) and self.right >= self.case.goal * len(self.runs) and not self.wrong

    def line(self) -> str:
        """Return the line of the table."""
        runs, case = len(self.runs), self.case
        exact = binomtest(self.right, runs).proportion_ci(0.95, method="exact")
        came = Counter(run["came"] for run in self.runs)
        seconds = [run["seconds"] for run in self.runs]
        beside = sum(run["spinner"] for run in self.runs)
        return (
            f"{case.name:11}{case.sessions:3}{case.change:+7.0%}{runs:6}{beside:8}{self.right:7} "
            f"[{exact.low:4.0%}, {exact.high:4.0%}]{came['red']:5}{self.wrong:7}"
            f"{came['unmeasured']:12}{came['green']:7}{statistics.median(seconds):6.0f} s"
            f"  {'met' if self.met else 'MISSED'}"
        )


def show(rows: Sequence[Row]) -> None:
    """Print the table, machine by machine."""
    for host in dict.fromkeys(row.host for row in rows):
        print(f"\n{host}; beside: runs beside a spinning process; 95 % intervals are exact")
        print(
            f"{'case':11}{'n':>3}{'truth':>7}{'runs':>6}{'beside':>8}{'right':>7} {'95 %':12}"
            f"{'red':>5}{'wrong':>7}{'unmeasured':>12}{'green':>7}{'time':>8}  goal"
        )
        for row in rows:
            if row.host == host:
                print(row.line())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", help="only these, separated by commas")
    parser.add_argument(
        "--spinner", choices=("never", "always"), help="in place of what each case says"
    )
    parser.add_argument("--runs", type=int, default=10, help="runs of each case (default: 10)")
    parser.add_argument(
        "--per-recording", type=int, default=1, metavar="N", help="runs of each before the next"
    )
    parser.add_argument("--quick", action="store_true", help="equal-2 and twice-2, once each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the runs to FILE")
    parser.add_argument("--host", default=f"{os.cpu_count()} CPUs", help="the machine, in words")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument("--table", action="store_true", help="only print what FILE has")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each run's own output")
    parser.add_argument("arguments", nargs="*", help="more arguments of pytest, behind --")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.case or case.name in options.case.split(",")]
    if unknown := set((options.case or "").split(",")) - {"", *(case.name for case in CASES)}:
        parser.error(f"no case {unknown}; there are {', '.join(case.name for case in CASES)}")
    if options.quick:
        cases = [case for case in CASES if case.name in ("equal-2", "twice-2")]
    entries = read(options.json)
    rows = [(case, entry_of(entries, case, options.host)) for case in cases]
    if not options.table:
        _run_missing(rows, entries, options)
    found = [
        Row(Case(**{name: entry[name] for name in Case.__slots__}), entry["host"], tuple(runs))
        for entry in (entries if options.table else [entry for _, entry in rows])
        if (runs := entry["runs"])
    ]
    show(found)
    met, wrong = sum(row.met for row in found), sum(row.wrong for row in found)
    runs = sum(len(row.runs) for row in found)
    print(f"\nstored_truth: {met} of {len(found)} goals met, {wrong} of {runs} runs wrong")
    return int(options.check and met < len(found))


def _run_missing(
    rows: Sequence[tuple[Case, dict[str, Any]]],
    entries: list[dict[str, Any]],
    options: argparse.Namespace,
) -> None:
    """Make the runs that are missing, in turns, so that no case has a time of its own."""
    wanted = 1 if options.quick else options.runs
    missing = [max(wanted - len(entry["runs"]), 0) for _, entry in rows]
    turns = range(-(-max(missing) // options.per_recording))
    sessions = max(1, *(case.sessions for case, _ in rows))
    gates = sum(missing)
    minutes = gates * _MINUTES_PER_GATE + len(turns) * sessions * _MINUTES_PER_SESSION
    print(
        f"Gates {len(MODELS)} models in 12 cells on a local Triton against stored sessions: "
        f"{gates} runs of {len(rows)} cases, with {sessions} sessions recorded {len(turns)} times: "
        f"about {minutes:.0f} min; the load average is {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} CPUs.",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as directory:
        project, verbose = Path(directory), options.verbose
        for _ in turns:
            began_s = time.monotonic()
            recorded = record(project, options.arguments, sessions=sessions, verbose=verbose)
            took_s = time.monotonic() - began_s
            print(f"  {sessions} sessions recorded in {took_s:.0f} s", flush=True)
            for case, entry in list(rows) * options.per_recording:
                number = len(entry["runs"]) + 1
                if number > wanted:
                    continue
                spinner = bool(case.spin_every) and number % case.spin_every == 0
                if options.spinner is not None:
                    spinner = options.spinner == "always"
                result = run_once(
                    case,
                    project,
                    recorded,
                    options.arguments,
                    number=number,
                    spinner=spinner,
                    verbose=verbose,
                )
                entry["runs"].append(asdict(result))
                write(options.json, entries, "stored_truth")
                beside = " beside a spinning process" if spinner else ""
                slowed = f", {result.slowed} slowed" if result.slowed else ""
                print(
                    f"  {case.name} run {number}{beside}{slowed}: {result.came} after "
                    f"{result.seconds:.0f} s; {len(result.red)} cells red",
                    flush=True,
                )


if __name__ == "__main__":
    sys.exit(main())
