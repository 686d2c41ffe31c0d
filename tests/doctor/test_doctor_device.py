"""Clocks, heat, energy and others' load, on fake machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.doctor import installation
from pytest_gaitperf.doctor import machine as checks
from pytest_gaitperf.host.state import read_state
from pytest_gaitperf.host.watch import Busy, watch_usage
from pytest_gaitperf.testing import ORIN_NANO, Square
from tests.doctor.conftest import QUIET, machine, only

if TYPE_CHECKING:
    from tests.host.conftest import Planter, Tree
    from tests.power.conftest import BoardMaker

CPU = "sys/devices/system/cpu/cpu{}/cpufreq"
ZONE = "sys/class/thermal/thermal_zone0"
SOURCE = "sys/devices/system/clocksource/clocksource0"


def test_a_jetson_tells_its_mode_and_that_its_clocks_are_free(
    orin_nano: Tree, plant: Planter
) -> None:
    looked_at = machine(plant(orin_nano))
    mode = only(checks.power_mode, looked_at, "power mode")
    assert (mode.state, mode.what) == ("ok", "Jetson Orin Nano in mode 15W")
    free = only(checks.power_mode, looked_at, "jetson_clocks")
    assert (free.state, free.command) == ("warn", "sudo jetson_clocks")


def test_pinned_clocks_of_a_jetson_are_no_matter_of_its_governor(
    orin_nano: Tree, plant: Planter
) -> None:
    pinned = {f"{CPU.format(core)}/scaling_min_freq": "1510400\n" for core in range(6)}
    looked_at = machine(plant({**orin_nano, **pinned}))
    assert only(checks.power_mode, looked_at, "jetson_clocks").state == "ok"
    assert not list(checks.governor(looked_at))


def test_each_governor_is_counted_and_another_than_performance_warned_of(
    orin_nano: Tree, plant: Planter
) -> None:
    mixed = {f"{CPU.format(0)}/scaling_governor": "performance\n"}
    found = only(checks.governor, machine(plant({**orin_nano, **mixed})))
    assert found.what.startswith("performance on 1 CPUs, schedutil on 5 CPUs: ")
    assert "CPUs differ" in found.what
    assert (found.state, "scaling_governor" in found.command) == ("warn", True)
    steady = {f"{CPU.format(core)}/scaling_governor": "performance\n" for core in range(6)}
    assert only(checks.governor, machine(plant({**orin_nano, **steady}))).state == "ok"


def test_a_quota_on_the_container_is_named(orin_nano: Tree, plant: Planter) -> None:
    assert list(checks.quota(machine(plant(orin_nano)))) == []
    quota = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "100000 100000\n",
        "sys/fs/cgroup/cpu.stat": "throttled_usec 2500000\n",
    }
    found = only(checks.quota, machine(plant({**orin_nano, **quota})))
    assert found.state == "warn"
    assert "a quota of 1 CPUs" in found.what
    assert "stopped it for 2.5 s" in found.what
    assert "energy is not measured" in found.advice


def test_a_device_that_is_slowed_now_is_unfit(orin_nano: Tree, plant: Planter) -> None:
    assert only(checks.throttling, machine(plant(orin_nano))).state == "ok"
    hot = {"sys/class/thermal/cooling_device1/cur_state": "1\n"}
    found = only(checks.throttling, machine(plant({**orin_nano, **hot})))
    assert found.state == "fix"
    assert "gpu-throttle-alert" in found.what


@pytest.mark.parametrize(
    ("limit", "state", "left"), [(99000, "ok", 50), (60000, "warn", 11), (48000, "fix", -1)]
)
def test_the_headroom_to_the_trip_point_decides(
    orin_nano: Tree, plant: Planter, limit: int, state: str, left: int
) -> None:
    trips = {f"{ZONE}/trip_point_0_type": "passive\n", f"{ZONE}/trip_point_0_temp": f"{limit}\n"}
    found = only(checks.heat, machine(plant({**orin_nano, **trips})))
    assert found.state == state
    assert found.what == f"cpu-thermal 49 C, {left} C below its limit of {limit / 1000:.0f} C"


def test_a_slow_clock_source_is_warned_of_with_the_better_one(
    orin_nano: Tree, plant: Planter
) -> None:
    slow = {
        f"{SOURCE}/current_clocksource": "hpet\n",
        f"{SOURCE}/available_clocksource": "hpet acpi_pm tsc\n",
    }
    found = only(checks.clock_source, machine(plant({**orin_nano, **slow})))
    assert (found.state, found.command[:16]) == ("warn", "echo tsc | sudo ")


def test_the_board_s_monitor_is_found_with_rails_period_and_quantum(
    hwmon_board: BoardMaker,
) -> None:
    board = hwmon_board(ORIN_NANO)
    board.drive(dict.fromkeys(board.channels, Square(600, 900, 0.1)))
    found = only(checks.power_sensor, machine(board.root))
    assert found.state == "ok"
    for words in ("ina3221: Jetson Orin Nano", "VDD_IN", "updates every", "in steps of", "mW"):
        assert words in found.what
    assert "s or more has joules" in found.advice


def test_without_a_sensor_a_machine_is_fit_unless_energy_is_needed(tmp_path: Path) -> None:
    # nvml speaks of the machine that the tests run on: none is asked here.
    settings = Settings(power="none")
    found = only(checks.power_sensor, machine(tmp_path, settings=settings))
    assert (found.state, "energy is skipped" in found.what) == ("warn", True)
    assert only(
        checks.power_sensor, machine(tmp_path, settings=settings, needs_energy=True)
    ).state == ("fix")


def test_a_named_sensor_that_is_not_there_is_to_be_fixed(tmp_path: Path) -> None:
    found = only(checks.power_sensor, machine(tmp_path, settings=Settings(power="ina3221")))
    assert found.state == "fix"
    assert "--power=ina3221: no power monitor found" in found.what


def test_an_estimate_is_no_sensor(tmp_path: Path) -> None:
    settings = Settings(power="estimate:5")
    found = only(checks.power_sensor, machine(tmp_path, settings=settings, needs_energy=True))
    assert (found.state, "is no sensor" in found.what) == ("fix", True)


CLOSED = {
    "sys/class/powercap/intel-rapl:0/energy_uj": ("warn", "sudo chmod a+r /sys/class/powercap/"),
    "run/jtop.sock": ("warn", "sudo usermod -aG jtop $USER"),
    "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_input": ("fix", "sudo chmod a+r /"),
}


@pytest.mark.parametrize(("name", "expected"), CLOSED.items())
def test_a_sensor_that_this_user_may_not_read_comes_with_the_command(
    orin_nano: Tree,
    plant: Planter,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    expected: tuple[str, str],
) -> None:
    # Root may read everything, whatever the mode: the system's answer is what is faked.
    jetson = {} if "powercap" in name else orin_nano
    looked_at = machine(plant({**jetson, name: "1\n"}))
    assert not list(checks.rights(looked_at))
    monkeypatch.setattr(os, "access", lambda path, _mode: not str(path).endswith(name))
    found = only(checks.rights, looked_at)
    assert found.state == expected[0]
    assert found.command.startswith(expected[1])


@pytest.mark.parametrize(
    ("cpus", "state"), [(0.09, "ok"), (0.15, "warn"), (0.3, "fix")], ids=["quiet", "some", "much"]
)
def test_others_load_counts_by_its_share_and_is_named(
    tmp_path: Path, cpus: float, state: str
) -> None:
    usage = replace(QUIET, others=cpus, top=(Busy("make", 4711, cpus),))
    found = only(checks.cpu, machine(tmp_path, usage=usage))
    assert found.state == state
    assert found.what == f"others keep {cpus:.2f} of 4 CPUs busy: make (4711) {cpus:.2f}"


def test_what_the_hypervisor_took_is_told(tmp_path: Path) -> None:
    usage = replace(QUIET, stolen=1.2)
    assert only(checks.cpu, machine(tmp_path, usage=usage), "steal").state == "fix"


def test_a_moment_s_look_sees_another_process_and_not_this_one() -> None:
    # A grandchild: children are this run's own.
    code = (
        "import subprocess, sys; spinning = [sys.executable, '-Sc', 'while True: pass']; "
        "child = subprocess.Popen(spinning); print(flush=True); child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-Sc", code], start_new_session=True, stdout=subprocess.PIPE
    ) as parent:
        try:
            assert parent.stdout is not None
            parent.stdout.readline()  # its own start counts no more
            usage = watch_usage(0.5)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)
    assert usage.others > 0.1
    assert list(usage.top) == sorted(usage.top, key=lambda one: -one.cpus)
    assert usage.top
    # More than there is: a process that changed its name would count with its whole past.
    assert usage.top[0].cpus < 1.5 * usage.cpus
    assert not {os.getpid(), parent.pid} & {one.pid for one in usage.top}


def test_a_gpu_that_others_use_is_told_with_their_names(fake_nvml: Any) -> None:
    fake_nvml.busy_percent, fake_nvml.pids = 40, (os.getppid(),)
    try:
        first, second = checks.gpu(machine(Path("/")))
    finally:
        fake_nvml.busy_percent, fake_nvml.pids = 0, ()
    assert first.state == "fix"
    assert first.what.startswith("gpu0 is 40% busy, used by ")
    assert f"({os.getppid()})" in first.what
    assert (second.state, second.what) == ("ok", "gpu1 is 0% busy")


def test_the_gpu_s_own_limit_counts_for_the_headroom(fake_nvml: Any) -> None:
    fake_nvml.temperature = 85
    try:
        found = only(checks.heat, machine(Path("/")))
    finally:
        fake_nvml.temperature = 41
    assert (found.state, found.what) == ("warn", "gpu0 85 C, 5 C below its limit of 90 C")


def test_a_jetson_s_gpu_load_is_read_from_devfreq(orin_nano: Tree, plant: Planter) -> None:
    load = {"sys/class/devfreq/17000000.gpu/device/load": "120\n"}
    found = only(checks.gpu, machine(plant({**orin_nano, **load})))
    assert (found.state, found.what) == ("warn", "17000000.gpu is 12% busy")


def test_memory_and_swap_are_told_by_what_is_left(tmp_path: Path) -> None:
    info = tmp_path / "proc/meminfo"
    info.parent.mkdir()

    def states(available_kib: int, swap_free_kib: int, paged: int = 0) -> list[str]:
        info.write_text(
            f"MemTotal: 8000000 kB\nMemAvailable: {available_kib} kB\n"
            f"SwapTotal: 4000000 kB\nSwapFree: {swap_free_kib} kB\n"
        )
        looked_at = machine(tmp_path, usage=replace(QUIET, paged=paged))
        return [finding.state for finding in installation.memory(looked_at)]

    assert states(4_000_000, 4_000_000) == ["ok", "ok"]
    assert states(900_000, 1_000_000) == ["warn", "warn"]
    assert states(100_000, 4_000_000, paged=7) == ["fix", "warn"]


def test_shared_memory_that_is_missing_is_to_be_fixed(tmp_path: Path) -> None:
    assert only(installation.shared_memory, machine(tmp_path)).state == "fix"


@pytest.mark.parametrize(
    ("users", "states"),
    [([], ["ok"]), (["runner"], ["ok"]), (["root"], ["warn"]), (["a", "b"], ["fix", "ok", "ok"])],
    ids=["none", "own user", "root", "two"],
)
def test_one_runner_with_a_user_of_its_own_is_as_it_should_be(
    tmp_path: Path, users: list[str], states: list[str]
) -> None:
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    for user in users:
        service = folder / f"actions.runner.org-repo.{user}.service"
        service.write_text(f"[Service]\nExecStart=/x/runsvc.sh\nUser={user}\n")
    assert [finding.state for finding in installation.runner(machine(tmp_path))] == states


def test_the_lowest_trip_point_that_slows_counts(orin_nano: Tree, plant: Planter) -> None:
    root = plant(
        {
            **orin_nano,
            f"{ZONE}/trip_point_0_type": "active\n",
            f"{ZONE}/trip_point_0_temp": "51000\n",
            f"{ZONE}/trip_point_1_type": "critical\n",
            f"{ZONE}/trip_point_1_temp": "104500\n",
            f"{ZONE}/trip_point_2_type": "passive\n",
            f"{ZONE}/trip_point_2_temp": "99000\n",
            f"{ZONE}/trip_point_3_type": "passive\n",
            f"{ZONE}/trip_point_3_temp": "-274000\n",
        }
    )
    (found,) = checks.headrooms(read_state(root=root), root=root)
    assert found == ("cpu-thermal", 48.531, 99.0)
    assert round(found.left_c, 3) == 50.469
