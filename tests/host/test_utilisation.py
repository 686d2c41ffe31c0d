"""How busy the machine is, beside a load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_gaitperf.host.state import StateWatch
from pytest_gaitperf.host.utilisation import Gauges, Look, utilisation

S = 10**9


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """A tree in a Jetson's form: two CPUs, a GPU, a zone."""
    files = {
        "proc/stat": "cpu  9 9 9 9 9 9 9 9\ncpu0 100 0 50 800 50 0 0 0 0 0\n"
        "cpu1 0 0 0 1000 0 0 0 0 0 0\nintr 5\n",
        "proc/meminfo": "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable: 6000000 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1510400\n",
        "sys/class/devfreq/17000000.gpu/device/load": "437\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "624750000\n",
        "sys/class/devfreq/emc/cur_freq": "2133000000\n",
        "sys/class/thermal/thermal_zone0/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48500\n",
        "sys/class/thermal/thermal_zone1/temp": "none\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_look_at_a_jetson(jetson: Path) -> None:
    gauges = Gauges(jetson)
    first = gauges.look(0)
    (jetson / "proc/stat").write_text(
        "cpu0 200 0 50 800 50 0 0 0 0 0\ncpu1 0 0 0 1075 0 25 0 0 0 0\n"
    )
    (jetson / "sys/class/thermal/thermal_zone0/temp").write_text("51000\n")
    found = utilisation([((first, gauges.look(S)), (0, S))])
    gauges.close()
    assert found is not None
    assert found.cpus == {"0": 1.0, "1": 0.25}
    assert found.gpus == {"17000000.gpu": pytest.approx(0.437)}
    assert found.clocks_hz == {"cpu0": 1510400e3, "17000000.gpu": 624750000.0}
    assert found.memory_bytes == 2_000_000 * 1024
    assert found.temperatures_c == {"gpu-thermal": 51.0}
    assert (found.busy_cpus, found.slowest_hz, found.hottest_c) == (1.25, 624750000.0, 51.0)


def test_two_zones_of_one_type_have_a_name_each_and_no_file_stays_open(jetson: Path) -> None:
    zone = jetson / "sys/class/thermal/thermal_zone2"
    zone.mkdir()
    (zone / "type").write_text("gpu-thermal\n")
    (zone / "temp").write_text("45000\n")
    gauges = Gauges(jetson)
    look = gauges.look(0)
    gauges.close()
    found = utilisation([((look,), (0, S))])
    assert found is not None
    assert found.temperatures_c == {"gpu-thermal": 48.5, "gpu-thermal (thermal_zone2)": 45.0}
    opened = [one.resolve() for one in Path("/proc/self/fd").iterdir()]
    assert [one for one in opened if jetson.resolve() in one.parents] == []


def test_only_looks_within_the_load_count() -> None:
    def look(at_s: int, watts: float) -> Look:
        return Look(at_s * S, {"0": (at_s, 2 * at_s)}, {("gpus", "gpu0"): watts})

    looks = [look(0, 1.0), look(3, 0.2), look(4, 0.4), look(9, 1.0)]
    found = utilisation([(looks, (2 * S, 5 * S))])
    assert found is not None
    assert (found.looks, found.cpus) == (2, {"0": 0.5})
    assert found.gpus["gpu0"] == pytest.approx(0.3)
    assert utilisation([((), (0, S))]) is None


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    with StateWatch(period_s=0.02) as watch:
        start_ns = time.monotonic_ns()
        while len(watch.looks) <= 1 or watch.looks[-1].at_ns - watch.looks[0].at_ns < S // 10:
            pass
    found = utilisation([(watch.looks, (start_ns, time.monotonic_ns()))])
    assert found is not None
    assert found.busy_cpus is not None
    assert found.busy_cpus > 0
    assert found.memory_bytes is not None
    assert utilisation([([Gauges(tmp_path).look(1)], (0, 2))]) is not None
