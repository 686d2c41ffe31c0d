"""Every file is of the oldest Python, and of the newest: compiled by the real ones, where they are.

What the standard library lacks in an old one is mypy's business (``python_version``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_gaitperf.files import load_toml

ROOT = Path(__file__).parents[1]
COMPILE = """
import sys, warnings
warnings.simplefilter("error")
print("%d.%d" % sys.version_info[:2])
for path in sys.stdin.read().split("\\0"):
    with open(path, "rb") as file:
        compile(file.read(), path, "exec", dont_inherit=True)
"""


def promised() -> list[str]:
    """The versions that the package says it runs on."""
    project = load_toml(ROOT / "pyproject.toml")["project"]
    prefix = "Programming Language :: Python :: 3."
    return [each.rpartition(" ")[2] for each in project["classifiers"] if each.startswith(prefix)]


def interpreter(version: str) -> str | None:
    """Find a Python of this version, or None.

    In the directories of ``GAITPERF_PYTHONS``, then among those that pyenv holds (on PATH it has
    stand-ins only, and they refuse a version that is not chosen), then on PATH.
    """
    held = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    given = [os.environ.get("GAITPERF_PYTHONS", ""), *map(str, held.glob(f"{version}*/bin"))]
    on_path = [each for each in os.environ["PATH"].split(os.pathsep) if not each.endswith("/shims")]
    return shutil.which(f"python{version}", path=os.pathsep.join(given + on_path))


@pytest.mark.parametrize("version", [promised()[0], promised()[-1]])
def test_every_file_is_of_the_oldest_and_of_the_newest_python(version: str) -> None:
    found = interpreter(version)
    if found is None:
        pytest.skip(f"no python{version}: neither in GAITPERF_PYTHONS, nor pyenv's, nor on PATH")
    files = [
        str(file)
        for folder in ("pytest_gaitperf", "suites", "tests", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
    ]
    done = subprocess.run(
        [found, "-I", "-c", COMPILE],
        input="\0".join(files),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, version), done.stderr


def test_the_tools_check_for_the_oldest_of_them() -> None:
    document = load_toml(ROOT / "pyproject.toml")
    oldest = promised()[0]
    assert document["project"]["requires-python"] == f">={oldest}"
    assert document["tool"]["mypy"]["python_version"] == oldest
    assert document["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
