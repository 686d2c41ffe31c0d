"""What only a Jetson has: the module's name, the power mode, jetson_clocks."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from pytest_gaitperf.host.files import number, text

_MODULES = (
    # The device tree's words, in the order to look for them.
    ("AGX Orin", "Jetson AGX Orin"),
    ("Orin NX", "Jetson Orin NX"),
    ("Orin Nano", "Jetson Orin Nano"),
    ("Thor", "Jetson Thor"),
    ("Xavier NX", "Jetson Xavier NX"),
    ("AGX Xavier", "Jetson AGX Xavier"),
    ("Jetson-AGX", "Jetson AGX Xavier"),
    ("TX2", "Jetson TX2"),
    ("Nano", "Jetson Nano"),
)


def is_jetson(root: Path) -> bool:
    """Whether the device tree names a Tegra system on chip."""
    compatible = text(root / "proc/device-tree/compatible") or ""
    return "nvidia,tegra" in compatible or (root / "etc/nv_tegra_release").exists()


def module_name(root: Path) -> str:
    """Name the module, the same for every carrier board and JetPack.

    JetPack 5 says "NVIDIA Orin Nano Developer Kit", JetPack 6 "NVIDIA Jetson Orin Nano Engineering
    Reference Developer Kit Super".
    """
    model = text(root / "proc/device-tree/model") or ""
    for words, name in _MODULES:
        if words.lower() in model.lower():
            return name
    return model or "Jetson"


def modes_in(listing: str) -> dict[int, str]:
    """Return the modes' names by number, from ``nvpmodel.conf`` or ``nvpmodel -p --verbose``.

    Their lines are ``< POWER_MODEL ID=2 NAME=15W >`` and ``NVPM VERB: POWER_MODEL: ID=2 NAME=15W``.
    """
    lines = r"^\s*(?:<|NVPM VERB:)\s*POWER_MODEL:?\s+ID=(\d{1,9})\s+NAME=(\S+)"
    return {int(mode): name for mode, name in re.findall(lines, listing, re.MULTILINE)}


def power_mode(root: Path) -> str | None:
    """Name the power mode, e.g. ``15W``; None where the machine has none.

    ``var/lib/nvpmodel/status`` holds ``pmode:0002``, ``etc/nvpmodel.conf`` the names
    (``< POWER_MODEL ID=2 NAME=15W >``). Without those, ``nvpmodel -q`` is asked.
    """
    status = re.search(r"pmode:\s*(\d{1,9})", text(root / "var/lib/nvpmodel/status") or "")
    if status:
        names = modes_in(text(root / "etc/nvpmodel.conf") or "")
        return names.get(int(status[1]), f"mode{int(status[1])}")
    tool = shutil.which("nvpmodel")
    if root != Path("/") or tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, "-q"], capture_output=True, text=True, timeout=10.0, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    said = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return said[1] if said else None


def pinned_clocks(root: Path) -> bool:
    """Whether jetson_clocks is in force: it raises each CPU's minimum frequency to the maximum."""
    policies = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    limits = [
        (number(policy / "scaling_min_freq"), number(policy / "scaling_max_freq"))
        for policy in policies
    ]
    return bool(limits) and all(low is not None and low == high for low, high in limits)
