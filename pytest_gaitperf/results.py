"""THE record of a run: what was measured, what the gate says, and what follows from it.

A run builds one ``Run``. Terminal, page, Markdown, JUnit, annotations, exports and fleet are
functions of it, and ``results_file.py`` writes it, reads it and describes it as a JSON Schema: one
set of types for all of them. What a cell and a run come to is decided by ``settled`` alone.

Numbers are in the unit that the key names (``_s`` seconds, ``_j`` joules, ``_w`` watts, ``_c``
degrees Celsius, ``_us`` microseconds) or that stands beside them; times are UTC in ISO 8601. A
number that is not finite is written as null.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from pytest_gaitperf.environment import Environment, Profile, Sessions
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate, of_energy
from pytest_gaitperf.text import count, size_text
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEMA: Final = 2
FLEET: Final = "fleet-2"
"""The schema of a fleet's index, which names the results file of each board."""


class Outcome(str, Enum):
    """What a cell, or a run, comes to.

    Red: something regressed, a requirement is broken, a test failed. Unmeasured: nothing is red,
    but something that was expected was not shown. Green: all of it was.
    """

    GREEN = "green"
    RED = "red"
    UNMEASURED = "unmeasured"

    @property
    def exit_code(self) -> int:
        """The exit code of a run that comes to this."""
        return {"green": 0, "red": 1, "unmeasured": 10}[self.value]


class VerdictKind(str, Enum):
    """What the gate can say of one metric of one cell."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    IMPROVED = "improved"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    INCOMPARABLE = "incomparable"


Scope = Literal["run", "model", "cell"]
"""Where a change was found: in everything, in one model beside the others, in one cell."""


class Verdict(msgspec.Struct, frozen=True):
    """The verdict on one metric of one cell, with its numbers and its reason in one line.

    ``baseline`` and ``now`` are in the metric's unit. ``change`` is now/baseline - 1 (relative);
    ``low`` and ``high`` are its interval, each end one-sided at this comparison's share of alpha.
    ``limit`` is the change, with its sign, at which this verdict would turn to regressed.
    ``sessions`` are those of the baseline, ``anchor`` the level that was accepted last where there
    are more sessions than that level's own. ``scope`` is where the deciding test looked.
    ``blocks`` counts the blocks of fresh processes behind a comparison with another model, else 0.

    ``sensitivity`` is the smallest change for the worse of the cell's whole model that the run
    would have found nine times in ten, ``must_hear`` the one that it must find: both as a ratio of
    the worse to the better value (0.25: latency by 25 %, throughput to 1/1.25). ``sharpen`` says
    what would bring the one below the other, "" where it is; ``more_sessions`` in the baseline
    would, where that is above 0. A paired verdict is on the cell alone; decided, it must hear
    nothing more.
    """

    metric: str
    kind: VerdictKind
    reason: str
    baseline: float | None = None
    now: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    sessions: int = 0
    scope: Scope = "cell"
    blocks: int = 0
    anchor: float | None = None
    sensitivity: float | None = None
    must_hear: float | None = None
    sharpen: str = ""
    more_sessions: int = 0

    @property
    def unheard(self) -> str:
        """How a change that had to be heard could have gone unheard, "" where none could.

        Either the quantity cannot hear it, or such a change is there and may be noise. Few sessions
        do not tell how sessions differ: beside m of them, 2/m more may go unheard, but no change
        that was seen.
        """
        if self.must_hear is None or self.kind not in (VerdictKind.PASS, VerdictKind.INCONCLUSIVE):
            return ""
        least = self.must_hear * (1 + 2 / self.sessions if self.sessions else 1)
        sharpen = f": {self.sharpen}" if self.sharpen else ""
        if self.sensitivity is None or self.sensitivity > least:
            could = (
                "nothing" if self.sensitivity is None else f"{size_text(self.sensitivity)} at least"
            )
            must = f"{least * 100:.4g}% must be heard"
            beside = f" beside {count(self.sessions, 'session')}" if self.sessions else ""
            return f"it could have heard {could}, and {must}{beside}{sharpen}"
        if self.kind is VerdictKind.INCONCLUSIVE and self.loss > self.must_hear:
            must = f"and {self.must_hear * 100:.4g}% must be heard"
            return f"it may be noise, {must}{sharpen or ': measure again'}"
        return ""

    @property
    def loss(self) -> float:
        """The change for the worse as a ratio of the worse to the better value, less 1."""
        ratio = 1 + (self.change or 0.0)
        if METRICS[self.metric].worse_sign > 0:
            return ratio - 1
        return 1 / ratio - 1 if ratio > 0 else math.inf


class LimitState(str, Enum):
    """What can be said of a limit on one cell."""

    MET = "met"
    VIOLATED = "violated"
    UNMEASURED = "unmeasured"


class LimitCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that was asked for (``latency_p99 <= 40 ms``), and whether the cell meets it.

    ``bound`` is in the metric's unit. ``certain``: the whole confidence interval lies on that side.
    ``now`` is what was measured, None where ``absent`` says why there is nothing.
    """

    limit: str
    metric: str
    bound: float
    state: LimitState
    certain: bool = False
    now: Estimate | None = None
    absent: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked of the gate, as far as outcomes depend on it.

    ``update``: which cells become baselines. ``strict``: what noise leaves open is not green.
    ``no_energy``: energy is not measured here. ``accept_regressions``: no regression is red.
    """

    update: Literal["none", "missing", "all"] = "none"
    accept_regressions: bool = False
    strict: bool = False
    no_energy: bool = False


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell: how it was loaded, what was measured, what the gate says, what it comes to.

    ``outcome`` and ``reasons`` (one line each, none of a green cell) are filled in by ``settled``.
    ``error`` is why it could not be measured, ``unconfirmed`` why a suspect could not be measured
    again. ``again`` is the measurement that was to confirm a regression, ``further`` those of the
    run's second session, its third... ``verdicts`` are by metric, of what a test asked for.
    ``lacking`` says, by quantity, why something that was expected (a baseline has it, or a test
    cannot do without) was not measured. ``model_change`` names what changed of the model's files
    since the baseline, ``recorded`` counts the sessions that the baseline got.
    """

    id: str
    workload: Workload
    outcome: Outcome = Outcome.GREEN
    reasons: tuple[str, ...] = ()
    error: str | None = None
    measurement: Measurement | None = None
    again: Measurement | None = None
    further: tuple[Measurement, ...] = ()
    verdicts: dict[str, Verdict] = {}
    limits: tuple[LimitCheck, ...] = ()
    lacking: dict[str, str] = {}
    unconfirmed: str | None = None
    model_change: str | None = None
    recorded: int = 0

    @property
    def key(self) -> str:
        """The cell's name within its model, such as b8-c4."""
        return self.id.removeprefix(f"{self.workload.model}-")

    @property
    def unmeasured(self) -> str | None:
        """Why there is nothing that may be judged, None where there is."""
        return self.error or (self.measurement.invalid if self.measurement is not None else None)

    @property
    def latest(self) -> Measurement | None:
        """The measurement that the verdicts speak of: the confirming one where there is one."""
        return self.again if self.again is not None and not self.again.invalid else self.measurement


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A model, or with ``model`` "" the whole run, that moved in one metric beyond its noise.

    ``metric`` "together" is the mean cost over all quantities, which moved where no single one did.
    ``change`` and ``limit`` are relative changes of the metric's value: a model's beside the other
    models. ``cause`` is what a shift of the whole run means. ``text`` says it all in one line.
    """

    scope: Scope
    metric: str
    worse: bool
    change: float | None
    limit: float | None
    sessions: int
    text: str
    model: str = ""
    cause: str = ""


class Sensitivity(msgspec.Struct, frozen=True):
    """The smallest change for the worse of one metric that a run would have found, 9 times in 10.

    Of the whole of any model, and of any single cell alone; as ``Verdict.sensitivity``.
    """

    metric: str
    model: float
    cell: float | None = None


class Frontier(msgspec.Struct, frozen=True, kw_only=True):
    """The cells that no other is sure to beat, by id, by rising latency.

    ``objectives`` are names of metrics, and ``accuracy``; where the last is one of the two of
    answers, ``accuracy`` has it of each model. ``compared`` counts the cells that were
    compared, ``left_out`` says why others were not; ``best`` names those with the most throughput
    and the least energy under ``latency_bound``; ``unknown`` counts the cells without a p99.
    """

    objectives: tuple[str, ...]
    cells: tuple[str, ...]
    compared: int
    left_out: dict[str, str] = {}
    accuracy: dict[str, float] = {}
    latency_bound: str | None = None
    best: dict[str, str | None] = {}
    unknown: int = 0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run.

    ``outcome`` and ``reasons`` are filled in by ``settled``. ``against`` says what the run was
    compared with in place of baselines, "" for baselines, which are in the directory ``baselines``
    as the user knows it. ``relative_to`` is the model that cells are set beside. ``arguments`` are
    pytest's. ``measuring_s`` is what measuring took.
    ``failed_tests`` failed for a reason of their own, ``unmeasured_tests`` since something was not
    shown. ``unjudged`` says what keeps a run without any red cell from being green: a session that
    was cut short, a mode that was skipped. ``full_run``: every cell of the suite was measured, so
    that ``orphans`` (recorded cells by model) are measured no longer. ``unchecked_limits`` counts
    the cells whose limit no test looked at, 0 where no cell has what is limited; not green in a
    full run. ``outputs`` are the files that were asked for, by format. ``notes``, ``warnings`` and
    ``problems`` are lines for people, ``written`` the baseline files that changed. ``board`` is the
    name in a fleet, ``extra`` what hooks have added.
    """

    schema: Literal[2] = SCHEMA
    outcome: Outcome = Outcome.GREEN
    reasons: tuple[str, ...] = ()
    profile: Profile
    environment: Environment
    policy: Policy = msgspec.field(default_factory=Policy)
    arguments: tuple[str, ...] = ()
    baselines: str = ""
    against: str = ""
    relative_to: str = ""
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    measuring_s: float = 0.0
    cells: tuple[Cell, ...] = ()
    findings: tuple[Finding, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    frontier: Frontier | None = None
    failed_tests: tuple[str, ...] = ()
    unmeasured_tests: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    full_run: bool = False
    orphans: dict[str, tuple[str, ...]] = {}
    unchecked_limits: dict[str, int] = {}
    outputs: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    board: str = ""
    extra: dict[str, Any] = {}


# Outcomes


def verdict_outcome(verdict: Verdict, policy: Policy, *, paired: bool) -> Outcome:
    """Return what one verdict comes to.

    A regression is red unless it is accepted. Without a baseline, or with none that compares,
    nothing was shown: that is unmeasured, unless this run records it. In pairs a new model has
    nothing to be compared with, which is no fault of its change. Where a change that had to be
    heard could have gone unheard, nothing was shown either; with ``strict``, where any change
    beyond the tolerance may be noise.
    """
    if verdict.kind is VerdictKind.REGRESSED:
        return Outcome.GREEN if policy.accept_regressions else Outcome.RED
    if verdict.kind is VerdictKind.MISSING:
        shown = paired or policy.update != "none"
    elif verdict.kind is VerdictKind.INCOMPARABLE:
        shown = paired or policy.update == "all"
    else:
        open_ = policy.strict and verdict.kind is VerdictKind.INCONCLUSIVE
        shown = not (open_ or verdict.unheard)
    return Outcome.GREEN if shown else Outcome.UNMEASURED


def limit_outcome(check: LimitCheck, policy: Policy) -> Outcome:
    """Return what one limit comes to.

    With ``strict`` the whole interval must be within. What could not be measured is unmeasured,
    but for energy where the user said that it is not measured here.
    """
    if check.state is LimitState.VIOLATED:
        return Outcome.RED
    if check.state is LimitState.MET:
        return Outcome.UNMEASURED if policy.strict and not check.certain else Outcome.GREEN
    excused = policy.no_energy and of_energy(check.metric)
    return Outcome.GREEN if excused else Outcome.UNMEASURED


def settled(run: Run) -> Run:
    """Return the run with the outcome, and its reasons, of every cell and of the whole filled in.

    The only place where an outcome is decided.
    """
    paired, limits = bool(run.against), run.unchecked_limits if run.full_run else ()
    cells = tuple(settled_cell(cell, run.policy, paired=paired) for cell in run.cells)
    found = [
        *((cell.outcome, f"{cell.id}: {reason}") for cell in cells for reason in cell.reasons),
        *((Outcome.RED, f"{test} failed") for test in run.failed_tests),
        *((Outcome.UNMEASURED, f"{test} has no verdict") for test in run.unmeasured_tests),
        *((Outcome.UNMEASURED, why) for why in (*run.unjudged, *run.problems)),
        *((Outcome.UNMEASURED, f"no test of this run checked {limit}") for limit in limits),
    ]
    kinds = {verdict.kind for cell in cells for verdict in cell.verdicts.values()}
    if paired and kinds and kinds <= {VerdictKind.MISSING, VerdictKind.INCOMPARABLE}:
        found.append((Outcome.UNMEASURED, f"nothing could be compared with {run.against}"))
    worst, reasons = _worst(found)
    return msgspec.structs.replace(run, cells=cells, outcome=worst, reasons=reasons)


def settled_cell(cell: Cell, policy: Policy, *, paired: bool) -> Cell:
    """Return the cell with its outcome and its reasons filled in, for what it holds."""
    outcome, reasons = _worst(_cell_outcomes(cell, policy, paired=paired))
    return msgspec.structs.replace(cell, outcome=outcome, reasons=reasons)


def _cell_outcomes(cell: Cell, policy: Policy, *, paired: bool) -> Iterator[tuple[Outcome, str]]:
    if (why := cell.unmeasured) is not None:
        yield Outcome.UNMEASURED, why
        return
    for verdict in cell.verdicts.values():
        outcome = verdict_outcome(verdict, policy, paired=paired)
        if cell.unconfirmed is not None and outcome is Outcome.RED:
            yield Outcome.UNMEASURED, f"{verdict.reason}; not confirmed: {cell.unconfirmed}"
        else:
            why = "; ".join(filter(None, (verdict.reason, verdict.unheard)))
            yield outcome, f"{METRICS[verdict.metric].title} {verdict.kind.value}: {why}"
    for check in cell.limits:
        said = f"{check.limit}: {check.state.value}"
        yield limit_outcome(check, policy), said + (f": {check.absent}" if check.absent else "")
    for quantity, why in cell.lacking.items():
        yield Outcome.UNMEASURED, f"{quantity}: {why}"


def _worst(found: Iterable[tuple[Outcome, str]]) -> tuple[Outcome, tuple[str, ...]]:
    """Return the worst outcome, and the reasons of all that are not green, the worst first."""
    bad = [one for one in found if one[0] is not Outcome.GREEN]
    bad.sort(key=lambda one: one[0] is not Outcome.RED)
    return (bad[0][0] if bad else Outcome.GREEN), tuple(reason for _, reason in bad)
