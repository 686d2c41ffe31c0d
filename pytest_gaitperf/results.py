"""THE record of a run: what was measured, what the gate says, and what follows from it.

A run builds one ``Run``. Terminal, page, Markdown, JUnit, annotations, exports and fleet are
functions of it, and ``results_file.py`` writes it, reads it and describes it as a JSON Schema: one
set of types for all of them. What a cell and a run come to is decided in ``outcomes.py``.

Numbers are in the unit that the key names (``_s`` seconds, ``_j`` joules, ``_w`` watts, ``_c``
degrees Celsius, ``_us`` microseconds) or that stands beside them; times are UTC in ISO 8601. A
number that is not finite is written as null.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Final, Literal

import msgspec

from pytest_gaitperf.environment import Environment, Profile, Sessions
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.text import count, size_text
from pytest_gaitperf.workload import Workload

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
        sharpen, heard = f": {self.sharpen}" if self.sharpen else "", self.sensitivity
        if heard is None or heard > least:
            could = "nothing" if heard is None else f"{size_text(heard)} at least"
            must = f"{least * 100:.4g}% must be heard"
            beside = f" beside {count(self.sessions, 'session')}" if self.sessions else ""
            return f"it could have heard {could}, and {must}{beside}{sharpen}"
        if self.kind is VerdictKind.INCONCLUSIVE and self.loss > self.must_hear:
            must = f"and {self.must_hear * 100:.4g}% must be heard"
            return f"it may be noise, {must}{sharpen or ': measure again'}"
        return ""

    @property
    def word(self) -> str:
        """What it is called: one that passes shows nothing where a change could go unheard."""
        unheard = self.kind is VerdictKind.PASS and self.unheard
        return Outcome.UNMEASURED.value if unheard else self.kind.value

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

    def why(self, verdict: Verdict) -> str:
        """Return the reason of one of its verdicts, and what else keeps that from being green."""
        parts = [verdict.reason, verdict.unheard]
        if verdict.kind is VerdictKind.REGRESSED and self.unconfirmed is not None:
            parts.append(f"not confirmed: {self.unconfirmed}")
        return "; ".join(filter(None, parts))

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
