"""The product's meter on the kernel's own ina3221 driver, in a virtual machine.

`.ci/parts DIR` builds kernel and driver; GAITPERF_PARTS=DIR names them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.parts import part

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
_BOOT_S = 400.0
_QEMU = (
    *("-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "max", "-smp", "2", "-m", "1024"),
    *("-display", "none", "-nodefaults", "-no-reboot"),
    *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the meter said of each case, in the guest."""
    modules, qemu = part("kernel"), which("qemu-system-x86_64")
    if qemu is None:
        pytest.skip("qemu-system-x86_64 is not installed (Debian: qemu-system-x86)")
    directory = tmp_path_factory.mktemp("guest")
    console, answers = directory / "console", directory / "answers"
    guest = (
        f"cd {ROOT}; PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={os.pathsep.join(sys.path)} "
        f"{sys.executable} -m tests.power.kernel.guest {modules}"
    )
    subprocess.run(
        [
            qemu,
            *_QEMU,
            *("-kernel", modules / "vmlinuz", "-initrd", modules / "initrd"),
            *("-serial", f"file:{console}", "-serial", f"file:{answers}"),
            *("-append", f'console=ttyS0 quiet clocksource=hpet panic=-1 guest="{guest}"'),
        ],
        check=True,
        timeout=_BOOT_S,
    )
    cases = [json.loads(line) for line in answers.read_text().splitlines()]
    assert cases, console.read_text(errors="replace")[-2000:]
    return {case.pop("case"): case for case in cases}


def test_a_board_s_rails_and_shunts(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["Orin Nano"] == {
        "rails": ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"],
        "total": ["VDD_IN"],
        "gpu": ["VDD_CPU_GPU_CV"],
        "notes": [],
        "calibration": "shunts of 5000 uOhm",
    }
    assert seen["AGX Orin"]["rails"] == [
        "VDD_GPU_SOC",
        "VDD_CPU_CV",
        "VIN_SYS_5V0",
        "VDDQ_VDD2_1V8AO",
    ]
    assert seen["AGX Orin"]["total"] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert seen["chosen"]["total"] == ["VDD_CPU_GPU_CV"]
    assert seen["other shunt"]["calibration"] == "shunts of 100000 uOhm"


def test_auto_takes_it(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["opened"]["name"] == "ina3221"
    assert "in steps of 40 mW" in seen["opened"]["description"]


@pytest.mark.parametrize(
    ("case", "relative"),
    [("constant", 0.005), ("two chips", 0.005), ("sawtooth", 0.01), ("step", 0.01)],
)
def test_joules(seen: dict[str, dict[str, Any]], case: str, relative: float) -> None:
    """A guest gives some 60 readings a second: an edge of a wave is dated by 5 ms or so."""
    assert abs(seen[case]["error"]) < relative


def test_a_fast_wave_is_within_its_stated_error(seen: dict[str, dict[str, Any]]) -> None:
    case = seen["square 50 Hz"]
    assert abs(case["error"]) < 3 * case["stated"]


def test_a_channel_that_is_disabled_meanwhile_costs_itself_alone(
    seen: dict[str, dict[str, Any]],
) -> None:
    case = seen["part disabled meanwhile"]
    assert case["rails"] == ["VDD_IN", "VDD_CPU_GPU_CV"]
    assert case["note"].startswith("VDD_SOC, beside the total, could not be read")
    assert abs(case["error"]) < 0.005
    assert seen["part disabled"]["notes"] == ["rail VDD_SOC is disabled"]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("input disabled", "VDD_IN, a part of the total of .* channel is disabled"),
        ("input below its parts", "took .* more than the .* of VDD_IN, which contains them"),
        ("unbound meanwhile", "the sensor vanished: check that its driver is still bound"),
        ("unbound", "no power monitor found"),
        ("frozen", "0 new values .* the sensor is stuck"),
        ("one label twice", "VDD_IN@.-0040:1, VDD_IN@.-0041:1.*say which one counts"),
    ],
)
def test_what_is_refused_says_why(seen: dict[str, dict[str, Any]], case: str, says: str) -> None:
    assert re.search(says, seen[case]["refused"])
