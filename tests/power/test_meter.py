from __future__ import annotations

import re
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power import boundary, foreign
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.meter import Meter, check_choice, open_meter
from pytest_gaitperf.power.metering import Metering
from pytest_gaitperf.testing import ORIN_NANO
from tests.power.calibrations import BY_WALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.power.conftest import BoardMaker


@pytest.fixture(autouse=True)
def no_packages(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """This file is about the choice: a GPU or a service of the machine shall not take part."""
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "pynvml.py").write_text("raise ImportError\n")
    (hidden / "jtop.py").write_text("raise ImportError\n")
    monkeypatch.syspath_prepend(hidden)


@pytest.mark.parametrize("choice", ["auto", "ina3221"])
def test_a_board_with_a_monitor(hwmon_board: BoardMaker, choice: str) -> None:
    found = open_meter(choice, sysfs_root=hwmon_board(ORIN_NANO).root)
    assert found.meter is not None
    with closing(found.meter) as meter:
        assert (meter.name, meter.total_rails, meter.estimated) == ("ina3221", ("VDD_IN",), False)
        assert "Orin Nano" in meter.description


def test_auto_without_a_sensor_says_what_was_tried(tmp_path: Path) -> None:
    found = open_meter("auto", sysfs_root=tmp_path)
    assert found.meter is None
    assert [reason.partition(":")[0] for reason in found.tried] == [
        "ina3221",
        "jtop",
        "nvml",
        "rapl",
    ]
    assert "no power monitor found" in found.tried[0]


def test_none_opens_nothing(hwmon_board: BoardMaker) -> None:
    found = open_meter("none", sysfs_root=hwmon_board(ORIN_NANO).root)
    assert (found.meter, found.tried) == (None, ("none: no meter was asked for",))


def test_a_named_meter_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="--power=ina3221: no power monitor found"):
        open_meter("ina3221", sysfs_root=tmp_path)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (
            "wattmeter",
            r"=wattmeter is unknown; choose one of auto, none, ina3221, jtop, nvml",
        ),
        ("nmvl", r"\(did you mean 'nvml'\?\); choose one of"),
        (
            "esitmate:5",
            r"--power=esitmate:5 is unknown \(did you mean 'estimate'\?\); .*estimate:WATTS",
        ),
        ("auto:1", "auto takes nothing after its name"),
        ("", "is unknown"),
    ],
)
def test_an_unknown_meter_is_known_to_be_so_before_one_is_opened(choice: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check_choice(choice)


def test_auto_reads_the_sensor_before_it_chooses_it(hwmon_board: BoardMaker) -> None:
    board = hwmon_board(ORIN_NANO)
    board.channels["VDD_IN"][1].write_text("broken\n")
    found = open_meter("auto", sysfs_root=board.root)
    assert found.meter is None
    assert "curr1_input holds b'broken" in found.tried[0]


def test_named_rails_are_not_forgotten_when_no_meter_is_found(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="--power-rails=VDD_IN was given, but no meter was found"):
        open_meter("auto", rails=("VDD_IN",), sysfs_root=tmp_path)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install a package whose meter ``bench`` is the function ``find`` of this code."""

    def install(code: str) -> None:
        info = tmp_path / "bench_meter-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-meter\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[pytest_gaitperf.meters]\nbench = outside:find\n")
        (tmp_path / "outside.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "outside", raising=False)

    return install


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import pytest_gaitperf.errors as e\ndef find(_):\n    raise e.MeterError('off')\n",
            "--power=bench: off",
        ),
        ("def find(request):\n    return 1 / 0\n", r"outside:find failed \(ZeroDivisionError"),
        ("def find(request):\n    raise EOFError\n", r"outside:find failed \(EOFError"),
        ("import sys\ndef find(request):\n    sys.exit('no licence')\n", r"ended with 1 \(no li"),
        ("import os\ndef find(request):\n    os._exit(0)\n", "outside:find ended with 0"),
        ("import os\ndef find(request):\n    os.kill(os.getpid(), 11)\n", "killed by SIGSEGV"),
        (
            "import time\ndef find(request):\n    time.sleep(99)\n",
            "did not answer in 1 s and hangs",
        ),
        ("def find(request):\n    return 5.0\n", "gives a float, neither a Sensor nor a Meter"),
        ("import no_such_module\n", "cannot be imported .*no_such_module.*reinstall"),
        ("def found(request):\n    return None\n", "cannot be imported .*reinstall"),
    ],
)
def test_a_meter_of_another_package_that_fails_is_told_and_is_no_meter_of_auto(
    tmp_path: Path,
    outside: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    says: str,
) -> None:
    monkeypatch.setattr(boundary, "DEADLINE_S", 1.0 if "sleep" in code else 60.0)
    outside(code)
    with pytest.raises(MeterError, match=says):
        open_meter("bench", sysfs_root=tmp_path)
    found = open_meter("auto", sysfs_root=tmp_path)
    assert (found.meter, found.sick) == (None, True)
    assert found.tried[-1].startswith("bench: ")


OUTSIDE_METER = """
import time
from tests.power.fake_meter import FakeMeter

class Sick(FakeMeter):
    def trace(self, start_ns, end_ns):
        {trace}

def find(request):
    print("a library that prints")
    return Sick()
"""


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        ("return super().trace(start_ns, end_ns)", ""),
        ("return 5", "gave a int, no Trace"),
        ("raise SystemExit(3)", r"tried to exit \(3\)"),
        ("return 1 / 0", r"outside:find failed \(ZeroDivisionError"),
        ("time.sleep(99)", r"did not answer in 0\.2 s and hangs"),
        ("self.watts = float('nan'); return super().trace(start_ns, end_ns)", "no numbers"),
    ],
)
def test_whatever_a_meter_of_another_package_does_costs_the_energy_alone(
    outside: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, trace: str, says: str
) -> None:
    outside(OUTSIDE_METER.format(trace=trace))
    found = open_meter("bench").meter
    assert found is not None
    assert (found.name, found.total_rails) == ("fake", ("IN",))
    monkeypatch.setattr(foreign, "DEADLINE_S", 0.2 if "sleep" in trace else 60.0)
    metering = Metering(found)
    for _ in range(2):  # one that hangs is asked no second time
        metering.start()
        reading = metering.read("a cell", np.array([0, 10**9]))
        metering.stop()
        assert (reading.trace is None, reading.failed) == (bool(says), bool(says))
        assert re.search(says, reading.absent)
    found.close()


@pytest.mark.parametrize(
    ("rail", "says", "watts"),
    [
        ("IN", "CALIBRATED (calibrated by wall: x 1.1 +2 W; 24% unseen)", 13.0),
        ("OUT", "calibration is of fake with total OUT and is not applied", 10.0),
    ],
)
def test_a_calibration_is_applied_to_a_meter_of_another_package_where_it_is_of_that(
    outside: Callable[[str], None], rail: str, says: str, watts: float
) -> None:
    outside(OUTSIDE_METER.format(trace="return super().trace(start_ns, end_ns)"))
    calibration = replace(BY_WALL, meter="fake", rails=(rail,), sensor="")
    found = open_meter("bench", calibration=calibration).meter
    assert found is not None
    with closing(found) as meter:
        assert says in meter.description
        energy = integrate(meter.trace(0, 10**9), 0, 10**9)
    assert energy.mean_power_w(["IN"]) == pytest.approx(watts)
    assert energy.mean_power_w(["GPU"]) == pytest.approx(2.5)
    assert bool(Metering(found).correction) == (rail == "IN")


def test_a_sick_sensor_is_not_replaced_by_the_next(hwmon_board: BoardMaker) -> None:
    board = hwmon_board(ORIN_NANO)
    board.channels["VDD_IN"][1].write_text("broken\n")
    found = open_meter("auto", sysfs_root=board.root)
    assert (found.meter, found.sick, len(found.tried)) == (None, True, 1)
    reading = Metering(None, found.tried[0], sick=found.sick).read("a cell", np.array([0, 1]))
    assert reading.failed
    assert not reading.again


def test_a_sensor_of_another_package_is_sampled(outside: Callable[[str], None]) -> None:
    outside(
        "import itertools\n"
        "from pytest_gaitperf.power.sensor import Sensor\n"
        "class Bench:\n"
        "    def __init__(self, volts):\n"
        "        self.amperes = itertools.cycle((1.0, 1.5, 2.0))\n"
        "        self.volts = volts\n"
        "        print('a library that prints')\n"
        "    def read(self):\n"
        "        return (self.volts * next(self.amperes),)\n"
        "def find(request):\n"
        "    return Sensor('bench', 'a bench supply', ('out',), ('out',), (), 'power',\n"
        "        'outside:Bench', {'volts': float(request.argument)}, {'supply': ('out',)}, 0.01)\n"
    )
    found = open_meter("bench:12").meter
    assert found is not None
    with closing(found) as meter:
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.6)
        end = time.monotonic_ns()
        energy = integrate(meter.trace(start, end), start, end)
    assert energy.mean_power_w(meter.total_rails) == pytest.approx(18.0, rel=0.2)


def test_the_meters_of_this_package_are_meters(hwmon_board: BoardMaker) -> None:
    meter = open_meter("ina3221", sysfs_root=hwmon_board(ORIN_NANO).root).meter
    assert isinstance(meter, Meter)
    meter.close()
