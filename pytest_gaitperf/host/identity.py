"""What this device is: the profile whose measurements may be compared with each other."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.environment import Profile
from pytest_gaitperf.files import int_at, text_at
from pytest_gaitperf.host.clocks import CLOCKS_SET
from pytest_gaitperf.host.gpu import lowered_limits
from pytest_gaitperf.host.modes import power_mode
from pytest_gaitperf.host.quota import read_quota

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMAND_S = 10.0
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


def identify(*, root: Path = Path("/")) -> Profile:
    """Tell what the machine below ``root`` is; tests give the root of a fake tree.

    ``id`` is a slug, safe as a directory name, of what tells kinds apart. ``fields`` separate
    profiles: module, sku, arch, cpu, cpus, cpu_quota, memory, gpu, power_mode and clocks, those
    that apply; a GPU's power limit that is not the factory's is a power mode, too. Two machines of
    one kind and mode have the same id and fields: no host name, no serial number.
    """
    board = text_at(root / "proc/device-tree/model")
    jetson = is_jetson(root)
    info = text_at(root / "proc/cpuinfo")
    fields: dict[str, str] = {}
    if jetson:
        fields["module"] = module_name(root)
        if sku := _sku(root):
            fields["sku"] = sku
    elif board:
        fields["module"] = board
    # A fake tree may be of another architecture than the machine that reads it.
    fields["arch"] = text_at(root / "proc/sys/kernel/arch") or platform.machine()
    fields["cpu"] = _cpu(info)
    # A container limited to some of the host's CPUs is another kind of device.
    here = root == Path("/")
    listed = len(re.findall(r"^processor\s*:", info, re.MULTILINE))
    fields["cpus"] = str(len(os.sched_getaffinity(0)) if here else listed)
    quota = read_quota(root=root)
    if quota is not None:
        fields["cpu_quota"] = f"{quota.cpus:g}"
    memory = _memory_class(root)
    if memory:
        fields["memory"] = memory
    gpu = None if jetson else _gpu(root)
    if gpu:
        fields["gpu"] = gpu
        # NVML speaks of the machine that runs this, not of a fake tree.
        limits = lowered_limits() if here else {}
        if limits:
            fields["power_mode"] = "-".join(f"{limit:g}w" for limit in limits.values())
    if jetson:
        fields["power_mode"] = power_mode(root) or "unknown"
    held = os.environ.get(CLOCKS_SET, "") if here else ""
    if jetson or held:
        words = ("pinned" if pinned_clocks(root) else "", held)
        fields["clocks"] = "-".join(filter(None, words)) or "dynamic"
    return Profile(_slug_of(fields, jetson=jetson), fields, _facts(root, board))


def is_jetson(root: Path) -> bool:
    """Whether the device tree names a Tegra system on chip."""
    compatible = text_at(root / "proc/device-tree/compatible")
    return "nvidia,tegra" in compatible or (root / "etc/nv_tegra_release").exists()


def module_name(root: Path) -> str:
    """Name the module, the same for every carrier board and JetPack.

    JetPack 5 says "NVIDIA Orin Nano Developer Kit", JetPack 6 "NVIDIA Jetson Orin Nano Engineering
    Reference Developer Kit Super".
    """
    model = text_at(root / "proc/device-tree/model")
    for words, name in _MODULES:
        if words.lower() in model.lower():
            return name
    return model or "Jetson"


def _sku(root: Path) -> str:
    """Return the module's number, as in p3767-0005, "" where the device tree has none.

    The tree names it alone or, behind a plus, with the carrier: ``nvidia,p3768-0000+p3767-0005``.
    """
    compatible = text_at(root / "proc/device-tree/compatible")
    numbers = re.findall(r"(?:^|[\0 ])nvidia,(?:[\w-]+\+)?(p\d{4}-\d{4})", compatible)
    return str(numbers[0]) if numbers else ""


def pinned_clocks(root: Path) -> bool:
    """Whether jetson_clocks is in force: it raises each CPU's minimum frequency to the maximum."""
    policies = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    limits = [
        (int_at(policy / "scaling_min_freq"), int_at(policy / "scaling_max_freq"))
        for policy in policies
    ]
    return bool(limits) and all(low is not None and low == high for low, high in limits)


def _slug_of(fields: Mapping[str, str], *, jetson: bool) -> str:
    if jetson:
        # Module and memory say which CPU and GPU there are; the mode which cores are on.
        parts = [fields["module"], fields.get("memory", ""), fields["power_mode"]]
    else:
        parts = [fields.get("module", ""), fields["arch"], fields["cpu"], f"{fields['cpus']}cpu"]
        parts += [fields.get("memory", ""), fields.get("gpu", ""), fields.get("power_mode", "")]
    parts += [fields["clocks"]] if fields.get("clocks", "dynamic") != "dynamic" else []
    slugs = (re.sub(r"[^a-z0-9_]+", "-", part.lower()).strip("-") for part in parts)
    return "-".join(slug for slug in slugs if slug)


def _cpu(info: str) -> str:
    model = re.search(r"^(?:model name|cpu model|cpu)\s*:\s*(.+)$", info, re.MULTILINE)
    if model:
        name = re.sub(r"\((?:R|TM|tm|r)\)|\bCPU\b|\bProcessor\b|@.*$", " ", model[1])
        return " ".join(name.split())
    part = re.search(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)", info, re.MULTILINE)
    maker = re.search(r"^CPU implementer\s*:\s*(0x[0-9a-fA-F]+)", info, re.MULTILINE)
    if part and maker:
        key = (int(maker[1], 16), int(part[1], 16))
        return _ARM_PARTS.get(key, f"arm {maker[1]}:{part[1]}")
    return "unknown CPU"


_ARM_PARTS = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}
"""MIDR implementer and part number, as the kernel's arch/arm64/include/asm/cputype.h names them."""


def _memory_class(root: Path) -> str | None:
    """Round memory up to a size that is sold, in GiB.

    The kernel and the firmware keep a few per cent for themselves, a little more or less with each
    version; 2^k and 1.5 x 2^k GiB are far enough apart to hide that.
    """
    total = re.search(r"MemTotal:\s*(\d{1,18}) kB", text_at(root / "proc/meminfo"))
    if total is None:
        return None
    gibibytes = int(total[1]) / 2**20
    size = 1.0
    while size < gibibytes:
        # 1, 1.5, 2, 3, 4, 6, 8, 12...: from a power of two by half, from the half by a third.
        size *= 1.5 if size.is_integer() and int(size) & (int(size) - 1) == 0 else 4 / 3
    return f"{round(size, 1):g}gb"


def _gpu(root: Path) -> str | None:
    models = []
    for card in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        model = re.search(r"^Model:\s*(.+)$", text_at(card), re.MULTILINE)
        models += [model[1].strip()] if model else []
    tool = shutil.which("nvidia-smi")
    if not models and root == Path("/") and tool:  # some containers hide /proc/driver
        listing = _output([tool, "--query-gpu=name", "--format=csv,noheader"])
        models = [line.strip() for line in listing.splitlines() if line.strip()]
    kinds = [
        f"{models.count(model)}x {model}" if models.count(model) > 1 else model
        for model in dict.fromkeys(models)
    ]
    return " + ".join(kinds) or None


def _facts(root: Path, board: str) -> dict[str, str]:
    memory = re.search(r"MemTotal:\s*(\d+ kB)", text_at(root / "proc/meminfo"))
    release = re.search(r'^PRETTY_NAME="?([^"\n]+)', text_at(root / "etc/os-release"), re.MULTILINE)
    tegra = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text_at(root / "etc/nv_tegra_release"))
    version = text_at(root / "proc/driver/nvidia/version")
    driver = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)?)", version)
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    highest = int_at(frequency / "cpuinfo_max_freq")
    facts = {
        "board": board,
        "compatible": text_at(root / "proc/device-tree/compatible").replace("\0", " "),
        "kernel": text_at(root / "proc/sys/kernel/osrelease"),
        "os": release[1] if release else None,
        "l4t": f"R{tegra[1]}.{tegra[2]}" if tegra else None,
        "nvidia_driver": driver[1] if driver else None,
        "memory_total": memory[1] if memory else None,
        "governor": text_at(frequency / "scaling_governor"),
        "cpu_max_frequency": f"{highest / 1000:g} MHz" if highest else None,
        "python": platform.python_version(),
    }
    return {name: value for name, value in facts.items() if value}


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
