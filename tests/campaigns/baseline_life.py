"""Walk the life of a baseline on the real local Triton, and check every step of it.

A baseline is recorded in several sessions by one run, and the gate is green. One of the models
becomes 40 % slower: the gate is red, and an update is refused. The new level is accepted in so many
words, and the gate is green again, against it. `gaitperf baseline diff` shows old -> new. Another
model is removed: the whole run names its orphans, and `gaitperf baseline prune` removes them. At
last two pytest runs update the same baselines at the same time.

The models sleep for 20 ms a request. What this asks is what is written when, not how small a change
is found on a busy machine (`benchmarks/paired_truth.py` asks that); a sleep is what other
work on the machine disturbs least. Everything goes through `pytest suites/`, as a user runs it, in
a git repository of its own in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.triton.models import write_model

ROOT = Path(__file__).resolve().parents[2]
SLOWED, STEADY, GONE = "slowed", "steady", "gone"
SLEEP_S, SLOWER = 0.02, 0.4


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command gave back."""

    code: int
    text: str

    @property
    def closing(self) -> str:
        """The lines of the table's section, for a step that went wrong."""
        return self.text[-3000:]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what was expected, and what was seen; ``met`` None where it was not run."""

    title: str
    expected: str
    seen: str
    met: bool | None
    seconds: float


@dataclass(slots=True)
class Life:
    """A project in a directory of its own, and the steps it went through."""

    directory: Path
    cells: int
    budget_s: float
    steps: list[Step] = field(default_factory=list)
    began_s: float = 0.0

    def write_model(self, name: str, sleep_s: float) -> None:
        """Write a model that sleeps, in place of one of that name."""
        shutil.rmtree(self.directory / "model_repository" / name, ignore_errors=True)
        write_model(self.directory / "model_repository", name, sleep_s=sleep_s)

    def suite(self, *options: str) -> subprocess.Popen[str]:
        """Start `pytest suites/` in the project, whose suite is the grid."""
        suites = self.directory / "suites"
        if not suites.exists():
            suites.mkdir()
            shutil.copy(ROOT / "suites" / "test_grid.py", suites)
        return self._start(
            sys.executable, "-m", "pytest", "suites",
            "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
            "--triton=local", "--power=none", "--gaitperf-grid=grid.toml",
            "--gaitperf-profile=here", f"--gaitperf-budget={self.budget_s:g}",
            "--gaitperf-tolerance=15%", "--gaitperf-json=results.json", *options,
        )  # fmt: skip

    def gaitperf(self, *arguments: str) -> Ran:
        """Run the command `gaitperf` in the project."""
        return ended(self._start(sys.executable, "-m", "pytest_gaitperf.cli", *arguments))

    def git(self, *arguments: str) -> None:
        """Run git in the project; it must succeed."""
        who = ("-c", "user.name=life", "-c", "user.email=life@example.org")
        done = ended(self._start("git", *who, *arguments))
        assert done.code == 0, done.text

    def _start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def files(self) -> dict[str, str]:
        """Return the text of every baseline file, by model; nothing else may lie there."""
        folder = self.directory / "baselines" / "here"
        return {path.name.removesuffix(".json"): path.read_text() for path in folder.glob("*")}

    def sessions(self) -> dict[str, list[int]]:
        """Return how many sessions the cells of each model have."""
        return {
            model: [len(cell["sessions"]) for cell in json.loads(text)["cells"].values()]
            for model, text in self.files().items()
        }

    def has(self, **sessions: int) -> bool:
        """Return whether exactly these models' cells are recorded, with so many sessions."""
        return self.sessions() == {name: [n] * self.cells for name, n in sessions.items()}

    def step(self, title: str, expected: str, seen: str, *, met: bool | None, ran: Ran) -> None:
        """Note a step, and print it; what the command printed too where it went wrong."""
        now_s = time.monotonic()
        step = Step(title, expected, seen, met, now_s - self.began_s)
        self.began_s = now_s
        self.steps.append(step)
        word = {True: "ok", False: "WRONG", None: "not run"}[met]
        print(f"{len(self.steps):2}. {title} ({step.seconds:.0f} s): {word}")
        print(f"      expected: {expected}\n      seen:     {seen}", flush=True)
        if met is False:
            print("\n".join(f"      | {line}" for line in ran.closing.splitlines()))


def ended(process: subprocess.Popen[str]) -> Ran:
    """Wait for a command, and return what it gave back."""
    text, _ = process.communicate(timeout=900)
    return Ran(process.returncode, text)


def live(life: Life, sessions: int, accepted: int) -> None:
    """Go through all steps; ``accepted`` is how many sessions the new level is given."""
    for name in (SLOWED, STEADY, GONE):
        life.write_model(name, SLEEP_S)
    many = f"--gaitperf-sessions={sessions}"
    recorded = {SLOWED: sessions, STEADY: sessions, GONE: sessions}

    ran = ended(life.suite("--gaitperf-update=missing", many))
    life.step(
        f"record {sessions} sessions in one run",
        f"exit 0, {sessions} sessions in each cell",
        f"exit {ran.code}, {life.sessions()}",
        met=ran.code == 0 and life.has(**recorded),
        ran=ran,
    )
    life.git("init", "-q")
    life.git("add", "baselines")
    life.git("commit", "-qm", "baselines")

    before = life.files()
    ran = ended(life.suite())
    life.step(
        "gate, unchanged",
        "exit 0, the files untouched",
        f"exit {ran.code}, files {changed(before, life.files())}",
        met=ran.code == 0 and life.files() == before,
        ran=ran,
    )

    life.write_model(SLOWED, SLEEP_S * (1 + SLOWER))
    ran = ended(life.suite())
    red = sorted({line.split()[1] for line in ran.text.splitlines() if line.startswith("FAILED")})
    life.step(
        f"gate, {SLOWED} {SLOWER:.0%} slower",
        f"exit 1, tests of {SLOWED} red and no others",
        f"exit {ran.code}, red: {', '.join(one.partition('::')[2] for one in red)}",
        met=ran.code == 1 and bool(red) and all(f"[{SLOWED}-" in one for one in red),
        ran=ran,
    )

    ran = ended(life.suite("--gaitperf-update=all", many))
    named = "--gaitperf-update=all --gaitperf-accept-regressions" in ran.text
    life.step(
        "update=all, still slower",
        "exit 1, nothing written, the command that accepts is named, no time for more sessions",
        f"exit {ran.code}, files {changed(before, life.files())}, command "
        f"{'named' if named else 'not named'}, "
        f"{'one session' if 'session 2/' not in ran.text else 'several sessions'} measured",
        met=ran.code == 1 and life.files() == before and named and "session 2/" not in ran.text,
        ran=ran,
    )

    many = f"--gaitperf-sessions={accepted}"
    ran = ended(life.suite("--gaitperf-update=all", "--gaitperf-accept-regressions", many))
    most = min(sessions + accepted, 10)
    life.step(
        f"the same, accepted, sessions={accepted}",
        f"exit 0, {SLOWED} begins anew with {accepted}, the others have {most}",
        f"exit {ran.code}, {life.sessions()}",
        met=ran.code == 0 and life.has(**{SLOWED: accepted, STEADY: most, GONE: most}),
        ran=ran,
    )

    ran = life.gaitperf("baseline", "diff", "HEAD")
    if "invalid choice: 'diff'" in ran.text:
        life.step("gaitperf baseline diff", "old -> new", "no such command", met=None, ran=ran)
    else:
        lines = [line.split() for line in ran.text.splitlines()]
        shown = [" ".join(line) for line in lines if any("%" in word for word in line)]
        life.step(
            "gaitperf baseline diff HEAD",
            f"exit 0, old -> new of {SLOWED}, about {SLOWER:+.0%} in its latency",
            f"exit {ran.code}, {shown[0] if shown else 'no change shown'}",
            met=ran.code == 0 and SLOWED in ran.text and bool(shown),
            ran=ran,
        )

    before = life.files()
    ran = ended(life.suite())
    life.step(
        "gate, against the accepted level",
        "exit 0",
        f"exit {ran.code}, files {changed(before, life.files())}",
        met=ran.code == 0 and life.files() == before,
        ran=ran,
    )
    orphans(life)
    together(life)


def orphans(life: Life) -> None:
    """Remove a model, and see that it is named and goes only when asked."""
    (life.directory / "model_repository" / GONE).rename(life.directory / "retired")
    before = life.files()
    ran = ended(life.suite())
    told = [line for line in ran.text.splitlines() if "recorded cell" in line]
    found = json.loads((life.directory / "results.json").read_text())["orphans"]
    life.step(
        f"gate, {GONE} removed from the repository",
        f"exit 0, its {life.cells} cells named as orphans, the files untouched",
        f"exit {ran.code}, {told[0] if told else 'nothing said'}",
        met=ran.code == 0 and list(found) == [GONE] and bool(told) and life.files() == before,
        ran=ran,
    )
    ran = life.gaitperf("baseline", "prune", "--results", "results.json", "--yes")
    if "invalid choice: 'prune'" in ran.text:
        life.step("gaitperf baseline prune", "removed", "no such command", met=None, ran=ran)
        return
    life.step(
        "gaitperf baseline prune --results",
        f"exit 0, {GONE}.json goes, the others stay",
        f"exit {ran.code}, {sorted(life.files())}",
        met=ran.code == 0
        and life.files() == {name: text for name, text in before.items() if name != GONE},
        ran=ran,
    )


def together(life: Life) -> None:
    """Let two runs, each with a server of its own, update the same files at the same time."""
    before = life.sessions()
    runs = [
        life.suite("--gaitperf-update=all", f"--gaitperf-json=together{number}.json")
        for number in range(2)
    ]
    ends = [ended(run) for run in runs]
    green = sum(ran.code == 0 for ran in ends)
    refused = all(ran.code == 0 or "no baseline was" in ran.text for ran in ends)
    said = [line.strip() for ran in ends for line in ran.text.splitlines() if "was not rec" in line]
    why = f"; {'; '.join(said)}" if said else ""
    wanted = {
        model: [min(count + green, 10) for count in counts] if model != GONE else counts
        for model, counts in before.items()
    }
    life.step(
        "two runs update the same files at once",
        "both exit 0 and both their sessions are there, or a clear refusal",
        f"exit {ends[0].code} and {ends[1].code}, {before} -> {life.sessions()}{why}",
        met=refused and green > 0 and life.sessions() == wanted,
        ran=Ran(0, "\n".join(ran.closing for ran in ends)),
    )


def changed(before: dict[str, str], after: dict[str, str]) -> str:
    return "untouched" if before == after else "CHANGED"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=4, help="sessions to record (default: 4)")
    parser.add_argument("--quick", action="store_true", help="3 sessions, 1 cell a model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the steps to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a step went wrong")
    arguments = parser.parse_args()
    sessions = 3 if arguments.quick else arguments.sessions
    accepted = 1 if arguments.quick else sessions
    loads, budget_s = ([1], 2.0) if arguments.quick else ([1, 4], 4.0)
    served = sessions + accepted + 8  # how often a server is started and the cells measured
    minutes = served * (3 * len(loads) * budget_s + 6) / 60
    print(
        f"three models of {len(loads)} cells, {sessions} sessions recorded, one model slowed, "
        f"accepted, another removed, and two runs at once; about {minutes:.0f} min"
    )
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        life = Life(Path(name), len(loads), budget_s, began_s=began_s)
        (life.directory / "grid.toml").write_text(f"batch_sizes = [1]\nconcurrencies = {loads}\n")
        live(life, sessions, accepted)
    wrong = [step for step in life.steps if step.met is False]
    left_out = [step for step in life.steps if step.met is None]
    print(f"\n{'step':46}{'s':>5}  result")
    for step in life.steps:
        word = {True: "as expected", False: "WRONG", None: "not run"}[step.met]
        print(f"{step.title:46}{step.seconds:5.0f}  {word}")
    done = len(life.steps) - len(wrong) - len(left_out)
    print(
        f"\nbaseline_life: {done} of {len(life.steps)} steps as expected, {len(wrong)} wrong, "
        f"{len(left_out)} not run; {time.monotonic() - began_s:.0f} s: "
        f"{'MISSED' if wrong else 'met'}"
    )
    if arguments.json:
        figures = {"met": not wrong, "steps": [asdict(step) for step in life.steps]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(arguments.check and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
