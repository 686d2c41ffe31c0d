"""How often the paired gate is right on a real Triton, about models whose difference is known.

Run from the repository's virtual environment::

    .venv/bin/python benchmarks/paired_truth.py [--case NAME[,NAME]] [--runs N] [--seconds S]
        [--quick] [--json FILE] [--host WORDS] [--check]
    .venv/bin/python benchmarks/paired_truth.py --model numpy --change 0.03 [--tolerance T] ...

Each run starts a server of its own and judges one cell (batch 1, one request in flight) as the
plugin does, at its default alpha, in at most ``--seconds``. The models: ``numpy`` works for 5 ms on
one core of this machine, ``gait`` is a network of the zoo, ``sleep`` only waits 10 ms. Their
candidates do (1 + change) times the work. Some runs are beside a process that spins.

With ``--json`` every run is added to the file, under what decides it (case, machine, spinner), and
``--runs`` says how many runs of each case the file shall have for this machine: an interrupted
program goes on where it was. ``--host`` names the machine there; by default its count of CPUs does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402 - of this checkout, from here on
from scipy.stats import binomtest  # noqa: E402

from benchmarks.truth import CONFIG, entry_of, read, spinning, write  # noqa: E402
from pytest_gaitperf.config.settings import Settings  # noqa: E402
from pytest_gaitperf.errors import GaitperfError  # noqa: E402
from pytest_gaitperf.gate.pairing import paired_verdicts  # noqa: E402
from pytest_gaitperf.measure.pairs import Progress, Terms, measure_pairs  # noqa: E402
from pytest_gaitperf.measure.visits import COMPARED  # noqa: E402
from pytest_gaitperf.power.metering import Metering  # noqa: E402
from pytest_gaitperf.triton.launch import ServerOptions  # noqa: E402
from pytest_gaitperf.triton.server import open_server  # noqa: E402
from pytest_gaitperf.workload import Workload  # noqa: E402
from pytest_gaitperf.zoo.networks import REFERENCE_VARIANTS  # noqa: E402
from pytest_gaitperf.zoo.repository import ensure_built  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

GAIT_MODEL = "3D_fp32_40_batchd"
BUDGET_SHARE, CONFIRMING_S = 0.75, 24.0
"""What of a run's seconds is the budget at most, and what is left to confirm what it suspects."""

_START_S = 8.0
_WORK = {
    "numpy": "for _ in range({loops}): np.add(DATA, 1.0, out=OUT)",
    "sleep": "time.sleep({sleep_s})",
}
_WORK_S, _SLEEP_S = 0.005, 0.01
_MODEL = """\
import time

import numpy as np
import triton_python_backend_utils as pb_utils

DATA = np.ones(4096)
OUT = np.ones(4096)


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            {work}
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            answers.append(pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack("OUTPUT0", tensor.to_dlpack())]))
        return answers
"""
_SLOWER = """

_execute = TritonPythonModel.execute


def _slower(self, requests):
    import time

    began = time.thread_time()
    answers = _execute(self, requests)
    until = time.thread_time() + {change} * (time.thread_time() - began)
    while time.thread_time() < until:
        pass
    return answers


TritonPythonModel.execute = _slower
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A truth to find: a ``model`` whose candidate does (1 + ``change``) times its work.

    Every ``spin_every``-th run is beside a spinning process, none for 0. ``goal`` is the least
    share of right verdicts: red for a positive change, improved for a negative one, neither for 0.
    """

    name: str
    model: str
    change: float
    tolerance: float
    seconds: float
    spin_every: int
    goal: float

    @property
    def right(self) -> str:
        """The verdict that is right."""
        return "neither" if not self.change else "red" if self.change > 0 else "improved"


CASES = (
    Case("equal-numpy", "numpy", 0.0, 0.02, 40.0, 3, 1.0),
    Case("equal-gait", "gait", 0.0, 0.02, 40.0, 3, 1.0),
    Case("equal-sleep", "sleep", 0.0, 0.02, 40.0, 3, 1.0),
    Case("slower-10", "numpy", 0.10, 0.02, 60.0, 2, 0.9),
    Case("slower-5", "numpy", 0.05, 0.02, 120.0, 2, 0.9),
    Case("faster-10", "numpy", -0.10, 0.02, 60.0, 2, 0.9),
    Case("slower-2", "numpy", 0.02, 0.01, 120.0, 0, 0.9),
    Case("slower-1", "numpy", 0.01, 0.005, 300.0, 0, 0.8),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run: red, improved, neither or invalid; by metric the verdict and change."""

    came: str
    seconds: float
    blocks: int
    spinner: bool
    verdicts: dict[str, str]
    changes: dict[str, float]


def write_model(repository: Path, name: str, kind: str, change: float = 0.0) -> None:
    """Write a model that is called ``name`` and does (1 + ``change``) times its kind's work."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    if kind == "gait":
        built = _gait()
        config = (built / "config.pbtxt").read_text()
        code = (built / "1" / "model.py").read_text()
        code += _SLOWER.format(change=change) if change else ""
        (folder / "1" / "model.onnx").symlink_to(built / "1" / "model.onnx")
        config = config.replace(f'name: "{GAIT_MODEL}"\n', "")
    else:
        words = {"loops": round(_loops() * (1 + change)), "sleep_s": _SLEEP_S * (1 + change)}
        code = _MODEL.format(work=_WORK[kind].format(**words))
        config = CONFIG
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    (folder / "1" / "model.py").write_text(code, encoding="utf-8")


@cache
def _loops() -> int:
    """Return how often this machine does ``numpy``'s work in 5 ms, when nobody disturbs it."""
    data, out, loops = np.ones(4096), np.ones(4096), 200
    seconds = []
    for _ in range(200):
        began_s = time.perf_counter()
        for _ in range(loops):
            np.add(data, 1.0, out=out)
        seconds.append(time.perf_counter() - began_s)
    return round(_WORK_S / (min(seconds) / loops))


def _gait() -> Path:
    chosen = [variant for variant in REFERENCE_VARIANTS if variant.name == GAIT_MODEL]
    repository = HERE.parent / "model_repository"
    ensure_built(repository, chosen, lambda line: print(f"  {line}", flush=True))
    return repository / GAIT_MODEL


def run_once(case: Case, *, spinner: bool, verbose: bool) -> Result:
    """Start a server, judge the candidate, and stop it."""
    say = (lambda text: print(f"    {text}", flush=True)) if verbose else (lambda _text: None)
    terms = Terms(
        alpha=Settings().alpha / len(COMPARED),
        tolerance=lambda _workload, _metric: case.tolerance,
        budget_s=min(BUDGET_SHARE * case.seconds, case.seconds - CONFIRMING_S),
        most_s=case.seconds,
    )
    pair = (Workload("candidate", 1, 1), Workload("reference", 1, 1))
    with tempfile.TemporaryDirectory() as directory, spinning() if spinner else nullcontext():
        write_model(Path(directory), "reference", case.model)
        write_model(Path(directory), "candidate", case.model, case.change)
        options = ServerOptions(mode="local", repository=Path(directory), controlled=True)
        with open_server(options) as server:
            began_s = time.monotonic()
            (found,) = measure_pairs(server, [pair], Metering(), terms, Progress(say=say))
            seconds = time.monotonic() - began_s
    if isinstance(found, GaitperfError):
        return Result(f"invalid: {found}", seconds, 0, spinner, {}, {})
    verdicts = paired_verdicts(
        found.candidate,
        found.reference,
        found.effects,
        lambda _metric: case.tolerance,
        lambda _metric: 0.25,
        undecided=found.undecided,
    )
    kinds = {metric: verdict.kind.value for metric, verdict in verdicts.items()}
    came = "red" if "regressed" in kinds.values() else "neither"
    if came == "neither" and "improved" in kinds.values():
        came = "improved"
    if not kinds:
        came = f"invalid: {found.candidate.invalid}"
    changes = {metric: round(verdict.change or 0.0, 5) for metric, verdict in verdicts.items()}
    blocks = max((verdict.blocks for verdict in verdicts.values()), default=0)
    return Result(came, round(seconds, 1), blocks, spinner, kinds, changes)


# The table


@dataclass(frozen=True, slots=True)
class Row:
    """The runs of a case on a machine: how many were right, with the exact 95 % interval."""

    case: Case
    host: str
    runs: tuple[dict[str, Any], ...]

    @property
    def right(self) -> int:
        """The runs with the right verdict."""
        return sum(run["came"] == self.case.right for run in self.runs)

    @property
    def wrong(self) -> int:
        """The runs that were red or improved, and should not have been."""
        wrong = {"red", "improved"} - {self.case.right}
        kinds = {"red": "regressed", "improved": "improved"}
        return sum(
            any(kinds[came] in run["verdicts"].values() for came in wrong) for run in self.runs
        )

    @property
    def met(self) -> bool:
        """Whether the share of right verdicts meets the goal, and none is wrong."""
        return bool(self.runs) and self.right >= self.case.goal * len(self.runs) and not self.wrong

    def line(self) -> str:
        """Return the line of the table."""
        runs, case = len(self.runs), self.case
        exact = binomtest(self.right, runs).proportion_ci(0.95, method="exact")
        came = Counter(str(run["came"]).partition(":")[0] for run in self.runs)
        others = ", ".join(f"{n} {what}" for what, n in came.items() if what != case.right)
        p50 = [run["changes"].get("latency_p50", 0.0) for run in self.runs]
        seconds = [run["seconds"] for run in self.runs]
        beside = sum(run["spinner"] for run in self.runs)
        return (
            f"{case.name:12}{case.change:+5.0%}{case.tolerance:6.1%}{case.seconds:5.0f} s"
            f"{runs:5}{beside:7}  {self.right:3} {case.right:9}"
            f"[{exact.low:4.0%}, {exact.high:4.0%}]{self.wrong:6}"
            f"{statistics.median(p50):+8.1%}{statistics.median(seconds):6.0f} s"
            f"  {'met' if self.met else 'MISSED'}{f'; {others}' if others else ''}"
        )


def show(rows: Sequence[Row]) -> None:
    """Print the table, machine by machine."""
    for host in dict.fromkeys(row.host for row in rows):
        print(f"\n{host}; beside: runs beside a spinning process; 95 % intervals are exact")
        print(
            f"{'case':12}{'truth':>5}{'tol.':>6}{'limit':>7}{'runs':>5}{'beside':>7}  {'right':13}"
            f"{'95 %':12}{'wrong':>6}{'p50':>8}{'time':>8}  goal"
        )
        for row in rows:
            if row.host == host:
                print(row.line())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", help="only these, separated by commas")
    parser.add_argument("--model", choices=("numpy", "gait", "sleep"), help="a case of your own")
    parser.add_argument("--change", type=float, help="its truth (0.03: 3 %% more work)")
    parser.add_argument("--tolerance", type=float)
    parser.add_argument("--seconds", type=float, help="the longest that a run may take")
    parser.add_argument(
        "--spinner", choices=("never", "always"), help="in place of what each case says"
    )
    parser.add_argument("--runs", type=int, default=10, help="runs of each case (default: 10)")
    parser.add_argument("--quick", action="store_true", help="one run of each, at most 30 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the runs to FILE")
    parser.add_argument("--host", default=f"{os.cpu_count()} CPUs", help="the machine, in words")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument("--table", action="store_true", help="only print what FILE has")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what each run does")
    options = parser.parse_args()
    cases = _chosen(options, parser)
    wanted = 1 if options.quick else options.runs
    entries = read(options.json)
    rows = [(case, entry_of(entries, case, options.host)) for case in cases]
    missing = [(case, entry, max(wanted - len(entry["runs"]), 0)) for case, entry in rows]
    longest_s = sum(number * (case.seconds + _START_S) for case, _, number in missing)
    if not options.table:
        print(
            f"Judges models of known difference in pairs on a local Triton: "
            f"{sum(number for *_, number in missing)} runs of {len(cases)} cases, at most "
            f"{longest_s / 60:.0f} min; the load average is {os.getloadavg()[0]:.1f} on "
            f"{os.cpu_count()} CPUs.",
            flush=True,
        )
        # In turns, so that no case has a time of its own.
        for turn in range(max((number for *_, number in missing), default=0)):
            for case, entry, number in missing:
                if turn < number:
                    _add(case, entry, options)
                    write(options.json, entries, "paired_truth")
    found = [
        Row(Case(**{name: entry[name] for name in Case.__slots__}), entry["host"], tuple(runs))
        for entry in (entries if options.table else [entry for _, entry in rows])
        if (runs := entry["runs"])
    ]
    show(found)
    met = sum(row.met for row in found)
    print(f"\npaired_truth: {met} of {len(found)} goals met, {sum(row.wrong for row in found)} of "
          f"{sum(len(row.runs) for row in found)} runs wrong")  # fmt: skip
    return int(options.check and met < len(found))


def _chosen(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[Case]:
    cases = list(CASES)
    if options.model is not None:
        change = options.change or 0.0
        name = f"{options.model}{change:+g}"
        cases = [Case(name, options.model, change, 0.02, 60.0, 2, 0.9 if change else 1.0)]
    elif options.case is not None:
        names = options.case.split(",")
        if unknown := set(names) - {case.name for case in CASES}:
            parser.error(f"no case {unknown}; there are {', '.join(case.name for case in CASES)}")
        cases = [case for case in CASES if case.name in names]
    changes: dict[str, Any] = {}
    if options.tolerance is not None:
        changes["tolerance"] = options.tolerance
    if options.seconds is not None:
        changes["seconds"] = options.seconds
    if options.quick:
        changes["seconds"] = min(options.seconds or 30.0, 30.0)
    if options.spinner is not None:
        changes["spin_every"] = 1 if options.spinner == "always" else 0
    return [replace(case, **changes) for case in cases]


def _add(case: Case, entry: dict[str, Any], options: argparse.Namespace) -> None:
    number = len(entry["runs"]) + 1
    spinner = bool(case.spin_every) and number % case.spin_every == 0
    result = run_once(case, spinner=spinner, verbose=options.verbose)
    entry["runs"].append(asdict(result))
    changes = ", ".join(
        f"{metric} {result.verdicts[metric]} {change:+.2%}"
        for metric, change in result.changes.items()
    )
    print(
        f"  {case.name} run {number}{' beside a spinning process' if spinner else ''}: "
        f"{result.came} after {result.seconds:.0f} s, {result.blocks} blocks ({changes})",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
