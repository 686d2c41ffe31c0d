"""Damage everything that is read from outside, a million times, and look for crashes.

Each target of tests/fuzz/targets.py is a reader: of baselines, results, grids, settings, Triton's
answers, HTTP and HTTP/2 as they come, sysfs, jtop, power traces, models, input data. It gets inputs
as captured with random edits in them, and raw bytes. Allowed is a value that holds what it
promises, or an error that names the source; a crash is any other exception, more than 5 s of CPU
time, or more memory than 64 MB + 200 times the input. `make test` runs 4000 such cases, always the
same; this runs others, by `--seed`, in several processes, and shortens what crashes. C
code that hangs or dies is stopped from outside and named, with its input; the rest of its batch
goes on.

Where atheris is installed, a tenth of each share is guided by coverage: it keeps inputs that reach
new code. (For C extensions, which it cannot see into, the random edits must do.)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, deque
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.campaigns.fuzz_workers import Job, Lost, note, noted, results
from tests.fuzz.mutating import Edit, damaged
from tests.fuzz.running import run_case
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.running import Outcome
    from tests.fuzz.target import Target

CASES = 1_000_000
QUICK_CASES = 20_000
_GUIDED_SHARE = 0.1
_BATCH = 2_000
_WATCHED = 16
"""Memory is watched in one case in so many."""
_MEMORY_BYTES = 4 << 30
"""No process gets more: what C code allocates, which nobody watches, ends here."""
_RAW_SHARE = 0.12
_MEAN_EDITS = 2
_CPU_S_PER_CASE = 1.5e-3
_LOST_PER_BATCH = 5
"""A batch is given up after so many cases that hung or died."""


@dataclass
class Tally:
    """What became of the cases of one target; ``crashes`` by place: what it was, and the input."""

    cases: int = 0
    values: int = 0
    errors: int = 0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    crashes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Take in what another one counted."""
        self.cases += other.cases
        self.values += other.values
        self.errors += other.errors
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        for place, found in other.crashes.items():
            self.crashes.setdefault(place, found)

    def count(self, outcome: Outcome) -> None:
        """Count one case."""
        self.cases += 1
        self.values += outcome.kind == "value"
        self.errors += outcome.kind == "error"
        self.slowest_s = max(self.slowest_s, outcome.seconds)
        self.peak_bytes = max(self.peak_bytes, outcome.peak)


@dataclass
class Reader:
    """One target, whose cases are put down in ``directory`` before they are read."""

    target: Target
    directory: Path
    files: Path
    number: int = 0

    def judge(self, data: bytes, *, memory: bool) -> Outcome:
        """Read one input."""
        note(self.directory, self.number, data)
        return run_case(self.target, data, self.files, memory=memory)


def random_input(target: Target, numbers: random.Random) -> bytes:
    if numbers.random() < _RAW_SHARE:
        return numbers.randbytes(numbers.randrange(200))
    edits = [
        Edit(numbers.randrange(1 << 16), numbers.randrange(1 << 16), numbers.randrange(1 << 16))
        for _ in range(1 + min(int(numbers.expovariate(1 / (_MEAN_EDITS - 0.5))), 12))
    ]
    return damaged(numbers.choice(target.seeds()), edits, target.language)


def place_of(detail: str) -> str:
    """Return what tells one crash from another: the kind and the lines it came through."""
    return f"{detail.partition(':')[0]} {detail.rpartition('(')[2]}"


def run_job(job: Job, directory: Path) -> Tally:
    """Run a job in a worker, which notes its cases in ``directory``."""
    with tempfile.TemporaryDirectory(dir=directory) as work:
        return (guided if job.guided else run_batch)(job, directory, Path(work))


def run_batch(job: Job, directory: Path, work: Path) -> Tally:
    """Run so many cases of one target; the seed is the batch's own."""
    target, tally = TARGETS[job.name], Tally()
    numbers = random.Random(f"{job.name} {job.seed}")  # noqa: S311 - no secret
    reader = Reader(target, directory, work)
    for number in range(job.cases):
        data = random_input(target, numbers)
        if number in job.left_out:
            continue
        reader.number = number
        outcome = reader.judge(data, memory=number % _WATCHED == 0)
        tally.count(outcome)
        if outcome.kind == "crash" and place_of(outcome.detail) not in tally.crashes:
            small = shortened(reader, data, place_of(outcome.detail))
            tally.crashes[place_of(outcome.detail)] = (outcome.detail, repr(small))
    return tally


def shortened(reader: Reader, data: bytes, place: str) -> bytes:
    """Leave out what can be left out, and the crash stays the same."""
    step = len(data) // 2
    until = time.monotonic() + 10
    while step and time.monotonic() < until:
        at = 0
        while at < len(data) and time.monotonic() < until:
            less = data[:at] + data[at + step :]
            outcome = reader.judge(less, memory="MB for" in place)
            if outcome.kind == "crash" and place_of(outcome.detail) == place:
                data = less
            else:
                at += step
        step //= 2
    return data


def prepare() -> None:
    """Make a worker: warnings are errors, as in the tests, and memory has an end."""
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def guided(job: Job, directory: Path, work: Path) -> Tally:
    """Let atheris choose the inputs, in a process of its own, which it ends as it likes."""
    report = work / "tally.json"
    command = [
        sys.executable,
        "-m",
        "tests.campaigns.fuzz",
        "--guided",
        job.name,
        "--json",
        str(report),
    ]
    command += ["--cases", str(job.cases), "--seed", str(job.seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
    if not report.exists():
        last = (done.stderr.strip() or "nothing").splitlines()[-1]
        found = (f"atheris ended with {done.returncode}: {last}", repr(noted(directory)[1]))
        return Tally(cases=1, crashes={"atheris": found})
    return Tally(**json.loads(report.read_text()))


def run_guided(name: str, cases: int, seed: int, report: Path) -> None:
    """Be that process: instrument the package, and count until so many cases are done."""
    import atheris  # noqa: PLC0415 - optional

    # The package is loaded by the registry already; its functions can be instrumented all the same.
    target, tally = TARGETS[name], Tally()
    for module in [
        module for key, module in sys.modules.items() if key.startswith("pytest_gaitperf")
    ]:
        for value in vars(module).values():
            if getattr(value, "__module__", "") == module.__name__ and hasattr(value, "__code__"):
                atheris.instrument_func(value)
    work = Path.cwd()
    reader = Reader(target, work.parent, work)

    def one(data: bytes) -> None:
        reader.number = tally.cases
        outcome = reader.judge(data, memory=tally.cases % _WATCHED == 0)
        tally.count(outcome)
        if outcome.kind == "crash":
            tally.crashes.setdefault(place_of(outcome.detail), (outcome.detail, repr(data)))
        if tally.cases >= cases:
            report.write_text(json.dumps(asdict(tally)))
            os._exit(0)  # atheris takes any exception for a finding

    corpus = work / "corpus"
    corpus.mkdir()
    for number, content in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(content)
    flags = [f"-seed={seed + 1}", "-max_len=20000", "-rss_limit_mb=4096", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one)
    atheris.Fuzz()


def jobs_of(names: list[str], cases: int, seed: int) -> Iterator[Job]:
    """Yield batches of all targets in turns, as many of each as its weight says."""
    whole = sum(TARGETS[name].weight for name in names)
    left = {name: round(cases * TARGETS[name].weight / whole) for name in names}
    number = 0
    while any(left.values()):
        for name in names:
            size = min(left[name], _BATCH)
            left[name] -= size
            number += 1
            if size:
                yield Job(name, seed * 1_000_003 + number, size)


def tally_of(job: Job, lost: Lost, jobs: deque[Job]) -> Tally:
    """Count the case that a job was lost in; run the job again without it."""
    where = f"(batch {job.seed}, case {lost.number})"
    detail = f"{lost.how} {where}"
    if not job.guided and lost.number is not None:
        if len(job.left_out) + 1 < _LOST_PER_BATCH:
            jobs.append(replace(job, left_out=job.left_out | {lost.number}))
        else:
            detail = f"{lost.how}, as {len(job.left_out)} others: the batch is given up {where}"
    return Tally(cases=1, crashes={where: (detail, repr(lost.data))})


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CASES} cases")
    parser.add_argument("--cases", type=int, default=0, help=f"how many (default: {CASES})")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when anything crashed")
    parser.add_argument("--guided", choices=list(TARGETS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.guided:
        prepare()
        run_guided(arguments.guided, arguments.cases, arguments.seed, arguments.json)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # shows its table then, too
    cases = arguments.cases or (QUICK_CASES if arguments.quick else CASES)
    names = arguments.target or list(TARGETS)
    with_atheris = find_spec("atheris") is not None
    guided_cases = round(cases * _GUIDED_SHARE / len(names)) if with_atheris else 0
    print(
        f"{cases} cases on {len(names)} readers, seed {arguments.seed}, in {arguments.processes} "
        f"processes; about {cases * _CPU_S_PER_CASE / arguments.processes / 60:.0f} min on a free "
        f"machine; {guided_cases * len(names)} of them "
        + ("guided by coverage" if with_atheris else "(atheris is not installed) guided"),
        flush=True,
    )
    start = time.monotonic()
    tallies = {name: Tally() for name in names}
    jobs = deque(jobs_of(names, cases - guided_cases * len(names), arguments.seed))
    jobs.extend(
        Job(name, arguments.seed, guided_cases, guided=True) for name in names if guided_cases
    )
    done = 0
    processes = min(arguments.processes, len(jobs))
    with closing(results(jobs, run_job, prepare, processes)) as found:
        try:
            for job, result in found:
                tally = tally_of(job, result, jobs) if isinstance(result, Lost) else result
                tallies[job.name].add(tally)
                done += tally.cases
                if sys.stdout.isatty():
                    print(f"\r{done} cases", end="", flush=True)
        except KeyboardInterrupt:
            print("\nended before its time: what was done until now", flush=True)
    return show(tallies, time.monotonic() - start, arguments)


def show(tallies: dict[str, Tally], seconds: float, arguments: argparse.Namespace) -> int:
    print(f"\n{'target':17}{'cases':>9}{'values':>9}{'errors':>9}{'crashes':>9}", end="")
    print(f"{'slowest':>10}{'memory':>10}")
    total = Tally()
    for name, tally in tallies.items():
        kinds = Counter(place_of(detail) for detail, _ in tally.crashes.values())
        print(
            f"{name:17}{tally.cases:9}{tally.values:9}{tally.errors:9}{len(kinds):9}"
            f"{tally.slowest_s:8.2f} s{tally.peak_bytes / 1e6:7.1f} MB"
        )
        total.add(tally)
    crashes = sum(tally.cases - tally.values - tally.errors for tally in tallies.values())
    for name, tally in tallies.items():
        for detail, data in tally.crashes.values():
            print(f"\n{name}: {detail}\n  {data[:2000]}")
    print(
        f"fuzz: {total.cases} cases in {seconds / 60:.1f} min, {total.errors} errors that name "
        f"their source, {total.values} values, {crashes} crashes"
    )
    if arguments.json:
        figures = {"seed": arguments.seed, "seconds": seconds}
        figures["targets"] = {name: asdict(tally) for name, tally in tallies.items()}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and crashes > 0)


if __name__ == "__main__":
    sys.exit(main())
