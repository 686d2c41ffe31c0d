"""Records of runs, and baselines beside them, to plan a recording of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pytest_gaitperf.baseline.admission import RecordingPlan, plan_recording
from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.config.policy import ANY, Policies, Rules
from pytest_gaitperf.environment import Environment, Profile
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.results import Cell, Policy, Run, Verdict, VerdictKind
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

FINGERPRINT = Fingerprint("2.51.0", "in -> out", "http", "inline")
TOLERANCE = 0.05
BEHIND = "completed 3 of 5 requests/s: the backlog grew"


def measured(slower: float = 1.0, **fields: Any) -> Measurement:
    """A measurement of 100 inferences a second, or fewer."""
    metrics = {
        "throughput": Estimate("inf/s", 100 / slower, 98 / slower, 102 / slower),
        "latency_p50": Estimate("s", 0.01 * slower),
    }
    measurement = Measurement(metrics=metrics, spread={"throughput": 0.01})
    return replace(measurement, **fields)


def cell(model: str, now: float | Measurement = 1.0, **fields: Any) -> Cell:
    """A cell that was measured, and passed."""
    measurement = measured(now) if isinstance(now, float) else now
    workload = Workload(model, 1, 1)
    made = Cell(id=workload.id, workload=workload, measurement=measurement)
    return replace(made, **fields)


def verdict(kind: VerdictKind, change: float | None = None, metric: str = "throughput") -> Verdict:
    baseline = 100.0 if metric == "throughput" else 0.01
    return Verdict(metric, kind, f"it is {kind.value}", baseline=baseline, change=change)


PASS = verdict(VerdictKind.PASS, 0.0)
MISSING = verdict(VerdictKind.MISSING)
SLOWER = verdict(VerdictKind.REGRESSED, -0.5)


class Scene:
    """A run over cells, with baselines; ``judged`` are verdicts beside those a test asked for."""

    def __init__(self, root: Path) -> None:
        self.store = BaselineStore(root, "here", {})
        self.judged: dict[str, dict[str, Verdict]] = {}

    def stored(self, *models: str, sessions: int = 5) -> None:
        """Record sessions that differ by half a per cent."""
        for number in range(sessions):
            for index, model in enumerate(models):
                rate = 100 * (1 + 0.005 * ((number + 2 * index) % 3 - 1))
                values = {"throughput": Value(rate, 0.01, 12)}
                self.store.record(model, "b1-c1", FINGERPRINT, values)
            self.store.write(Provenance(f"s{number}", f"2026-11-0{number + 1}T00:00:00Z"))

    def plan(self, *cells: Cell, update: str = "all", **fields: Any) -> RecordingPlan:
        accept = fields.pop("accept", False)
        policy = replace(Policy(accept_regressions=accept), update=update)
        environment = Environment(time="2026-11-22T00:00:00Z")
        run = Run(profile=Profile("here"), environment=environment, policy=policy, cells=cells)
        self.run = settled(replace(run, **fields))
        return self.planned(self.run)

    def planned(self, run: Run, *, estimates: bool = False) -> RecordingPlan:
        return plan_recording(
            run,
            self.store,
            fingerprints={one.id: FINGERPRINT for one in run.cells},
            policies=Policies(Rules({ANY: TOLERANCE}, must_hear={ANY: 0.25}), {}),
            judged=self.judged,
            estimates=estimates,
            accept_command="pytest --accept",
        )

    def recorded(self, plan: RecordingPlan) -> dict[str, list[float]]:
        """Apply the plan, and return the throughputs of all recorded sessions by cell."""
        provenances = [
            Provenance(f"t{number}", f"2026-11-22T0{number}:00:00Z")
            for number in range(len(plan.sessions))
        ]
        self.run = plan.apply(self.store, provenances)
        return {
            one.model: [session.values["throughput"].value for session in one.sessions]
            for one in BaselineStore(self.store.directory.parent, "here", {}).cells()
        }
