from __future__ import annotations

import errno
import math
import os
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power import rapl
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.sampled import SampledMeter
from pytest_gaitperf.power.sensor import Request, SensorAbsentError
from pytest_gaitperf.power.sysfs import RaplReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TREE = "sys/class/powercap"
SPAN = 262_143_328_850
DOMAINS = {
    "intel-rapl:0": ("package-0", 30.0),
    "intel-rapl:0:0": ("core", 12.0),
    "intel-rapl:0:1": ("uncore", 0.0),
    "intel-rapl:1": ("package-1", 20.0),
    "intel-rapl:2": ("psys", 80.0),
}


def plant(root: Path, span: int = SPAN) -> dict[str, Path]:
    files = {}
    for directory, (name, _) in DOMAINS.items():
        domain = root / TREE / directory
        domain.mkdir(parents=True)
        (domain / "name").write_text(f"{name}\n")
        (domain / "max_energy_range_uj").write_text(f"{span}\n")
        files[name] = domain / "energy_uj"
        files[name].write_text(f"{1_000_000:15d}\n")
    return files


@contextmanager
def counting(
    files: Mapping[str, Path], span: int = SPAN, begin: int = 1_000_000
) -> Iterator[dict[str, float]]:
    """A fake RAPL: counts the domains' watts every few milliseconds, wrapping at the span."""
    ended = threading.Event()
    watts = {name: power for name, power in DOMAINS.values() if name in files}

    def count() -> None:
        origin = time.monotonic()
        descriptors = {name: os.open(files[name], os.O_WRONLY) for name in watts}
        while not ended.wait(0.002):
            for name, descriptor in descriptors.items():
                joules = watts[name] * (time.monotonic() - origin)
                # In place and of one width: the file is never empty.
                os.pwrite(descriptor, b"%15d\n" % ((begin + round(joules * 1e6)) % (span + 1)), 0)
        for descriptor in descriptors.values():
            os.close(descriptor)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield watts
    finally:
        ended.set()
        thread.join()


def test_packages_make_the_total_and_their_parts_stay_apart(tmp_path: Path) -> None:
    with counting(plant(tmp_path)):
        sensor = rapl.find(Request(sysfs_root=tmp_path))
    assert sensor.total_rails == ("package-0", "package-1")
    assert sensor.rails == ("package-0", "package-0/core", "package-1", "psys")
    assert sensor.notes == ("package-0/uncore does not count and is left out",)
    assert not sensor.gpu_rails


def test_energy_over_a_counter_that_starts_again_at_its_end(tmp_path: Path) -> None:
    span = 9_000_000  # 9 J: at 30 W it wraps every 0.3 s, 50 times less would be resets
    files = plant(tmp_path, span)
    with (
        counting(files, span),
        closing(SampledMeter(rapl.find(Request(sysfs_root=tmp_path)))) as meter,
    ):
        meter.start()
        start = time.monotonic_ns()
        time.sleep(1.0)
        end = time.monotonic_ns()
        meter.stop()
        energy = integrate(meter.trace(start, end), start, end)
    assert energy.joules["package-0"] == pytest.approx(30.0 * energy.duration_s, rel=0.1)
    assert energy.joules["package-1"] == pytest.approx(20.0 * energy.duration_s, rel=0.1)


def test_a_counter_beside_the_total_that_rests_costs_its_figures_alone(tmp_path: Path) -> None:
    files = plant(tmp_path)
    with counting(files):
        sensor = rapl.find(Request(sysfs_root=tmp_path))
    del files["psys"]
    with counting(files), closing(SampledMeter(sensor)) as meter:
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.6)
        end = time.monotonic_ns()
        meter.stop()
        trace = meter.trace(start, end)
    assert trace.rails == ("package-0", "package-0/core", "package-1")
    energy = integrate(trace, start, end)
    assert energy.joules["package-0"] == pytest.approx(30.0 * energy.duration_s, rel=0.2)


def test_the_wrap_is_exact(tmp_path: Path) -> None:
    file = tmp_path / "energy_uj"
    reader = RaplReader([(str(tmp_path), 1000)], [0])
    sums = []
    for count in (900, 990, 5, 105):
        file.write_text(f"{count}\n")
        sums.append(reader.read())
    assert sums == [pytest.approx((joules * 1e-6,)) for joules in (0, 90, 106, 206)]


def test_a_domain_beside_the_total_that_vanishes_costs_its_figures_alone(tmp_path: Path) -> None:
    domains = [(str(tmp_path / name), 1000) for name in ("package", "core")]
    files = [tmp_path / name / "energy_uj" for name in ("package", "core")]
    for file in files:
        file.parent.mkdir()
    reader = RaplReader(domains, [0])
    seen = []
    for counts in ((0, 0), (10, 5), (20, None), (30, 900), (40, 910)):
        for file, count in zip(files, counts, strict=True):
            file.write_text("gone" if count is None else str(count))
        seen.append(reader.read())
    assert seen == [
        pytest.approx((package * 1e-6, core * 1e-6), nan_ok=True)
        for package, core in ((0, 0), (10, 5), (20, math.nan), (30, 5), (40, 15))
    ]


def test_a_counter_that_was_reset_is_no_wrap(tmp_path: Path) -> None:
    file = tmp_path / "energy_uj"
    reader = RaplReader([(str(tmp_path), SPAN)], [0])
    file.write_text("5000000\n")
    reader.read()
    file.write_text("10\n")
    with pytest.raises(MeterError, match=r"energy_uj fell from 5000000 to 10 .*it was reset"):
        reader.read()


def test_a_counter_that_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path)
    real = Path.read_text

    def refusing(path: Path, **how: Any) -> str:
        # The kernel's refusal, which root, who may run this test, would not get.
        if path.name == "energy_uj":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, **how)

    monkeypatch.setattr(Path, "read_text", refusing)
    with pytest.raises(MeterError, match=r"sudo chmod a\+r .*energy_uj"):
        rapl.find(Request(sysfs_root=tmp_path))


def test_a_virtual_machine_s_counter_that_stands_still(tmp_path: Path) -> None:
    plant(tmp_path)
    with pytest.raises(MeterError, match="stands still: RAPL is not available"):
        rapl.find(Request(sysfs_root=tmp_path))


def test_a_machine_without_rapl_names_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(SensorAbsentError, match=r"powercap/intel-rapl:\*/"):
        rapl.find(Request(sysfs_root=tmp_path))


def test_the_power_of_the_moment_is_told_from_the_counters_steps(tmp_path: Path) -> None:
    with (
        counting(plant(tmp_path)),
        closing(SampledMeter(rapl.find(Request(sysfs_root=tmp_path)))) as meter,
    ):
        assert meter.power_now_w() is None, "nothing was read yet"
        meter.start()
        time.sleep(0.5)
        assert meter.total_rails == ("package-0", "package-1")
        # A step is dated by the reading that first shows it, which a busy machine may delay.
        assert meter.power_now_w() == pytest.approx(50.0, rel=0.3)
