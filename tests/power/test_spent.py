"""The joules of a block, on a fake board with a real sampler."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.power.meter import Meter, open_meter
from pytest_gaitperf.power.metering import Metering, measure_idle
from pytest_gaitperf.power.spent import Spent, spending
from pytest_gaitperf.testing import ORIN_NANO, Square
from tests.power.fake_meter import FakeMeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.power.conftest import BoardMaker

WATTS = 3.01  # 5 V x 600 to 604 mA


METER = FakeMeter(estimated=True)


@pytest.fixture
def meter(hwmon_board: BoardMaker) -> Iterator[Meter]:
    board = hwmon_board(ORIN_NANO)
    steady = Square(600, 600)
    board.drive({"VDD_IN": steady})
    meter = open_meter("ina3221", sysfs_root=board.root).meter
    assert meter is not None
    yield meter
    meter.close()


def test_a_block_has_joules_by_rail_power_time_and_error(meter: Meter) -> None:
    metering = Metering(meter)
    metering.idle.append(measure_idle(meter, 0.5))
    with spending(metering, meter) as spent:
        time.sleep(0.6)
    assert spent.duration_s >= 0.6
    assert spent.joules == pytest.approx(WATTS * spent.duration_s, rel=0.01)
    assert spent.mean_w == pytest.approx(WATTS, rel=0.01)
    assert set(spent.rails_j) == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}
    assert spent.rails_j["VDD_IN"] == spent.joules, "the board's input is the total"
    assert spent.relative_error is not None
    assert 0 < spent.relative_error < 0.01
    assert spent.above_idle_j == pytest.approx(0, abs=0.02 * spent.joules)
    assert spent.estimated is False


def test_without_an_idle_power_nothing_is_above_it() -> None:
    with spending(Metering(METER), METER) as spent:
        time.sleep(0.06)
    assert spent.joules == pytest.approx(10 * spent.duration_s)
    assert spent.above_idle_j is None
    assert spent.estimated is True


def test_a_block_too_short_for_the_meter_gives_no_number() -> None:
    with (
        pytest.raises(MeasurementError, match=r"took \S+ s, and fake resolves 0\.05 s or mor"),
        spending(Metering(METER), METER) as spent,
    ):
        pass
    with pytest.raises(AttributeError, match="joules is known when the block"):
        _ = spent.joules


def test_figures_are_not_there_before_the_end_and_others_never() -> None:
    with pytest.raises(AttributeError, match="mean_w is known when the block"):
        _ = Spent().mean_w
    with pytest.raises(AttributeError, match="'watts' is no figure of a block; it has joules, "):
        _ = Spent().watts


def test_one_thing_at_a_time() -> None:
    metering = Metering(METER)
    with spending(metering, METER) as spent:
        with (
            pytest.raises(MeasurementError, match=r"is measuring a block of power_meter\.measure"),
            spending(metering, METER),
        ):
            pass
        with pytest.raises(MeasurementError, match="one thing at a time"):
            metering.start()
        metering.stop()  # as after any cell that could not be measured
        time.sleep(0.06)
    assert spent.joules > 0
    metering.start()
    metering.start()  # a search goes from load to load
    with pytest.raises(MeasurementError, match="is measuring a cell"), spending(metering, METER):
        pass
    metering.stop()
    metering.check_free()


def test_an_error_in_the_block_is_the_test_s_own_and_frees_the_meter() -> None:
    metering = Metering(METER)
    with pytest.raises(KeyError), spending(metering, METER):
        raise KeyError("own")
    metering.check_free()
