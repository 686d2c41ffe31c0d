"""Fake machines: the files of /proc, /sys and /etc that tell devices apart, as each writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Tree = dict[str, str]
    Planter = Callable[[Mapping[str, str]], Path]

_A78AE = "processor\t: {}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd42\n\n"
_CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq"


def _jetson(model: str, compatible: str, cores: int, memory_kb: int) -> Tree:
    tree = {
        "proc/device-tree/model": model + "\0",
        "proc/device-tree/compatible": compatible.replace(" ", "\0") + "\0",
        "proc/cpuinfo": "".join(_A78AE.format(core) for core in range(cores)),
        "proc/meminfo": f"MemTotal:        {memory_kb} kB\nMemFree:  1 kB\n",
        "proc/loadavg": "0.52 0.58 0.59 2/389 4711\n",
        "proc/sys/kernel/arch": "aarch64\n",
        "proc/sys/kernel/osrelease": "5.15.136-tegra\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 3.0, GCID: 1, BOARD: generic\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48531\n",
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "47250\n",
        "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "1\n",
        "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert\n",
        "sys/class/thermal/cooling_device1/cur_state": "0\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
        "sys/class/hwmon/hwmon2/name": "soctherm_oc\n",
        "sys/class/hwmon/hwmon2/oc3_event_cnt": "4\n",
        "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/name": "ina3221\n",
        "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_label": "VDD_IN\n",
        "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_crit_alarm": "0\n",
        "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_max_alarm": "0\n",
    }
    for core in range(cores):
        policy = _CPUFREQ.format(core)
        tree[f"{policy}/scaling_governor"] = "schedutil\n"
        tree[f"{policy}/scaling_cur_freq"] = "729600\n"
        tree[f"{policy}/scaling_min_freq"] = "729600\n"
        tree[f"{policy}/scaling_max_freq"] = "1510400\n"
    return tree


@pytest.fixture
def orin_nano() -> Tree:
    """A fake Orin Nano 8 GB on JetPack 6, in its 15 W mode."""
    return {
        **_jetson(
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit",
            "nvidia,p3768-0000+p3767-0005 nvidia,p3767-0005 nvidia,tegra234",
            6,
            7802856,
        ),
        "var/lib/nvpmodel/status": "pmode:0000\n",
        "etc/nvpmodel.conf": (
            "# comment < POWER_MODEL ID=9 NAME=NO >\n"
            "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=7W >\n"
        ),
    }


@pytest.fixture
def agx_orin() -> Tree:
    """A fake AGX Orin 64 GB, in its 30 W mode."""
    return {
        **_jetson(
            "NVIDIA Jetson AGX Orin Developer Kit",
            "nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234",
            8,
            64349388,
        ),
        "var/lib/nvpmodel/status": "pmode:0002\n",
        "etc/nvpmodel.conf": (
            "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n"
        ),
    }


@pytest.fixture
def gpu_server() -> Tree:
    """A fake x86-64 server with two GPUs."""
    return {
        "proc/cpuinfo": "".join(
            f"processor\t: {core}\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n\n"
            for core in range(16)
        ),
        "proc/meminfo": "MemTotal:       131912344 kB\n",
        "proc/sys/kernel/arch": "x86_64\n",
        "proc/driver/nvidia/gpus/0000:17:00.0/information": (
            "Model: \t\t NVIDIA H200\nIRQ:   \t\t 42\nGPU UUID: \t GPU-1111\n"
        ),
        "proc/driver/nvidia/gpus/0000:18:00.0/information": (
            "Model: \t\t NVIDIA H200\nIRQ:   \t\t 43\nGPU UUID: \t GPU-2222\n"
        ),
        "proc/driver/nvidia/version": (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.35.03  Fri Aug 16\n"
        ),
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7\n",
    }


@pytest.fixture
def plant(tmp_path: Path) -> Planter:
    """Write a fake machine's files, over those of the last call, and give their root."""

    def write(tree: Mapping[str, str]) -> Path:
        for name, content in tree.items():
            file = tmp_path / "machine" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return tmp_path / "machine"

    return write
