"""Faults of the disk: full, or read-only, at every place that a run writes to."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.campaigns.fault_parts.bench import ROOT
from tests.campaigns.fault_parts.case import Kind
from tests.campaigns.fault_parts.servers import own_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.campaigns.fault_parts.case import Case

IS_ROOT = os.geteuid() == 0
_WITHOUT_POWERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root may write into any directory; without these two powers it is bound like others."""


def _read_only(case: Case, *folders: Path) -> None:
    """Take the right to write into folders, also from root."""
    if IS_ROOT:
        case.prefix = _WITHOUT_POWERS
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(0o555)
                case.stack.callback(path.chmod, mode)


def _disk(case: Case, size_kb: int) -> Path:
    """Mount a small disk."""
    folder = case.directory / "disk"
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder))
    case.stack.callback(_run, "umount", "-l", str(folder))
    return folder


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _fill(folder: Path) -> None:
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


def json_options(folder: Path) -> tuple[str, ...]:
    return (f"--gaitperf-json={folder / 'results.json'}",)


def export_options(folder: Path) -> tuple[str, ...]:
    return (f"--gaitperf-export=csv:{folder / 'table.csv'}",)


def summary_options(folder: Path) -> tuple[str, ...]:
    return (f"--gaitperf-summary={folder / 'summary.md'}",)


def trace_options(folder: Path) -> tuple[str, ...]:
    return ("--power=estimate:10", "--gaitperf-budget=4", f"--power-trace={folder / 'traces'}")


def read_only(options: Callable[[Path], tuple[str, ...]]) -> Callable[[Case], None]:
    """Return an injector that gives an output a folder that cannot be written to."""

    def inject(case: Case) -> None:
        folder = case.directory / "folder"
        _read_only(case, folder)
        case.start(*options(folder))

    return inject


def full(options: Callable[[Path], tuple[str, ...]]) -> Callable[[Case], None]:
    """Return an injector whose disk is full from the second cell on."""

    def inject(case: Case) -> None:
        folder = _disk(case, 64)
        case.start(*options(folder))
        case.within_second_cell()
        case.struck()
        _fill(folder)

    return inject


def baselines_read_only(case: Case) -> None:
    _read_only(case, case.baselines)
    case.start(f"--gaitperf-baselines={case.baselines}")


def baselines_full(case: Case) -> None:
    folder = _disk(case, 64)
    shutil.copytree(case.here, folder / "baselines" / "here")
    case.start(f"--gaitperf-baselines={folder / 'baselines'}")
    before = {path.name: path.read_bytes() for path in (folder / "baselines/here").iterdir()}

    def check() -> str:
        now = {path.name: path.read_bytes() for path in (folder / "baselines/here").iterdir()}
        return "" if now == before else f"baselines on the full disk: {sorted(now)}"

    case.checks.append(check)
    case.within_second_cell()
    case.struck()
    _fill(folder)


def cache_read_only(case: Case) -> None:
    (case.directory / "output.txt").touch()
    (case.directory / "grid.toml").touch()
    results = case.directory / "results"
    results.mkdir()
    case.results = results / "results.json"
    case.stack.callback(case.directory.chmod, 0o755)
    if IS_ROOT:
        case.prefix = _WITHOUT_POWERS
    case.directory.chmod(0o555)
    case.start(*(own_server_elsewhere(case) if case.random.random() < 0.5 else ()))


def own_server_elsewhere(case: Case) -> tuple[str, ...]:
    """Return the options of a server of the run's own, with its files outside the directory."""
    case.directory.chmod(0o755)
    options = own_server(case)
    case.directory.chmod(0o555)
    return options


def temporary_full(case: Case) -> None:
    folder = _disk(case, 256)
    case.environment["TMPDIR"] = str(folder)
    case.start(*own_server(case))


def models_read_only(case: Case) -> None:
    """Let the run build a reference network where it may not write."""
    name = "GaitSet_fp32_0_batchd"
    repository = case.directory / "models"
    shutil.copytree(
        ROOT / "model_repository" / name, repository / name, ignore=shutil.ignore_patterns("*.onnx")
    )
    _read_only(case, repository)
    case.calm = case.hurt = name
    case.start("--triton=local", f"--triton-repository={repository}")


def device(minor: int) -> Callable[[Case], None]:
    """Return an injector that lets the results go to a device: full (7), or null (3)."""

    def inject(case: Case) -> None:
        path = case.directory / "device"
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        case.checks.append(lambda: "" if path.is_char_device() else "the device was replaced")
        case.start(f"--gaitperf-json={path}")

    return inject


def _kind(
    name: str, inject: Callable[[Case], None], count: int, code: int, *says: str, kept: bool = False
) -> Kind:
    """Return a kind: what was measured is good, and may be recorded though an output is lost."""
    return Kind(
        name, "disk", inject, count, 1, 90, (code,), says, kept=kept, good=True, written=True
    )


_NOT = r"(cannot be written|cannot write|not writable|not a writable directory)"
_FULL = r"(No space left on device|free some space)"

READ_ONLY = (
    _kind("read-only: results", read_only(json_options), 3, 4, _NOT),
    _kind("read-only: export", read_only(export_options), 3, 4, _NOT),
    _kind("read-only: summary", read_only(summary_options), 3, 4, _NOT),
    _kind("read-only: power trace", read_only(trace_options), 3, 4, _NOT),
    _kind("read-only: baselines", baselines_read_only, 4, 10, _NOT),
    _kind("read-only: cache and log", cache_read_only, 4, 0, r"\d passed", kept=True),
    _kind("read-only: model repository", models_read_only, 3, 10, _NOT),
)
FULL = (
    _kind("disk full: results", full(json_options), 4, 10, _FULL),
    _kind("disk full: export", full(export_options), 4, 10, _FULL, kept=True),
    _kind("disk full: summary", full(summary_options), 4, 0, "no summary: ", kept=True),
    _kind("disk full: power trace", full(trace_options), 4, 10, _FULL, kept=True),
    _kind("disk full: baselines", baselines_full, 4, 10, _FULL, kept=True),
    _kind("disk full: temporary files", temporary_full, 4, 10, _FULL),
    _kind("results to /dev/full", device(7), 3, 10, _FULL),
    _kind("results to /dev/null", device(3), 2, 0, r"\d passed"),
)
KINDS = (*READ_ONLY, *(FULL if IS_ROOT else ()))
"""A disk of one's own takes root; so does a device file."""
