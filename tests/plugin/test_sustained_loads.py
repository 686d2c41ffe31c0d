"""Loads that are kept up, on a real Triton: what turns red, what ends them, what is kept."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.truth import CONFIG
from pytest_gaitperf import read_results
from pytest_gaitperf.host.state import StateWatch, read_state
from pytest_gaitperf.results import Outcome
from tests.plugin.baselines import UNMEASURED, baseline_files

if TYPE_CHECKING:
    from pytest_gaitperf.results import Cell
    from tests.plugin.conftest import Project

ROOT = Path(__file__).parents[2]
CELL = "later-b1-c1-2sec"
MODEL = """\
import os
import signal
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.seen = 0

    def execute(self, requests):
        answers = []
        for request in requests:
            self.seen += 1
            late = self.seen > {after}
            time.sleep(0.01 * ({times} if late else 1))
            if late and {breaks}:
                raise RuntimeError("broken from here on")
            if late and {dies}:
                os.kill(os.getppid(), signal.SIGKILL)
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            answers.append(pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack("OUTPUT0", tensor.to_dlpack())]))
        return answers
"""


def write_later(
    project: Project,
    *,
    after: int = 10**9,
    times: float = 1.0,
    breaks: bool = False,
    dies: bool = False,
) -> None:
    """Write the model that changes after so many requests of 10 ms: of 2 s it answers about 190."""
    folder = project.path / "model_repository" / "later"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    code = MODEL.format(after=after, times=times, breaks=breaks, dies=dies)
    (folder / "1" / "model.py").write_text(code)


@pytest.fixture
def lasting(offline: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The suite of sustained loads over 2 s, in parts of 0.1 s."""
    monkeypatch.setattr("pytest_gaitperf.config.values._LEAST_SUSTAINED_S", 1.0)
    monkeypatch.setattr("pytest_gaitperf.measure.parts._LOW_S", 0.5)
    for name, value in {
        "_WINDOW_S": 0.1,
        "_WARM_UP_S": 0.5,
        "_LINE_S": 1.0,
        "_SEEN_AFTER_NS": 10**7,
    }.items():
        monkeypatch.setattr(f"pytest_gaitperf.measure.sustained.{name}", value)
    (offline.path / "test_grid.py").unlink()
    shutil.copy(ROOT / "suites" / "test_sustained.py", offline.path)
    write_later(offline)
    lasts(offline, "2 s")
    return offline


def lasts(project: Project, sustained: str, more: str = "") -> None:
    (project.path / "grid.toml").write_text(
        'models = ["later"]\nbatch_sizes = [1]\nconcurrencies = [1]\n'
        f'sustained = "{sustained}"\n{more}'
    )


ARGUMENTS = ("--gaitperf-grid=grid.toml", "--gaitperf-json=results.json")
HOLDS = "--gaitperf-limit=sustained_ratio >= 60 %"


def cell_of(project: Project) -> Cell:
    (cell,) = read_results(project.path / "results.json").cells
    return cell


@pytest.mark.slow
def test_a_load_that_holds_is_recorded_and_gated_without_budget_and_lives(
    lasting: Project,
) -> None:
    (lasting.path / "test_grid.py").write_text(
        "def test_mine(perf, perf_cell):\n    perf.gate(perf_cell, 'throughput')\n"
    )
    more = ("--gaitperf-budget=0.3", "--gaitperf-lives=3", HOLDS, "--gaitperf-update=missing")
    shown = lasting.run(*ARGUMENTS, *more, "-rs")
    shown.assert_outcomes(passed=1, skipped=1)
    text = shown.stdout.str()
    assert "1 load of 2 s to sustain take" in text
    assert "later-b1-c1-2sec, 1 s of 2 s: " in text
    assert "b1-c1-2sec has no throughput to gate, but sustained" in " ".join(text.split())
    cell = cell_of(lasting)
    assert cell.id == CELL
    found = cell.measurement
    assert found is not None
    assert found.sustained is not None
    assert found.sustained.edges_s[-1] == pytest.approx(2.0)
    assert len(found.sustained.throughput) == 20
    assert found.sustained.ended == ""
    assert found.metrics["sustained_ratio"].value == pytest.approx(1, abs=0.3)
    gated = lasting.run(*ARGUMENTS, HOLDS)
    gated.assert_outcomes(passed=1, skipped=1)
    verdicts = cell_of(lasting).verdicts
    assert {"sustained_throughput", "sustained_ratio"} <= set(verdicts)


@pytest.mark.slow
def test_a_model_that_slows_turns_its_test_red(lasting: Project) -> None:
    write_later(lasting, after=100, times=2.0)
    shown = lasting.run(*ARGUMENTS, HOLDS)
    shown.assert_outcomes(failed=1)
    shown.stdout.fnmatch_lines(["*sustained_ratio >= 60 %: violated*"])
    cell = cell_of(lasting)
    assert cell.outcome is Outcome.RED
    assert cell.measurement is not None
    assert cell.measurement.sustained is not None
    assert cell.measurement.sustained.ended == ""


@pytest.mark.slow
def test_what_is_plainly_lost_ends_and_is_red_and_never_recorded(lasting: Project) -> None:
    lasts(lasting, "5 s")
    limit = "--gaitperf-limit=sustained_throughput >= 2000"
    shown = lasting.run(*ARGUMENTS, limit, "--gaitperf-update=missing")
    shown.assert_outcomes(failed=1)
    cell = cell_of(lasting)
    assert cell.outcome is Outcome.RED
    assert cell.measurement is not None
    assert cell.measurement.sustained is not None
    assert "less than half of the 2000 inf/s" in cell.measurement.sustained.ended
    assert cell.measurement.duration_s < 4
    assert "less than half of the 2000 inf/s" in " ".join(shown.stdout.str().split())
    other = "--gaitperf-limit=sustained_throughput >= 2000"
    lasting.run(*ARGUMENTS, other, "--gaitperf-update=all", "--gaitperf-accept-regressions")
    assert baseline_files(lasting) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "why"), [("breaks", "broken from here on"), ("dies", "was killed by SIGKILL")]
)
def test_what_was_measured_before_a_fault_is_kept_and_never_recorded(
    lasting: Project, how: str, why: str
) -> None:
    write_later(lasting, after=130, **{how: True})
    shown = lasting.run(
        *ARGUMENTS, "--gaitperf-update=missing", "--gaitperf-report=page.html", "-rA"
    )
    assert shown.ret == UNMEASURED, shown.stdout.str()
    cell = cell_of(lasting)
    assert cell.measurement is not None
    assert cell.measurement.sustained is not None
    assert 3 <= len(cell.measurement.sustained.throughput) < 20
    assert why in str(cell.unmeasured)
    assert " of 2 s: " in str(cell.unmeasured)
    assert "sustained_ratio" not in cell.measurement.metrics
    assert "Traceback" not in shown.stdout.str()
    assert "Under load over time" in (lasting.path / "page.html").read_text()
    assert baseline_files(lasting) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_keeps_how_far_it_got(offline: Project, number: signal.Signals) -> None:
    (offline.path / "test_grid.py").unlink()
    shutil.copy(ROOT / "suites" / "test_sustained.py", offline.path)
    write_later(offline)
    lasts(offline, "60 s")
    command = [sys.executable, "-m", "pytest", *offline.options, *ARGUMENTS]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=offline.path
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            if "1 cell to measure" in text:
                break
        time.sleep(6)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, rest
    cell = cell_of(offline)
    assert cell.measurement is not None
    assert cell.measurement.sustained is not None
    assert len(cell.measurement.sustained.throughput) >= 2
    assert "of 60 s: the run was interrupted" in str(cell.unmeasured)


def hot_device(path: Path) -> Path:
    """Write a tree of a device with a clock, a thermometer and what holds it back."""
    for name, text in {
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1500000",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1400000",
        "sys/class/thermal/thermal_zone0/type": "soc-thermal",
        "sys/class/thermal/thermal_zone0/temp": "71500",
        "sys/class/thermal/cooling_device0/type": "cpu-throttle-alert",
        "sys/class/thermal/cooling_device0/cur_state": "0",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(f"{text}\n")
    return path


@pytest.mark.slow
def test_the_first_throttle_is_a_result_with_temperatures_and_clocks(
    lasting: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = hot_device(tmp_path / "device")
    alert = root / "sys/class/thermal/cooling_device0/cur_state"

    def watch(*, long: bool) -> StateWatch:
        threading.Timer(2.0, alert.write_text, ["1\n"]).start()
        return StateWatch(root=root, period_s=0.02, long=long)

    monkeypatch.setattr("pytest_gaitperf.measure.sustained.StateWatch", watch)
    lasts(lasting, "3 s")
    lasting.run(*ARGUMENTS)
    cell = cell_of(lasting)
    assert cell.unmeasured is None
    assert cell.measurement is not None
    found = cell.measurement.sustained
    assert found is not None
    assert found.throttled_by == "cpu-throttle-alert (cooling_device0)"
    assert found.throttled_after_s is not None
    assert 0 < found.throttled_after_s < 3
    assert not found.throttled[0]
    assert found.throttled[-1]
    assert set(found.temperature_c) == {71.5}
    assert set(found.clock_hz) == {1.4e9}
    assert any("throttled after" in note for note in cell.measurement.notes)


@pytest.mark.slow
def test_a_device_that_is_throttled_before_is_to_cool_down(
    lasting: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = hot_device(tmp_path / "device")
    (root / "sys/class/thermal/cooling_device0/cur_state").write_text("1\n")
    monkeypatch.setattr(
        "pytest_gaitperf.measure.sustained.read_state", lambda: read_state(root=root)
    )
    shown = lasting.run(*ARGUMENTS)
    assert shown.ret == UNMEASURED
    assert "let it cool down first (--gaitperf-cooldown)" in str(cell_of(lasting).unmeasured)


@pytest.mark.parametrize(
    ("sustained", "more", "arguments", "message"),
    [
        ("soon", "", (), "sustained: 'soon' is not a time from 10 s to 24 h"),
        ("5 s", "", (), "'5 s' is not a time from 10 s to 24 h"),
        ("30 min", "most_subjects = true\n", (), "most_subjects cannot be sustained"),
        ("30 min", "best_under = 'p99 <= 40 ms'\n", (), "best_under cannot be sustained"),
        (
            *("30 min", "", ("--gaitperf-run-budget=600",)),
            "--gaitperf-run-budget=600: 1 load of 30 min to sustain take up to 30.2 min, 1815 s",
        ),
        (
            *("30 min", "", ("--gaitperf-against=.",)),
            "later-b1-c1-30min is one load without a break",
        ),
        ("30 min", "", ("--gaitperf-limit=sustained_ratio >= 95 ms",), "95 ms"),
    ],
)
def test_what_cannot_be_is_refused_before_measuring(
    offline: Project, sustained: str, more: str, arguments: tuple[str, ...], message: str
) -> None:
    (offline.path / "test_grid.py").unlink()
    shutil.copy(ROOT / "suites" / "test_sustained.py", offline.path)
    write_later(offline)
    lasts(offline, sustained, more)
    shown = offline.pytester.runpytest_inprocess(*offline.options, *ARGUMENTS, *arguments)
    text = " ".join((shown.stdout.str() + shown.stderr.str()).split())
    assert shown.ret == pytest.ExitCode.USAGE_ERROR, text
    assert message in text
    assert not (offline.path / "results.json").exists()


def test_without_a_sustained_grid_the_suite_has_no_tests(offline: Project) -> None:
    (offline.path / "test_grid.py").unlink()
    shutil.copy(ROOT / "suites" / "test_sustained.py", offline.path)
    shown = offline.pytester.runpytest_inprocess(*offline.options, "--collect-only", "-q")
    assert shown.ret == pytest.ExitCode.NO_TESTS_COLLECTED
