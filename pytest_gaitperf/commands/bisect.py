"""``gaitperf bisect``: which commit of the model repository made a model slower."""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_gaitperf import git
from pytest_gaitperf.commands.output import say
from pytest_gaitperf.config.policy import Policies, Rules, tolerances
from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.config.values import as_count, as_data, as_seconds
from pytest_gaitperf.engine.reference import look
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.errors import ConfigurationError, GaitperfError, first_line, sanitize
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.measure.cell import Budget
from pytest_gaitperf.metrics import GATED
from pytest_gaitperf.report.text import interval_text, loss
from pytest_gaitperf.results import Outcome, Verdict, VerdictKind
from pytest_gaitperf.text import count, did_you_mean, percent, size_text
from pytest_gaitperf.triton.revisions import models_at, take_models
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Metering

_AGAIN = 3.0
"""How many times the budget a look gets that showed nothing, once."""


class Answer(Enum):
    """What a look at a commit says."""

    WORSE = "worse"
    NOT_WORSE = "not worse"
    UNDECIDED = "undecided"
    NOT_COMPARED = "not compared"


def search(commits: int, answer: Callable[[int], Answer], most: int) -> tuple[int, int]:
    """Find the first of ``commits`` commits, counted from 1, that is worse; the last one is.

    ``answer`` looks at one, at most ``most`` times; one that cannot be compared counts for none.
    Return the last commit that is known to be not worse, 0 where that is what is compared with, and
    the first one that is known to be worse. What lies between them is not known.
    """
    good, bad, skipped = 0, commits, set[int]()
    while most > 0:
        left = [number for number in range(good + 1, bad) if number not in skipped]
        if not left:
            break
        number = left[
            (len(left) - 1) // 2
        ]  # of those that can be compared, half go with each answer
        found = answer(number)
        most -= found is not Answer.NOT_COMPARED
        if found is Answer.WORSE:
            bad = number
        elif found is Answer.NOT_WORSE:
            good = number
        else:
            skipped.add(number)
    return good, bad


def most_looks(commits: int) -> int:
    """Return how many looks a search may take, the one at the last commit included."""
    return math.floor(math.log2(commits)) + 2


class Commit(NamedTuple):
    """A commit, as git tells of it."""

    id: str
    date: str
    subject: str

    def __str__(self) -> str:
        """Name it in a line."""
        return f'{self.id[:12]} "{self.subject}"'


def add_to(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``bisect`` to the program's commands."""
    parser = commands.add_parser(
        "bisect",
        help="name the commit that made a model slower",
        description=(
            "Name the commit between GOOD and BAD of the model repository that made a model "
            "slower. Each look measures the model of a commit and that of GOOD in turns, as "
            "--gaitperf-against does, on a Triton that is started for it, and ends as soon as it "
            "is decided. Of n commits that touch the model's files it takes at most log2(n) + 2 "
            "looks. The work tree is left alone."
        ),
        epilog=(
            "Exit status: 0 a commit was named; 10 not told apart: BAD is not measurably worse, "
            "or several commits remain; 1 an error; 2 wrong usage; 130 Ctrl-C. A model of the "
            "Python backend is code, which Triton runs: bisect only what you would serve. "
            "Other settings come from [tool.gaitperf] of ./pyproject.toml. "
            "Example: gaitperf bisect v1.0 HEAD --model 3D_fp32_40 --metric latency_p50"
        ),
    )
    parser.add_argument("good", metavar="GOOD", help="a revision where the model was fast")
    parser.add_argument("bad", metavar="BAD", help="a later one where it is slow")
    parser.add_argument("--model", required=True, metavar="NAME", help="the model")
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        help="the model repository, in the work tree of a git repository (./model_repository)",
    )
    parser.add_argument("--batch-size", type=as_count, default=1, metavar="N", help="(1)")
    parser.add_argument(
        "--concurrency", type=as_count, default=1, metavar="N", help="requests in flight (1)"
    )
    parser.add_argument(
        "--metric",
        default="throughput",
        metavar="NAME",
        help=f"what got worse: {', '.join(GATED)} (throughput)",
    )
    parser.add_argument(
        "--tolerance",
        type=tolerances,
        default={},
        metavar="RATIO",
        help="the change that does not matter: BAD must be worse than GOOD by more (5%%)",
    )
    parser.add_argument(
        "--budget",
        type=as_seconds,
        default=60.0,
        metavar="S",
        help="seconds a look may take; one that shows nothing is repeated once with three times "
        "as many (60)",
    )
    parser.add_argument(
        "--data", type=as_data, metavar="DATA", help="what requests carry, as --gaitperf-data"
    )
    parser.add_argument(
        "--triton", choices=("local", "docker"), help="how servers are started (local)"
    )
    parser.set_defaults(run=bisect)


def bisect(arguments: argparse.Namespace) -> None:
    """Run ``gaitperf bisect``."""
    if arguments.metric not in GATED:
        raise ConfigurationError(
            f"--metric={arguments.metric}: unknown{did_you_mean(arguments.metric, GATED)} choose "
            f"one of {', '.join(GATED)}"
        )
    settings = project_settings(Path())
    how = arguments.triton or settings.triton
    settings = replace(
        settings,
        triton="docker" if how == "docker" else "local",
        triton_url=None,
        triton_repository=arguments.repository or settings.triton_repository,
        data=arguments.data or settings.data,
        tolerance={**settings.tolerance, **arguments.tolerance},
    )
    device = Resources(settings, None, Shown(lines=True))
    try:
        device.take_device()
        data = device.data_of(arguments.model)
        with tempfile.TemporaryDirectory(prefix=prefix("bisect")) as temporary:
            found = _Bisection(arguments, settings, Path(temporary), data).run()
    finally:
        device.close()
    if not found:
        sys.stdout.flush()
        sys.exit(Outcome.UNMEASURED.exit_code)


class _Bisection:
    """One search: GOOD's model below ``temporary``, and beside it that of a commit at a time."""

    def __init__(
        self, arguments: argparse.Namespace, settings: Settings, temporary: Path, data: str
    ) -> None:
        self._settings, self._temporary = settings, temporary
        self._repository, self._model = settings.triton_repository, arguments.model
        self._metric, self._budget_s = arguments.metric, arguments.budget
        self._names = (arguments.good, arguments.bad)
        self._policies = Policies(Rules(settings.tolerance, settings.limits), settings.model)
        self._workload = Workload(
            model=self._model,
            batch_size=arguments.batch_size,
            concurrency=arguments.concurrency,
            protocol=settings.protocol,
            transport=settings.transport,
            data=data,
        )
        self._tolerance = self._policies.tolerance(self._workload, self._metric)
        self._number = self._most = 0
        self._seen: dict[int, Verdict] = {}

    def run(self) -> bool:
        """Search, and say what is found; return whether it is one commit.

        Raises GaitperfError for a wrong revision, model or server, before the first look or in it.
        """
        good, bad = (git.commit_of(name, self._repository) for name in self._names)
        for commit, name in zip((good, bad), self._names, strict=True):
            if self._model not in (there := models_at(commit, self._repository)):
                raise ConfigurationError(
                    f"{name} has no model {self._model!r}{did_you_mean(self._model, there)} the "
                    f"models in {self._repository} are: {', '.join(there)}"
                )
        if absent := take_models(good, self._repository, [self._model], self._temporary / "good"):
            raise ConfigurationError(f"{self._names[0]}: {'; '.join(absent.values())}")
        self._commits = self._between(good, bad)
        self._most = most_looks(len(self._commits))
        what = f"{self._model} between {self._names[0]} and {self._names[1]}"
        say(
            f"{count(len(self._commits), 'commit')} of {what}; {self._workload.key}, "
            f"{self._metric}; at most {count(self._most, 'look')}"
        )
        answer, text = self._look(len(self._commits), self._tolerance)
        if answer is Answer.NOT_COMPARED:
            raise ConfigurationError(f"{self._names[1]} beside {self._names[0]}: {text}")
        if answer is not Answer.WORSE:
            self._say_equal(answer)
            return False
        # Midway between no change and all of it, the two are told apart soonest.
        half = math.expm1(loss(self._seen[len(self._commits)]) / 2)
        first = search(
            len(self._commits), lambda number: self._look(number, half)[0], self._most - 1
        )
        return self._say_found(*first)

    def _between(self, good: str, bad: str) -> list[Commit]:
        """Return the commits after GOOD that touch the model's files, the oldest first."""
        inside = git.git(self._repository, "merge-base", "--is-ancestor", good, bad)
        if inside.returncode:
            raise ConfigurationError(
                f"{self._names[0]} is no ancestor of {self._names[1]}: name an older commit of the "
                "same branch as GOOD"
            )
        folders = {folder.name for folder in (self._temporary / "good").iterdir()}
        take_models(bad, self._repository, [self._model], self._temporary / "bad")
        folders |= {folder.name for folder in (self._temporary / "bad").iterdir()}
        prefix = git.below_top(self._repository)
        # A merge is one commit here, so that each has the state before it in front of it.
        listed = git.answer(
            self._repository,
            *("log", "-z", "--first-parent", "--reverse", "--no-show-signature"),
            "--format=%H%n%aI%n%s",
            *(f"{good}..{bad}", "--"),
            *(f":(top,literal){prefix}{name}" for name in sorted(folders)),
        )
        texts = listed.decode(errors="replace").split("\0")
        commits = [Commit(*text.split("\n", 2)) for text in texts if text.strip()]
        if not commits:
            raise ConfigurationError(
                f"no commit between {self._names[0]} and {self._names[1]} touches {self._model!r}"
            )
        return commits

    def _look(self, number: int, tolerance: float) -> tuple[Answer, str]:
        """Compare a commit's model with GOOD's; say what came of it, and return it."""
        commit = self._commits[number - 1]
        answer, text = self._compared(number, tolerance, self._budget_s)
        if answer is Answer.UNDECIDED:
            say(f"{commit}: {text}: more blocks", indent="  ")
            answer, text = self._compared(number, tolerance, _AGAIN * self._budget_s)
        self._number += answer is not Answer.NOT_COMPARED
        which = "skipped" if answer is Answer.NOT_COMPARED else f"look {self._number}"
        say(f"{which}: {commit}: {text}", indent="  ", first="")
        return answer, text

    def _compared(self, number: int, tolerance: float, budget_s: float) -> tuple[Answer, str]:
        commit, workload = self._commits[number - 1], self._workload
        with tempfile.TemporaryDirectory(dir=self._temporary) as candidate:
            absent = take_models(commit.id, self._repository, [self._model], Path(candidate))
            if absent:
                return Answer.NOT_COMPARED, "; ".join(absent.values())
            try:
                found = look(
                    replace(self._settings, triton_repository=Path(candidate)),
                    self._temporary / "good",
                    {workload: {self._metric}},
                    lambda _workload, _metric: tolerance,
                    budget=Budget(self._settings.precision, budget_s),
                    progress=Shown(lines=False),
                )[workload]
            except GaitperfError as error:
                found = error
        if isinstance(found, GaitperfError):
            return Answer.NOT_COMPARED, first_line(found).replace(candidate, "")
        if self._metric not in found:
            return Answer.NOT_COMPARED, f"{self._metric} could not be measured"
        seen = self._seen[number] = found[self._metric]
        answer = {
            VerdictKind.REGRESSED: Answer.WORSE,
            VerdictKind.PASS: Answer.NOT_WORSE,
            VerdictKind.IMPROVED: Answer.NOT_WORSE,
        }.get(seen.kind, Answer.UNDECIDED)
        return answer, f"{self._change(number)}: {answer.value}"

    def _change(self, number: int) -> str:
        verdict = self._seen[number]
        return f"{self._metric} {percent(verdict.change)} ({interval_text(verdict)})"

    def _say_equal(self, answer: Answer) -> None:
        good, bad = self._names
        told = "not worse" if answer is Answer.NOT_WORSE else "not told apart"
        seen = self._seen[len(self._commits)]
        smallest = "no change" if seen.sensitivity is None else size_text(seen.sensitivity)
        say(
            f"{bad} beside {good}: {told}: {self._change(len(self._commits))}; tolerance "
            f"{self._tolerance:.1%}; this look finds {smallest} nine times in ten: give more "
            "--budget for a smaller change"
        )

    def _say_found(self, good: int, bad: int) -> bool:
        change = f"{self._change(bad)} beside {self._names[0]}"
        commit = self._commits[bad - 1]
        if bad - good == 1:
            say(f"{commit.id} of {commit.date}: {commit.subject}\n  {change}")
            return True
        before = self._commits[good - 1] if good else self._names[0]
        say(f"after {before}, up to and including {commit}: one of {bad - good} commits")
        say(change, indent="  ", first="  ")
        return False


class Shown:
    """A progress that shows at a terminal what goes on; ``lines``: and says what stays anywhere.

    A look has one line, of its own.
    """

    metering: Metering | None = None

    def __init__(self, *, lines: bool) -> None:
        self._lines = lines

    def say(self, text: str) -> None:
        """Write a line that stays."""
        if self._lines:
            say(text)
        else:
            self.live(text)

    def live(self, text: str) -> None:
        """Show what is going on, in place of what was shown before."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{sanitize(text)[:78]}\x1b[K\r")
            sys.stderr.flush()

    def cell_starts(self, workload: Workload, place: object, at_most_s: float) -> None:
        """Say nothing."""

    def cell_goes_on(self, throughput: float, half_width: float | None) -> None:
        """Say nothing."""

    def text_goes_on(self, text: str) -> None:
        """Show what the blocks show so far."""
        self.live(text)

    def cell_done(self, workload: Workload, measurement: Measurement, *, tell: bool) -> None:
        """Say nothing."""

    def clear(self) -> None:
        """Take away what does not stay."""
        self.live("")
