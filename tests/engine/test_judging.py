"""From measured cells and recorded baselines to verdicts, findings and second measurements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.baseline.cells import Fingerprint
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, Provenance
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.engine.session import CellResult, Session
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.report.closing import closing_lines
from pytest_gaitperf.report.progress import Progress
from pytest_gaitperf.report.results import results
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

CELLS = [Workload(model, batch, 1) for model in ("a", "b", "c") for batch in (1, 2, 4, 8)]
FACTS = Fingerprint("2.51.0", "in -> out", "http", "inline")


def measured(workload: Workload, slower: float = 1.0, invalid: str | None = None) -> Measurement:
    values = {"throughput": 100.0 / slower, "latency_p50": 0.01 * slower}
    return Measurement(
        workload=workload,
        metrics={name: Estimate(METRICS[name].unit, value) for name, value in values.items()},
        spread=dict.fromkeys(values, 0.01),
        spread_windows=dict.fromkeys(values, 12),
        windows=12,
        window_s=0.25,
        duration_s=3.0,
        requests=300,
        failures=0,
        client_cpu_per_request_us=25.0,
        client_load=0.05,
        time_split_s={},
        rails_j={},
        energy_rails=(),
        estimated=False,
        absent={},
        notes=(),
        invalid=invalid,
        inferences=300.0,
        energy_failed=False,
        energy_error=None,
        energy_note=None,
    )


class Device:
    """A session whose cells are measured by saying how slow they are, and which were, again."""

    def __init__(self, config: pytest.Config, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(baselines=path, profile="here")
        self.session = Session(Resources(settings, None, Progress(config)))
        self.measured_again: list[Workload] = []
        self.again: dict[Workload, float | MeasurementError] = {}
        self.restarts = 0
        self.disturbed = ""
        monkeypatch.setattr(self.session.judging, "_measure", self._measure)
        monkeypatch.setattr(self.session.resources, "restart_server", self._restart)

    def _measure(self, workload: Workload) -> Measurement:
        self.measured_again.append(workload)
        slower = self.again.get(workload, 1.0)
        if isinstance(slower, MeasurementError):
            raise slower
        return measured(workload, slower, self.disturbed or None)

    def _restart(self) -> None:
        self.restarts += 1

    def has_measured(self, *cells: Workload, **slower: float) -> None:
        """Fill in first measurements; by model, how slow it is now."""
        for cell in cells or CELLS:
            result = CellResult(cell, measured(cell, slower.get(cell.model, 1.0)), facts=FACTS)
            self.session.results[cell] = result

    def states(self, *models: str) -> set[VerdictKind]:
        return {
            verdict.state
            for cell in CELLS
            if cell.model in models
            for verdict in self.session.judge(cell, "throughput")
        }


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recorded sessions that differ by 1 % in common and 1 % by cell."""
    path = tmp_path_factory.mktemp("baselines")
    rng = np.random.default_rng(1)
    for number in range(6):
        store = BaselineStore(path, "here", {})
        common = 0.01 * rng.standard_normal()
        for cell in CELLS:
            now = measured(cell, math.exp(common + 0.01 * rng.standard_normal()))
            values = {name: Value(item.value, 0.01, 12) for name, item in now.metrics.items()}
            store.record(cell.model, cell.key, FACTS, values)
        moment = f"2026-11-{number + 1:02}T00:00:00Z"
        store.write(Provenance(session=moment.replace(":", "").replace("-", ""), time=moment))
    return path


@pytest.fixture
def device(pytestconfig: pytest.Config, baselines: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device(pytestconfig, baselines, monkeypatch)
    device.session.resources.plan(CELLS, others=False)
    return device


def test_a_slower_model_is_measured_again_once_and_stays_red(device: Device) -> None:
    device.has_measured(a=1.2)
    device.again = {cell: 1.19 for cell in CELLS if cell.model == "a"}
    assert device.states("a") == {VerdictKind.REGRESSED}
    assert device.states("b", "c") == {VerdictKind.PASS}
    assert device.measured_again == CELLS[:4], "the suspects, each once for all its metrics"
    assert device.restarts == 1
    (latency, *_) = device.session.judge(CELLS[0], "latency")
    assert latency.depth == "model"
    assert latency.now == pytest.approx(0.0119)
    assert "the whole model is 1" in latency.reason
    lines = [line for line in closing_lines(device.session) if "the whole model" in line]
    assert len(lines) == 1
    assert lines[0].startswith("a: the whole model is 1")
    assert lines[0].endswith(" slower (p50)")
    found = results(device.session).findings
    assert [(entry.depth, entry.model, entry.metric) for entry in found] == [
        ("model", "a", "throughput"),
        ("model", "a", "latency_p50"),
    ]


def test_nothing_is_measured_again_without_a_suspect(device: Device) -> None:
    device.has_measured()
    assert device.states("a", "b", "c") == {VerdictKind.PASS}
    assert (device.measured_again, device.restarts) == ([], 0)


def test_what_does_not_come_back_is_inconclusive(device: Device) -> None:
    device.has_measured(a=1.2)
    assert device.states("a") == {VerdictKind.INCONCLUSIVE}
    assert device.session.judging.findings == []


def test_a_disturbed_second_measurement_is_invalid(device: Device) -> None:
    device.has_measured(a=1.2)
    device.disturbed = "another client uses the server"
    assert device.states("a") == {VerdictKind.INVALID}
    assert device.states("b") == {VerdictKind.PASS}


def test_a_suspect_that_cannot_be_measured_again_says_so_and_no_other_does(
    device: Device,
) -> None:
    device.has_measured(a=1.2)
    device.again = dict.fromkeys(CELLS[1:4], 1.2)
    device.again[CELLS[0]] = MeasurementError("it did not answer")
    for _ in range(2):
        with pytest.raises(MeasurementError, match="it did not answer"):
            device.session.judge(CELLS[0], "throughput")
    assert device.session.judge(CELLS[1], "throughput")[0].state is VerdictKind.REGRESSED
    assert device.states("b") == {VerdictKind.PASS}


def test_a_common_improvement_is_said_once(device: Device) -> None:
    device.has_measured(a=0.7, b=0.7, c=0.7)
    assert device.states("a", "b", "c") == {VerdictKind.IMPROVED}
    (line,) = [line for line in closing_lines(device.session) if "everything is" in line]
    assert line.count(" faster (") == 2
    assert line.endswith(": the device or the server changed, not one model")


def test_cells_without_measurement_keep_nobody_from_a_verdict(device: Device) -> None:
    device.has_measured(*CELLS[1:], a=1.2)
    device.session.results[CELLS[0]] = CellResult(CELLS[0], error=MeasurementError("lost"))
    device.again = dict.fromkeys(CELLS[1:4], 1.2)
    assert device.session.judge(CELLS[1], "throughput")[0].state is VerdictKind.REGRESSED
    with pytest.raises(MeasurementError, match="lost"):
        device.session.judge(CELLS[0], "throughput")


def test_a_workload_of_a_tests_own_is_judged_by_itself(device: Device) -> None:
    device.session.resources.plan(CELLS[4:], others=True)
    device.has_measured(*CELLS[:2], a=1.5)
    device.again = dict.fromkeys(CELLS[:2], 1.5)
    verdict, second = (device.session.judge(cell, "throughput")[0] for cell in CELLS[:2])
    assert verdict.state is second.state is VerdictKind.REGRESSED
    assert CELLS[4] not in device.session.results, "nothing else was measured for it"


@pytest.mark.parametrize("planned", [True, False])
def test_all_judgements_of_a_run_share_one_alpha(device: Device, planned: bool) -> None:
    device.session.resources.plan(CELLS if planned else [], others=True)
    shares = [device.session.judging._share(planned=False) for _ in range(1000)]
    if planned:
        shares.append(device.session.judging._share(planned=True))
    assert 0.0099 < sum(shares) <= 0.01


def test_only_what_a_test_asked_for_is_shown(device: Device) -> None:
    device.has_measured()
    device.session.judge(CELLS[0], "latency")
    assert list(device.session.results[CELLS[0]].verdicts) == ["latency_p50"]
    assert closing_lines(device.session)[0] == "profile here: 1 pass"
