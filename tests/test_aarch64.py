"""A Jetson's architecture: the wheels that it would get, and the light part of the tests on it.

`.ci/parts DIR` installs an aarch64 Python, which qemu-user runs; GAITPERF_PARTS=DIR names it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.parts import part

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
_LIGHT = (
    *("tests/power/test_imports.py", "tests/power/test_ring.py", "tests/power/test_rails.py"),
    "tests/test_errors.py",
)
_EXTRAS = ("jetson", "local", "nvidia", "suite")


@pytest.mark.parametrize("pinned", [True, False])
def test_every_wheel_is_there_for_jetpack_6(pinned: bool, tmp_path: Path) -> None:
    """Python 3.10 and glibc 2.35; jetson-stats is the version of the board's service."""
    what = (
        ("--require-hashes", "-r", ".ci/requirements/perf.txt")
        if pinned
        else ("-r", "pyproject.toml", *(f"--extra={extra}" for extra in _EXTRAS))
    )
    found = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--only-binary", ":all:"),
            *("--target", str(tmp_path), "--python-version", "3.10"),
            *("--python-platform", "aarch64-manylinux_2_35", *what),
        ],
        env={**os.environ, "PYTHONPATH": str(part("uv"))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    names = set(re.findall(r"^ \+ ([\w-]+)==", found.stderr, re.MULTILINE))
    assert {"numpy", "scipy", "msgspec", "nvidia-pytriton", "onnxruntime"} <= names
    assert pinned or "jetson-stats" in names


def test_the_light_part_of_the_tests_passes_there() -> None:
    root, qemu = part("aarch64"), which("qemu-aarch64-static")
    if qemu is None:
        pytest.skip("qemu-aarch64-static is not installed (Debian: qemu-user-static)")
    (python,) = (root / "usr/bin").glob("python3.[0-9]*")
    done = subprocess.run(
        [
            *(qemu, "-L", root, python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_LIGHT),
            *("-m", "not slow"),
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{root / 'site'}", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 30
