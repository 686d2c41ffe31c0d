"""From measured cells and recorded baselines to verdicts, findings and second measurements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from msgspec import structs

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.cells import CellState
from pytest_gaitperf.engine.engine import Engine
from pytest_gaitperf.engine.judging import Case, doubt
from pytest_gaitperf.engine.record import record
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.gate.joint import Judgement
from pytest_gaitperf.gate.verdict import Comparison
from pytest_gaitperf.measurement import Measurement, SessionValue
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.progress import TerminalProgress
from pytest_gaitperf.results import Cell, Outcome, Run, Verdict, VerdictKind
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.engine.progress import Place
    from pytest_gaitperf.engine.reference import Reference

CELLS = [Workload(model, batch, 1) for model in ("a", "b", "c") for batch in (1, 2, 4, 8)]
FACTS = Fingerprint("2.51.0", "in -> out", "http", "inline")


def measured(slower: float = 1.0, invalid: str | None = None) -> Measurement:
    values = {"throughput": 100.0 / slower, "latency_p50": 0.01 * slower}
    return Measurement(
        metrics={name: Estimate(METRICS[name].unit, value) for name, value in values.items()},
        spread=dict.fromkeys(values, 0.01),
        lives=3,
        invalid=invalid,
    )


class Device:
    """An engine whose cells are measured by saying how slow they are, and which were, again."""

    def __init__(self, config: pytest.Config, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(baselines=path, profile="here", lock="off", lives=1)
        self.engine = Engine(Resources(settings, None, TerminalProgress(config)), lambda *_: None)
        self.measured_again: list[Workload] = []
        self.first: dict[Workload, float | MeasurementError] = {}
        self.again: dict[Workload, float | MeasurementError] = {}
        self.restarts = 0
        self.disturbed = ""
        monkeypatch.setattr(self.engine.measuring, "_measured", self._measure)
        monkeypatch.setattr(self.engine.measuring._fingerprints, "of", lambda *_: FACTS)
        monkeypatch.setattr(self.engine.resources, "restart_server", self._restart)
        monkeypatch.setattr(self.engine.resources, "served", dict.fromkeys)

    def _measure(self, workload: Workload, place: Place, _session: object) -> Measurement:
        slower = (self.again if place.again else self.first).get(workload, 1.0)
        if place.again:
            self.measured_again.append(workload)
        if isinstance(slower, MeasurementError):
            raise slower
        return measured(slower, self.disturbed if place.again and self.disturbed else None)

    def _restart(self) -> None:
        self.restarts += 1

    def runs(self, **slower: float) -> None:
        """Measure and judge what is planned; by model, how slow it is now."""
        for cell in CELLS:
            self.first.setdefault(cell, slower.get(cell.model, 1.0))
        self.engine.run_planned()

    def kinds(self, *models: str) -> set[VerdictKind]:
        return {
            verdict.kind
            for cell in CELLS
            if cell.model in models
            for verdict in self.engine.verdicts(cell, "throughput")
        }

    def record(self) -> Run:
        return settled(record(self.engine))

    def cell(self, workload: Workload) -> Cell:
        return next(cell for cell in self.record().cells if cell.workload == workload)


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recorded sessions that differ by 1 % in common and 1 % by cell."""
    path = tmp_path_factory.mktemp("baselines")
    rng = np.random.default_rng(1)
    for number in range(6):
        store = BaselineStore(path, "here", {})
        common = 0.01 * rng.standard_normal()
        for cell in CELLS:
            now = measured(math.exp(common + 0.01 * rng.standard_normal()))
            values = {name: Value(item.value, 0.01, 12) for name, item in now.metrics.items()}
            store.record(cell.model, cell.key, FACTS, values)
        moment = f"2026-11-{number + 1:02}T00:00:00Z"
        store.write(Provenance(id=moment.replace(":", "").replace("-", ""), time=moment))
    return path


@pytest.fixture
def device(pytestconfig: pytest.Config, baselines: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device(pytestconfig, baselines, monkeypatch)
    device.engine.resources.plan(CELLS, others=False)
    return device


def test_a_slower_model_is_measured_again_once_and_stays_red(device: Device) -> None:
    device.again = {cell: 1.19 for cell in CELLS if cell.model == "a"}
    device.runs(a=1.2)
    assert device.kinds("a") == {VerdictKind.REGRESSED}
    assert device.kinds("b", "c") == {VerdictKind.PASS}
    again = sorted(device.measured_again, key=CELLS.index)
    assert again == CELLS[:4], "the suspects, each once for all its metrics"
    assert device.restarts == 1
    (latency, *_) = device.engine.verdicts(CELLS[0], "latency")
    assert latency.scope == "model"
    assert latency.now == pytest.approx(0.0119)
    assert "p50 of a as a whole changed by +1" in latency.reason
    run = device.record()
    assert [(found.scope, found.model, found.metric) for found in run.findings] == [
        ("model", "a", "throughput"),
        ("model", "a", "latency_p50"),
    ]
    assert run.outcome is Outcome.RED
    assert {cell.workload.model for cell in run.cells if cell.outcome is Outcome.RED} == {"a"}


def test_nothing_is_measured_again_without_a_suspect(device: Device) -> None:
    device.runs()
    assert device.kinds("a", "b", "c") == {VerdictKind.PASS}
    assert (device.measured_again, device.restarts) == ([], 0)
    assert device.record().outcome is Outcome.GREEN


def test_what_does_not_come_back_is_inconclusive(device: Device) -> None:
    device.runs(a=1.2)
    assert device.kinds("a") == {VerdictKind.INCONCLUSIVE}
    assert device.record().findings == ()


def test_a_disturbed_second_measurement_leaves_its_cells_unmeasured(device: Device) -> None:
    device.disturbed = "another client uses the server"
    device.runs(a=1.2)
    assert device.kinds("a") == {VerdictKind.REGRESSED}
    assert device.kinds("b") == {VerdictKind.PASS}
    cell = device.cell(CELLS[0])
    assert cell.outcome is Outcome.UNMEASURED
    assert cell.reasons[0].endswith("not confirmed: another client uses the server")
    assert device.record().outcome is Outcome.UNMEASURED


def test_a_suspect_that_cannot_be_measured_again_is_unmeasured_and_no_other_is(
    device: Device,
) -> None:
    device.again = dict.fromkeys(CELLS[1:4], 1.2)
    device.again[CELLS[0]] = MeasurementError("it did not answer")
    device.runs(a=1.2)
    assert device.kinds("a") == {VerdictKind.REGRESSED}
    assert device.kinds("b") == {VerdictKind.PASS}
    lost, found = device.cell(CELLS[0]), device.cell(CELLS[1])
    assert (lost.outcome, found.outcome) == (Outcome.UNMEASURED, Outcome.RED)
    assert "it did not answer" in lost.reasons[0]
    assert device.record().outcome is Outcome.RED


def test_what_made_all_models_slower_is_unmeasured_and_the_slowest_model_red(
    device: Device,
) -> None:
    device.again = {cell: {"a": 1.7}.get(cell.model, 1.25) for cell in CELLS}
    device.runs(a=1.7, b=1.25, c=1.25)
    assert device.kinds("a", "b", "c") == {VerdictKind.REGRESSED}
    outcomes = {cell.workload.model: cell.outcome for cell in device.record().cells}
    assert outcomes == {"a": Outcome.RED, "b": Outcome.UNMEASURED, "c": Outcome.UNMEASURED}
    said = device.cell(CELLS[4]).reasons[0]
    assert "the device or the server changed, not one model" in said
    assert "only pairs can tell (--gaitperf-against" in said


def test_wrong_answers_are_red_whatever_all_models_did() -> None:
    cell = CellState(Workload("a", 1, concurrency=1, alone=True))
    memory = Verdict("server_memory_peak", VerdictKind.REGRESSED, "all alike", scope="run")
    wrong = Verdict("output_error", VerdictKind.REGRESSED, "6 of 64 samples have NaN in OUTPUT0")
    both = [Comparison(model, memory.metric, SessionValue(1.0), {}) for model in ("a", "b")]
    case = Case([(cell, memory.metric)], both, Judgement((memory,), (), ()), 0.005)
    cell.judged = {memory.metric: memory, wrong.metric: wrong}
    doubt(case)
    assert cell.unconfirmed is None
    cell.judged = {memory.metric: memory}
    doubt(case)
    assert "only pairs can tell" in str(cell.unconfirmed)


def test_a_common_improvement_is_said_of_the_run(device: Device) -> None:
    device.runs(a=0.7, b=0.7, c=0.7)
    assert device.kinds("a", "b", "c") == {VerdictKind.IMPROVED}
    findings = device.record().findings
    assert {(found.scope, found.metric) for found in findings} == {
        ("run", "throughput"),
        ("run", "latency_p50"),
    }
    assert {found.cause for found in findings} == {
        "the device or the server changed, not one model"
    }


def test_cells_without_measurement_keep_nobody_from_a_verdict(device: Device) -> None:
    device.first[CELLS[0]] = MeasurementError("lost")
    device.again = dict.fromkeys(CELLS[1:4], 1.2)
    device.runs(a=1.2)
    assert device.engine.verdicts(CELLS[1], "throughput")[0].kind is VerdictKind.REGRESSED
    with pytest.raises(MeasurementError, match="lost"):
        device.engine.verdicts(CELLS[0], "throughput")


def test_a_workload_of_a_tests_own_is_judged_by_itself(device: Device) -> None:
    device.engine.resources.plan(CELLS[4:], others=True)
    device.first = device.again = dict.fromkeys(CELLS[:2], 1.5)
    verdict, second = (device.engine.verdicts(cell, "throughput")[0] for cell in CELLS[:2])
    assert verdict.kind is second.kind is VerdictKind.REGRESSED
    assert CELLS[4] not in device.engine.measuring.cells, "nothing else was measured for it"


@pytest.mark.parametrize("planned", [True, False])
def test_all_judgements_of_a_run_share_one_alpha(device: Device, planned: bool) -> None:
    device.engine.resources.plan(CELLS if planned else [], others=True)
    shares = [device.engine._share(planned=False) for _ in range(1000)]
    if planned:
        shares.append(device.engine._share(planned=True))
    alpha = device.engine.settings.alpha
    assert 0.99 * alpha < sum(shares) <= alpha


def test_only_what_a_test_asked_for_is_recorded(device: Device) -> None:
    device.runs()
    device.engine.verdicts(CELLS[0], "latency")
    assert list(device.cell(CELLS[0]).verdicts) == ["latency_p50"]
    assert device.cell(CELLS[1]).verdicts == {}


def test_a_quantity_that_the_baseline_has_and_the_run_lacks_is_unmeasured(device: Device) -> None:
    """A sensor that vanished, a percentile that nobody could measure: never skipped as green."""
    device.runs()
    cell = device.engine.measured(CELLS[0])
    assert cell.measurement is not None
    del cell.measurement.metrics["throughput"]
    assert "the baseline has it" in str(device.engine.absent(CELLS[0], "throughput"))
    assert "not: " in str(device.engine.absent(CELLS[0], "throughput"))
    assert device.engine.absent(CELLS[0], "energy") is not None, "no baseline has it: skipped"
    assert device.cell(CELLS[0]).outcome is Outcome.UNMEASURED
    assert list(device.cell(CELLS[0]).lacking) == ["throughput"]


def test_a_cause_is_told_at_length_once(device: Device) -> None:
    cause = "no power meter: " + "it is unplugged, " * 20 + "\nits log: ..."
    said = [device.engine.once(cause), device.engine.once(cause), device.engine.once("short")]
    assert said[0] == cause
    assert said[1].startswith("no power meter: it is unplugged")
    assert len(said[1]) <= 100
    assert "log" not in said[1]
    assert said[2] == device.engine.once("short") == "short"


def test_a_hook_may_put_another_verdict_in_its_place(
    pytestconfig: pytest.Config, baselines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(pytestconfig, baselines, monkeypatch)
    device.engine._review = lambda workload, verdict: (
        structs.replace(verdict, kind=VerdictKind.PASS, reason="known")
        if workload.model == "a"
        else None
    )
    device.engine.resources.plan(CELLS, others=False)
    device.again = dict.fromkeys(CELLS[:4], 1.2)
    device.runs(a=1.2)
    assert device.kinds("a") == {VerdictKind.PASS}
    assert device.record().outcome is Outcome.GREEN


class Beside:
    """A reference whose pairs say of the models ``slower`` that they are, of others nothing."""

    description = "v1.0"
    notes: tuple[str, ...] = ()

    def __init__(self, *slower: str, equal: str = "", open_: str = "") -> None:
        self.slower, self.equal, self.open = slower, equal, open_

    def verdicts(self, case: Case, *_: object) -> dict[int, Verdict]:
        found = {}
        for i in case.judgement.suspects:
            cell, metric = case.compared[i]
            if cell.workload.model in self.slower:
                kind, change = VerdictKind.REGRESSED, 0.21
            elif cell.workload.model == self.equal:
                kind, change = VerdictKind.PASS, 0.001
            elif cell.workload.model == self.open:
                kind, change = VerdictKind.INCONCLUSIVE, 0.1
            else:
                continue
            found[i] = Verdict(metric, kind, "block by block", change=change, blocks=9)
        return found


def test_pairs_with_a_reference_confirm_in_place_of_a_second_measurement(device: Device) -> None:
    device.engine.reference = cast("Reference", Beside("a"))
    device.runs(a=1.2)
    assert device.kinds("a") == {VerdictKind.REGRESSED}
    assert not device.measured_again
    (latency, *_) = device.engine.verdicts(CELLS[0], "latency")
    assert (latency.change, latency.blocks) == (0.21, 9)
    assert latency.reason.startswith("block by block; at first, beside the baseline: ")
    assert [found.model for found in device.record().findings] == ["a", "a"]


def test_what_the_pairs_do_not_show_is_not_red_and_not_recorded(device: Device) -> None:
    device.engine.reference = cast("Reference", Beside(equal="a"))
    device.runs(a=1.2)
    assert device.kinds("a") == {VerdictKind.INCONCLUSIVE}
    (latency, *_) = device.engine.verdicts(CELLS[0], "latency")
    assert latency.change == pytest.approx(0.2, abs=0.03), "of the stored comparison"
    assert "pairs with v1.0 did not confirm" in latency.reason
    assert "then pass: block by block" in latency.reason
    assert not device.record().findings
    assert device.record().outcome is Outcome.GREEN


def test_what_the_pairs_leave_open_is_neither_red_nor_green(device: Device) -> None:
    device.engine.reference = cast("Reference", Beside(open_="a"))
    device.runs(a=1.2)
    device.kinds("a")
    run = device.record()
    assert run.outcome is Outcome.UNMEASURED
    assert "not confirmed: in pairs with v1.0: block by block" in run.reasons[0]
    assert not device.measured_again


def test_what_the_pairs_cannot_compare_is_measured_again(device: Device) -> None:
    device.engine.reference = cast("Reference", Beside("a"))
    device.again = {cell: 1.19 for cell in CELLS if cell.model == "b"}
    device.runs(a=1.2, b=1.2)
    assert device.kinds("a", "b") == {VerdictKind.REGRESSED}
    assert {cell.model for cell in device.measured_again} == {"b"}
