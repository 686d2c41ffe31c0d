"""What of a run enters the baselines, with cells that are measured by saying how slow they are."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pytest_gaitperf.engine.recording import record
from pytest_gaitperf.engine.session import Session

from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, Provenance
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.errors import BaselineError, MeasurementError, ServerError
from pytest_gaitperf.report.ending import finish
from pytest_gaitperf.report.progress import Progress
from pytest_gaitperf.report.results import results
from pytest_gaitperf.workload import Workload
from tests.engine.test_judging import FACTS, measured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_gaitperf.baseline.cells import Fingerprint
    from pytest_gaitperf.measurement import Measurement

A, B = Workload("a", 1, 1), Workload("b", 1, 1)
BEHIND = "completed 3 of 5 requests/s: the backlog grew"


class Device:
    """A session on a device whose cells answer as told, one measurement after another.

    ``script`` has, by cell, how slow it is each time (the last from then on), what is raised, or
    a measurement.
    """

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.session = session
        self.script: dict[Workload, list[float | BaseException | Measurement]] = {}
        self.facts: list[Fingerprint] = [FACTS]
        self.log: list[str] = []
        self.said: list[str] = []
        monkeypatch.setattr(session, "_measured", self._measure)
        monkeypatch.setattr(session.repetition, "_measure", self._measure)
        monkeypatch.setattr(session.judging, "_measure", self._measure)
        monkeypatch.setattr(session, "facts", self._facts)
        monkeypatch.setattr(session.repetition, "_facts", self._facts)
        resources = session.resources
        monkeypatch.setattr(resources, "restart_server", lambda: self.log.append("restart"))
        monkeypatch.setattr(type(resources), "server", FakeServer())
        monkeypatch.setattr(type(resources), "metering", FakeMetering(self.log))
        monkeypatch.setattr(session.progress, "say", self.said.append)

    def _measure(self, workload: Workload) -> Measurement:
        left = 1 + sum(1 for _ in self.session._ahead())
        place = self.session.repetition.place(len(self.session.results), left)
        self.log.append(f"{place} {workload.id}, {place.left} left")
        script = self.script.get(workload, [1.0])
        now = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(now, BaseException):
            raise now
        return measured(workload, now) if isinstance(now, float) else now

    def _facts(self, _workload: Workload, _measurement: Measurement) -> Fingerprint:
        return self.facts.pop(0) if len(self.facts) > 1 else self.facts[0]

    def recorded(self) -> dict[str, list[float]]:
        """The throughputs of the recorded sessions, by cell."""
        settings = self.session.settings
        return {
            f"{cell.model}-{cell.key}": [one.values["throughput"].value for one in cell.sessions]
            for cell in BaselineStore(settings.baselines, "here", {}).cells()
        }


class FakeServer:
    """A server that we started."""

    mode = "local"


class FakeMetering:
    """A meter whose idle power is asked for."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def measure_idle(self) -> None:
        self._log.append("idle")


@pytest.fixture
def device(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Device]:
    def make(
        *cells: Workload, update: str = "all", sessions: int = 1, accept: bool = False
    ) -> Device:
        settings = Settings(
            baselines=tmp_path,
            profile="here",
            update=update,
            sessions=sessions,
            accept_regressions=accept,
        )
        resources = Resources(settings, None, Progress(pytestconfig))
        resources.plan(cells or (A, B), others=False)
        return Device(Session(resources), monkeypatch)

    return make


@pytest.fixture
def past(tmp_path: Path) -> None:
    """Five sessions of both cells that differ by half a per cent."""
    stored = BaselineStore(tmp_path, "here", {})
    for number in range(5):
        for index, cell in enumerate((A, B)):
            slower = 1 + 0.005 * ((number + 2 * index) % 3 - 1)
            values = {
                name: Value(item.value, 0.01, 12)
                for name, item in measured(cell, slower).metrics.items()
            }
            stored.record(cell.model, cell.key, FACTS, values)
        stored.write(Provenance(f"s{number}", f"2026-11-0{number + 1}T00:00:00Z"))


def test_every_session_measures_the_cells_on_a_server_started_anew(
    device: Callable[..., Device],
) -> None:
    there = device(sessions=3)
    there.script[A] = [1.0, 1.01, 1.02]
    there.session.measure(A)
    assert there.log == [
        "session 1/3, cell 1/2 a-b1-c1, 6 left",
        "session 1/3, cell 2/2 b-b1-c1, 5 left",
        "restart",
        "idle",
        "session 2/3, cell 1/2 a-b1-c1, 4 left",
        "session 2/3, cell 2/2 b-b1-c1, 3 left",
        "restart",
        "idle",
        "session 3/3, cell 1/2 a-b1-c1, 2 left",
        "session 3/3, cell 2/2 b-b1-c1, 1 left",
    ]
    record(there.session, clean=True)
    assert there.recorded() == {
        "a-b1-c1": [100.0, pytest.approx(99.01), pytest.approx(98.039)],
        "b-b1-c1": [100.0] * 3,
    }
    assert there.session.remarks == ["3 sessions recorded; the table shows the first"]


@pytest.mark.usefixtures("past")
def test_further_sessions_of_missing_cells_leave_the_others_alone(
    device: Callable[..., Device],
) -> None:
    new = Workload("new", 1, 1)
    there = device(A, new, update="missing", sessions=2)
    there.session.measure(A)
    assert [line for line in there.log if "session 2" in line] == [
        "session 2/2, cell 1/1 new-b1-c1, 1 left"
    ]
    record(there.session, clean=True)
    recorded = there.recorded()
    assert (len(recorded["a-b1-c1"]), len(recorded["new-b1-c1"])) == (5, 2)


@pytest.mark.parametrize(
    ("third", "reason"),
    [
        (MeasurementError("it hangs\nmore"), "b-b1-c1 could not be measured: it hangs"),
        (ServerError("it died"), "b-b1-c1 could not be measured: it died"),
        (measured(B, invalid="throttled"), "b-b1-c1 is invalid: throttled"),
        (replace(measured(B), energy_failed=True), "the power meter failed in b-b1-c1"),
    ],
)
def test_a_fault_in_a_later_session_writes_nothing_and_loses_nothing(
    device: Callable[..., Device], third: MeasurementError | Measurement, reason: str
) -> None:
    there = device(sessions=4)
    there.script[B] = [1.0, 1.0, third, 1.0]
    there.session.measure(B)
    assert there.log[-1].startswith("session 3/4, cell 2/2 b-b1-c1"), "and no fourth session"
    with pytest.raises(BaselineError, match=f"no baseline was written: session 3 of 4: {reason}$"):
        record(there.session, clean=True)
    assert there.recorded() == {}
    document = results(there.session)
    assert document.sessions.cut_short == f"session 3 of 4: {reason}"
    first, second = document.cells
    assert [one.session for one in first.further_sessions] == [2, 3]
    assert second.further_sessions[0].session == 2


def test_files_that_change_between_sessions_are_noticed(device: Callable[..., Device]) -> None:
    there = device(A, sessions=2)
    there.facts = [FACTS, replace(FACTS, content="sha256:1")]
    there.session.measure(A)
    with pytest.raises(BaselineError, match="session 2 of 2: a-b1-c1 was not what the first"):
        record(there.session, clean=True)


def test_ctrl_c_in_a_later_session_writes_no_baseline_and_keeps_the_results(
    device: Callable[..., Device], tmp_path: Path
) -> None:
    there = device(sessions=2)
    object.__setattr__(there.session.settings, "json", tmp_path / "results.json")
    there.script[B] = [1.0, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        there.session.measure(A)
    assert finish(there.session, clean=False, whole=False)
    assert there.recorded() == {}
    assert "not green" in there.session.remarks[0]
    assert '"session": 2' in (tmp_path / "results.json").read_text()


def test_ctrl_c_in_the_last_idle_measurement_keeps_the_results(
    device: Callable[..., Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = device()
    object.__setattr__(there.session.settings, "json", tmp_path / "results.json")
    there.session.measure(A)

    def interrupted() -> None:
        raise KeyboardInterrupt

    idle = SimpleNamespace(watts={"VDD_IN": 5.0})
    metering = SimpleNamespace(
        idle=[idle], idle_drift=None, meter=None, absent="", measure_idle=interrupted
    )
    monkeypatch.setattr(there.session.resources, "_metering", metering)
    assert not finish(there.session, clean=True, whole=False)
    assert there.session.problems == ["interrupted while the idle power was measured once more"]
    assert (tmp_path / "results.json").exists()
    assert there.recorded() == {}


@pytest.mark.usefixtures("past")
def test_after_a_red_first_session_no_further_one_is_measured(
    device: Callable[..., Device],
) -> None:
    there = device(sessions=3)
    there.script[A] = [1.5]
    there.session.measure(B)
    assert not any("session 2" in line for line in there.log)
    assert there.said[-1] == (
        "only the first of 3 sessions was measured, since it cannot be recorded: a-b1-c1"
    )
    assert not list(there.session.repetition.ahead())
    record(there.session, clean=False)
    assert there.session.remarks[1:] == [
        "1 cell regressed; to accept that as the new level:",
        "  pytest --gaitperf-update=all --gaitperf-accept-regressions",
    ]


def test_after_a_meter_that_failed_no_further_session_is_measured(
    device: Callable[..., Device],
) -> None:
    there = device(sessions=3)
    there.script[A] = [replace(measured(A), energy_failed=True)]
    there.session.measure(A)
    assert not any("session 2" in line for line in there.log)
    assert "only the first of 3 sessions was measured" in there.said[-1]


def test_a_server_that_is_not_ours_is_said_to_go_on(
    device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = device(A, sessions=2)
    monkeypatch.setattr(FakeServer, "mode", "attach")
    there.session.measure(A)
    assert "the server is not restarted between sessions: they share its state" in there.said
