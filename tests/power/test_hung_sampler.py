"""A sampler that hangs in the kernel, or is lost for good, costs the energy and not the run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power import ina3221
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request
from pytest_gaitperf.testing import ORIN_NANO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.testing import FakeBoard
    from tests.power.conftest import BoardMaker


@pytest.fixture
def board(hwmon_board: BoardMaker) -> FakeBoard:
    made = hwmon_board(ORIN_NANO)
    made.set("VDD_IN", 5000, 2000)
    return made


def meter_of(board: FakeBoard) -> SampledMeter:
    return SampledMeter(ina3221.find(Request(sysfs_root=board.root)))


@contextmanager
def hung(meter: SampledMeter) -> Iterator[None]:
    """Let the sampler hang as in the kernel, where no signal ends it."""
    process = meter._sampler._process

    def wait(timeout: float | None = None) -> NoReturn:
        raise subprocess.TimeoutExpired("the sampler", timeout or 0.0)

    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "kill", lambda: None)
            patch.setattr(process, "wait", wait)
            yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_gaitperf.power.sampled._ANSWER_S", 0.1)
        patch.setattr(SampledMeter, "_patience_s", 0.1)
        yield


def test_a_sampler_that_hangs_at_the_end_of_a_cell_is_another_one_in_the_next(
    board: FakeBoard,
) -> None:
    with closing(meter_of(board)) as meter:
        meter.start()
        with hung(meter):
            with impatient():
                meter.stop()
            assert meter.power_now_w() is None
            with pytest.raises(MeterError, match="was closed"):
                meter.trace(0, 1)
            meter.start()
            assert meter.power_now_w() == pytest.approx(10.0, rel=1e-3)


def test_a_sampler_that_hangs_at_the_start_of_a_cell_is_another_one_in_the_next(
    board: FakeBoard,
) -> None:
    with closing(meter_of(board)) as meter, hung(meter):
        with impatient(), pytest.raises(MeterError, match=r"did not answer in 0\.1 s"):
            meter.start()
        meter.start()
        assert meter.power_now_w() == pytest.approx(10.0, rel=1e-3)


def test_a_sampler_that_cannot_be_renewed_costs_the_energy_and_tells_no_power_of_the_moment(
    board: FakeBoard,
) -> None:
    with closing(meter_of(board)) as meter:
        metering = Metering(meter)
        metering.start()
        os.kill(meter.sampler_pid, signal.SIGKILL)
        meter._sampler._process.wait()
        board.channels["VDD_IN"][1].unlink()
        metering.start()
        assert metering.power_now_w() is None
        now_ns = time.monotonic_ns()
        reading = metering.read("a cell", np.array([now_ns - 10**9, now_ns]))
        metering.stop()
    assert (reading.trace, reading.failed) == (None, True)
    assert "curr1_input" in reading.absent
