from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power import ina3221
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request
from pytest_gaitperf.testing import ORIN_NANO, Square

if TYPE_CHECKING:
    from pytest_gaitperf.testing import FakeBoard
    from tests.power.conftest import BoardMaker

SQUARE = Square(1000, 3000, 0.2)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def board(hwmon_board: BoardMaker) -> FakeBoard:
    return hwmon_board(ORIN_NANO)


def meter_of(board: FakeBoard) -> SampledMeter:
    return SampledMeter(ina3221.find(Request(sysfs_root=board.root)))


def sampler_of(meter: SampledMeter) -> int:
    return meter._sampler._process.pid


def wait_until_gone(pid: int) -> None:
    """Wait for a process that is not our child; a zombie is gone too."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} lives on")


def test_energy_of_a_square_wave_while_this_process_spins(board: FakeBoard) -> None:
    board.drive({"VDD_IN": SQUARE, "VDD_SOC": SQUARE._replace(high_ma=-500)})
    with closing(meter_of(board)) as meter:
        meter.start()
        start = time.monotonic_ns()
        spins = 0
        while time.monotonic_ns() < start + 2_000_000_000:
            spins += 1
        end = time.monotonic_ns()
        energy = integrate(meter.trace(start, end), start, end)
    for rail in ("VDD_IN", "VDD_SOC"):
        # 5 V; the edges of the wave fall between two readings.
        assert energy.joules[rail] == pytest.approx(board.joules(rail, start, end), rel=0.05)
    assert energy.joules["VDD_CPU_GPU_CV"] == pytest.approx(1.0 * energy.duration_s, rel=1e-6)
    assert energy.fresh > 5


def test_the_update_period_is_measured(board: FakeBoard) -> None:
    board.drive(dict.fromkeys(board.channels, SQUARE), update_s=0.05)
    with closing(meter_of(board)) as meter:
        # The machine may delay updates, never hurry them; their quartile is what was seen.
        assert 0.02 < meter.timing.period_s < 0.3
        assert meter.minimum_window_s == max(0.5, 20 * meter.update_period_s)
        assert "updates every" in meter.description
        # 1 mA at 5 V, or the few that the fake's last digit wavers by.
        assert all(0.004 < step < 0.03 for step in meter.timing.steps)
        assert "in steps of" in meter.description


def test_an_update_period_that_does_not_show_is_assumed_and_said(board: FakeBoard) -> None:
    with closing(meter_of(board)) as meter:
        assert meter.timing.period_s == 0
        assert meter.minimum_window_s == pytest.approx(20 * 0.05)
        assert "not seen, 50 ms assumed" in meter.description


def test_the_power_of_the_moment_is_told_at_once_and_only_while_it_is_read(
    board: FakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_gaitperf.power.sampled._NOW_S", 0.2)
    board.set("VDD_IN", 5000, 2000)
    with closing(meter_of(board)) as meter:
        meter.start()
        time.sleep(0.3)
        assert meter.power_now_w() == pytest.approx(10.0, rel=1e-3)
        meter.stop()
        time.sleep(4 * meter.update_period_s + 0.3)
        assert meter.power_now_w() is None


def test_a_window_between_start_and_stop_is_covered_to_its_edges(board: FakeBoard) -> None:
    board.drive({"VDD_IN": SQUARE})
    with closing(meter_of(board)) as meter:
        meter.start()
        start = time.monotonic_ns()
        meter.start()
        time.sleep(0.5)
        end = time.monotonic_ns()
        meter.stop()
        meter.stop()
        trace = meter.trace(start, end)
        assert trace.rails == ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
        assert trace.times_ns[0] <= start
        assert trace.times_ns[-1] >= end
        assert np.all(trace.values[:, 1] == 1.0)
        with pytest.raises(MeterError, match="after the end"):
            meter.trace(start, time.monotonic_ns())


def test_a_window_that_began_before_sampling_is_refused(board: FakeBoard) -> None:
    start = time.monotonic_ns()
    with closing(meter_of(board)) as meter:
        meter.start()
        time.sleep(0.1)
        meter.stop()
        with pytest.raises(MeterError, match="before the start"):
            meter.trace(start, start + 10**9)


@pytest.mark.slow
def test_a_cell_that_the_sampler_lost_is_worth_a_second_measurement_and_no_third(
    board: FakeBoard,
) -> None:
    board.drive({"VDD_IN": SQUARE})
    readings = []
    with closing(meter_of(board)) as meter:
        metering = Metering(meter)
        for pause_s in (0.4, 0.4, 0.0, 0.4):
            metering.start()
            start = time.monotonic_ns()
            time.sleep(0.3)
            if pause_s:
                os.kill(sampler_of(meter), signal.SIGSTOP)
                time.sleep(pause_s)
                os.kill(sampler_of(meter), signal.SIGCONT)
            time.sleep(0.3)
            readings.append(metering.read("a cell", np.array([start, time.monotonic_ns()])))
            metering.stop()
    assert "no reading came" in readings[0].absent
    assert [(one.failed, one.again) for one in readings] == [
        (True, True),
        (True, False),
        (False, False),
        (True, True),
    ]


def test_a_window_that_a_slow_meter_does_not_resolve_asks_for_more_and_is_no_fault_of_it(
    board: FakeBoard,
) -> None:
    sensor = replace(ina3221.find(Request(sysfs_root=board.root)), nominal_period_s=0.1)
    with closing(SampledMeter(sensor)) as meter:
        metering = Metering(meter)
        metering.start()
        start = time.monotonic_ns()
        reading = metering.read("a cell", np.array([start, start + 10**9]))
        metering.stop()
    assert reading.absent == ("1.0 s were measured, ina3221 needs 2.0 s: raise --gaitperf-budget")
    assert (reading.failed, reading.again) == (True, False)


def test_a_killed_sampler_is_an_error_at_the_next_trace_and_renewed_by_start(
    board: FakeBoard,
) -> None:
    board.drive({"VDD_IN": SQUARE})
    with closing(meter_of(board)) as meter:
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.1)
        os.kill(sampler_of(meter), signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(MeterError, match="sampler of ina3221 was killed by SIGKILL"):
                meter.trace(start, time.monotonic_ns())
        meter.stop()
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.5)
        end = time.monotonic_ns()
        assert integrate(meter.trace(start, end), start, end).joules["VDD_IN"] > 0


def test_a_sensor_file_that_vanishes_is_named(board: FakeBoard) -> None:
    with closing(meter_of(board)) as meter:
        meter.start()
        start = time.monotonic_ns()
        board.channels["VDD_IN"][1].unlink()
        with pytest.raises(MeterError, match=r"curr1_input: .*driver is still bound"):
            meter.trace(start, time.monotonic_ns() + 10**8)


def test_garbage_in_a_sensor_file_is_shown(board: FakeBoard) -> None:
    with closing(meter_of(board)) as meter:
        meter.start()
        start = time.monotonic_ns()
        board.put(board.channels["VDD_IN"][0], "4.9 volts\n")
        with pytest.raises(MeterError, match=r"in1_input holds b'4.9 volts\\n' instead of an int"):
            meter.trace(start, time.monotonic_ns() + 10**8)


def test_a_sensor_that_does_not_move_is_an_error_never_a_figure(board: FakeBoard) -> None:
    with closing(meter_of(board)) as meter:
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.3)
        with pytest.raises(MeterError, match=r"hwmon3: 0 new values among \d+ readings.*stuck"):
            meter.trace(start, time.monotonic_ns())


def test_a_closed_meter_says_so(board: FakeBoard) -> None:
    meter = meter_of(board)
    meter.start()
    pid = sampler_of(meter)
    meter.close()
    meter.close()
    wait_until_gone(pid)
    with pytest.raises(MeterError, match="was closed"):
        meter.trace(0, 1)


def test_ctrl_c_is_for_the_parent(board: FakeBoard) -> None:
    board.drive({"VDD_IN": SQUARE})
    with closing(meter_of(board)) as meter:
        meter.start()
        start = time.monotonic_ns()
        os.kill(sampler_of(meter), signal.SIGINT)
        time.sleep(0.5)
        assert meter.trace(start, time.monotonic_ns()).times_ns.size > 2


def test_the_sampler_ends_with_a_parent_that_was_killed(board: FakeBoard) -> None:
    parent = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pytest_gaitperf.power.meter import open_meter\n"
        "meter = open_meter('ina3221', sysfs_root=Path(sys.argv[1])).meter\n"
        "meter.start()\n"
        "print(meter._sampler._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, str(board.root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as process:
        assert process.stdout is not None
        sampler = int(process.stdout.readline())
        process.kill()
    wait_until_gone(sampler)


def test_a_reader_that_cannot_be_imported_shows_its_last_words(board: FakeBoard) -> None:
    sensor = replace(ina3221.find(Request(sysfs_root=board.root)), reader="no_such_module:Reader")
    with pytest.raises(MeterError, match=r"ended with 1 \(ModuleNotFoundError: .*no_such_module"):
        SampledMeter(sensor)


def test_a_driver_that_blocks_until_a_fresh_conversion(
    board: FakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # JetPack 5: each read waits for the converter; no plain file can, so a fake reader does.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    sensor = replace(
        ina3221.find(Request(sysfs_root=board.root)),
        reader="fake_blocking:BlockingReader",
        arguments={"conversion_s": 0.02},
    )
    with closing(SampledMeter(sensor)) as meter:
        assert meter.timing.read_s >= 0.02
        assert meter.timing.interval_s >= meter.timing.read_s
        assert meter.timing.blocks
        assert "a reading blocks for" in meter.description
        meter.start()
        start = time.monotonic_ns()
        time.sleep(1.0)
        end = time.monotonic_ns()
        energy = integrate(meter.trace(start, end), start, end)
    assert energy.joules["VDD_IN"] == pytest.approx(3.0 * energy.duration_s, rel=0.01)


@pytest.mark.slow
def test_a_driver_that_blocks_at_every_file_is_asked_for_the_total_more_often(
    board: FakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    sensor = ina3221.find(Request(sysfs_root=board.root))
    sensor = replace(
        sensor,
        reader="fake_blocking:BlockingFiles",
        arguments={**sensor.arguments, "conversion_s": 0.0066},
    )
    with closing(SampledMeter(sensor)) as meter:
        # Two conversions a reading: the current of the total, and one of the five others in turn.
        assert 0.0132 <= meter.timing.read_s < 6 * 0.0066
        assert meter.timing.interval_s == pytest.approx(meter.timing.read_s)
        board.set("VDD_IN", 5000, 600)
        meter.start()
        board.set("VDD_IN", 5000, 1200)
        board.set("VDD_SOC", 5000, 300)
        time.sleep(0.5)  # every file's turn has come
        start = time.monotonic_ns()
        time.sleep(0.5)
        for milliamps in (1204, 1196, 1204, 1196, 1204, 1200):  # else the chip were stuck
            board.set("VDD_IN", 5000, milliamps)
            time.sleep(0.15)  # a file that was replaced is noticed when its turn comes
        end = time.monotonic_ns()
        energy = integrate(meter.trace(start, end), start, end)
    assert energy.joules["VDD_IN"] == pytest.approx(6.0 * energy.duration_s, rel=0.01)
    assert energy.joules["VDD_SOC"] == pytest.approx(1.5 * energy.duration_s, rel=0.01)


def test_a_sensor_that_stays_busy_is_an_error(
    board: FakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    sensor = replace(
        ina3221.find(Request(sysfs_root=board.root)),
        reader="fake_blocking:BusyReader",
        arguments={},
    )
    with pytest.raises(MeterError, match=r"answered busy for 0\.5 s"):
        SampledMeter(sensor)


def test_a_read_that_hangs_does_not_hang_the_parent(
    board: FakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr("pytest_gaitperf.power.sampled._ANSWER_S", 0.1)
    sensor = replace(
        ina3221.find(Request(sysfs_root=board.root)),
        reader="fake_blocking:BlockingReader",
        arguments={"conversion_s": 1000.0},
    )
    with pytest.raises(MeterError, match=r"sampler of ina3221 did not answer in 0\.4 s"):
        SampledMeter(sensor)


def test_the_sampler_carries_no_numpy(board: FakeBoard) -> None:
    # It draws from the rail that it reads, and starts with each session.
    with closing(meter_of(board)) as meter:
        mapped = Path(f"/proc/{sampler_of(meter)}/maps").read_text()
    assert "python" in mapped
    assert "numpy" not in mapped
