from __future__ import annotations

import os
import platform
import re
import socket
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.host.identity import identify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.host.conftest import Planter, Tree


def test_an_orin_nano(plant: Planter, orin_nano: Tree) -> None:
    profile = identify(root=plant(orin_nano))
    assert profile.id == "jetson-orin-nano-8gb-15w"
    assert profile.fields == {
        "module": "Jetson Orin Nano",
        "sku": "p3767-0005",
        "arch": "aarch64",
        "cpu": "Cortex-A78AE",
        "cpus": "6",
        "memory": "8gb",
        "power_mode": "15W",
        "clocks": "dynamic",
    }
    assert profile.facts["l4t"] == "R36.3.0"
    assert profile.facts["kernel"] == "5.15.136-tegra"
    assert profile.facts["governor"] == "schedutil"
    assert profile.facts["compatible"].split()[-1] == "nvidia,tegra234"


def test_an_agx_orin(plant: Planter, agx_orin: Tree) -> None:
    assert identify(root=plant(agx_orin)).id == "jetson-agx-orin-64gb-mode_30w"


@pytest.mark.parametrize(
    ("compatible", "sku"),
    [
        ("nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0", "p3701-0005"),
        ("nvidia,p3768-0000+p3767-0003-super\0nvidia,p3767-0003\0nvidia,tegra234\0", "p3767-0003"),
        ("nvidia,p3509-0000+p3668-0001\0nvidia,tegra194\0", "p3668-0001"),
        ("vendor,carrier\0nvidia,p3701-0008\0nvidia,tegra234\0", "p3701-0008"),
        ("nvidia,jetson-nano\0nvidia,tegra210\0", None),
    ],
)
def test_the_module_is_told_by_its_number(
    plant: Planter, agx_orin: Tree, compatible: str, sku: str | None
) -> None:
    profile = identify(root=plant({**agx_orin, "proc/device-tree/compatible": compatible}))
    assert profile.fields.get("sku") == sku
    assert profile.id == "jetson-agx-orin-64gb-mode_30w", "its folder stays"


def test_a_server_with_gpus(plant: Planter, gpu_server: Tree) -> None:
    profile = identify(root=plant(gpu_server))
    assert profile.id == "x86_64-intel-xeon-platinum-8481c-16cpu-128gb-2x-nvidia-h200"
    assert profile.facts["nvidia_driver"] == "560.35.03"


def test_this_machine() -> None:
    profile = identify()
    assert re.fullmatch(r"[a-z0-9_-]+", profile.id)
    assert profile == identify()
    assert profile.fields["arch"] == platform.machine()
    assert profile.fields["cpus"] == str(len(os.sched_getaffinity(0)))
    told = {*profile.fields.values(), *profile.facts.values()}
    assert socket.gethostname() not in told


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("proc/sys/kernel/osrelease", "5.10.192-tegra\n"),
        ("etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 2\n"),
        ("proc/device-tree/model", "NVIDIA Orin Nano Developer Kit\0"),
        ("proc/device-tree/serial-number", "1423421003213\0"),
        ("proc/meminfo", "MemTotal:        7620604 kB\n"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1510400\n"),
    ],
)
def test_what_differs_between_two_of_a_kind_does_not_separate_them(
    plant: Planter, orin_nano: Tree, file: str, content: str
) -> None:
    one = identify(root=plant(orin_nano))
    other = identify(root=plant({**orin_nano, file: content}))
    assert (other.id, other.fields) == (one.id, one.fields)


@pytest.mark.parametrize(
    ("file", "content", "name"),
    [
        ("var/lib/nvpmodel/status", "pmode:0001\n", "jetson-orin-nano-8gb-7w"),
        ("var/lib/nvpmodel/status", "pmode:0005 fmode:quiet\n", "jetson-orin-nano-8gb-mode5"),
        ("proc/meminfo", "MemTotal:    3650000 kB\n", "jetson-orin-nano-4gb-15w"),
        ("proc/device-tree/model", "NVIDIA Jetson Orin NX\0", "jetson-orin-nx-8gb-15w"),
    ],
)
def test_what_separates_profiles_changes_the_name(
    plant: Planter, orin_nano: Tree, file: str, content: str, name: str
) -> None:
    assert identify(root=plant({**orin_nano, file: content})).id == name


def test_jetson_clocks_makes_another_profile(plant: Planter, orin_nano: Tree) -> None:
    pinned = {file: "1510400\n" for file in orin_nano if file.endswith("scaling_min_freq")}
    profile = identify(root=plant({**orin_nano, **pinned}))
    assert (profile.id, profile.fields["clocks"]) == ("jetson-orin-nano-8gb-15w-pinned", "pinned")


def test_clocks_that_a_sweep_holds_make_another_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    free = identify()
    monkeypatch.setenv("GAITPERF_CLOCKS", "gpu306-emc2133")
    held = identify()
    assert held.fields["clocks"].endswith("gpu306-emc2133")
    assert held.id == f"{free.id}-{held.fields['clocks']}".replace("-pinned-pinned", "-pinned")


@pytest.mark.parametrize(
    ("kilobytes", "memory"),
    [
        (24684096, "24gb"),
        (16777216, "16gb"),
        (16777217, "24gb"),
        (900000, "1gb"),
        (1500000, "1.5gb"),
    ],
)
def test_memory_is_rounded_up_to_a_size_that_is_sold(
    plant: Planter, gpu_server: Tree, kilobytes: int, memory: str
) -> None:
    tree = {**gpu_server, "proc/meminfo": f"MemTotal: {kilobytes} kB\n"}
    assert identify(root=plant(tree)).fields["memory"] == memory


def test_another_board_keeps_its_own_name(plant: Planter) -> None:
    profile = identify(
        root=plant(
            {
                "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
                "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
                "proc/sys/kernel/arch": "aarch64\n",
            }
        )
    )
    assert profile.id == "raspberry-pi-5-model-b-rev-1-0-aarch64-cortex-a76-1cpu"


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    profile = identify(root=tmp_path)
    assert profile.id.endswith("-unknown-cpu-0cpu")
    assert set(profile.facts) == {"python"}
