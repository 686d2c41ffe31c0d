"""The composite action's steps as GitHub runs them, in a repository of a user on a real Triton."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.plugin.baselines import UNMEASURED
from tests.plugin.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.plugin.conftest import Project

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
FAKE_PYTHON = f"""#!/bin/sh
# A Python whose new environments are the one that runs here: pip has nothing to do there.
case "$2" in
venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
pip) exit "${{FAKE_PIP:-0}}" ;;
*) exec {sys.executable} "$@" ;;
esac
"""


def run_action(project: Project, temporary: Path, **inputs: str) -> tuple[int, str, dict[str, str]]:
    """Install, gate and set the outputs; return exit code, log, and the action's outputs.

    What comes after a failed installation is what always runs.
    """
    python = temporary / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    known = {f"inputs.{name}": one.get("default", "") for name, one in ACTION["inputs"].items()}
    known |= {f"inputs.{name}": value for name, value in inputs.items()}
    known |= {"inputs.python": str(python), "steps.install.outputs.folder": ""}
    install, gate, _, outputs = STEPS
    installed, written = _run_step(install, project.path, temporary, known)
    if installed.returncode:
        assert outputs["if"] == "always() && steps.install.outputs.folder != ''"
        assert written == {}
        return installed.returncode, installed.stdout + installed.stderr, {}
    known |= {f"steps.install.outputs.{name}": value for name, value in written.items()}
    gated, _ = _run_step(gate, project.path, temporary, known)
    done, written = _run_step(outputs, project.path, temporary, known)
    assert done.returncode == 0, done.stderr
    return gated.returncode, gated.stdout + gated.stderr, written


def _run_step(
    step: Mapping[str, Any], directory: Path, temporary: Path, known: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run a step as the runner does, with the values of its expressions; return its outputs too."""
    written = temporary / "output"
    written.write_text("")
    environment = {
        name: re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: known[found[1]], text)
        for name, text in step.get("env", {}).items()
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],  # noqa: S607
        cwd=directory,
        env=os.environ
        | {
            "RUNNER_TEMP": str(temporary),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(written),
        }
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done, dict(line.split("=", 1) for line in written.read_text().splitlines())


@pytest.mark.slow
def test_it_gates_every_model_with_the_suite_of_the_plugin(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project.record()
    (project.path / "test_grid.py").unlink()
    project.grid("steady", "refusing")
    (project.path / "pyproject.toml").write_text(
        "[tool.gaitperf]\nprofile = 'here'\ngrid = 'grid.toml'\npower = 'none'\n"
    )
    options = [one for one in project.options if "profile" not in one and "power" not in one]
    code, log, outputs = run_action(
        project,
        tmp_path_factory.mktemp("runner"),
        args=f"{shlex.join(options)} -k 'throughput or latency'",
    )
    assert code == UNMEASURED, log
    found = "profile here: unmeasured: 1 unmeasured, 1 pass"
    assert found in log, "the caller's configuration holds"
    passed = re.findall(r"--[\w-]+", log.splitlines()[0].partition("--triton")[0])
    ours = ["--gaitperf-json", "--gaitperf-journal", "--junitxml", "--rootdir"]
    assert passed == ours, "no input was given"
    assert {name: outputs[name] for name in ("outcome", "cells", "red", "unmeasured")} == {
        "outcome": "unmeasured",
        "cells": "2",
        "red": "0",
        "unmeasured": "1",
    }
    assert Path(outputs["results"]).name == "results.json"
    assert Path(outputs["results"]).parent == Path(outputs["junit"]).parent
    assert "test_throughput[steady-b1-c1]" in Path(outputs["junit"]).read_text()
    declared = {
        re.sub(r".*outputs\.([\w-]+) }}", r"\1", one["value"]) for one in ACTION["outputs"].values()
    }
    assert declared == set(outputs)


def test_no_input_reaches_a_shell(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code, log, outputs = run_action(
        project,
        tmp_path_factory.mktemp("runner"),
        suite="test_grid.py",
        models="$(touch shell)`touch shell`; touch shell #",
        args=f"{shlex.join(project.options)} --collect-only '$(touch shell)'",
    )
    assert code == pytest.ExitCode.USAGE_ERROR, log
    assert not (project.path / "shell").exists()
    assert "results" not in outputs


def test_each_use_in_a_job_has_its_own_files_and_one_that_is_not_installed_has_none(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = tmp_path_factory.mktemp("runner")
    project.pytester.makepyfile(test_plain="def test_it(): pass")
    uses = [
        run_action(project, runner, suite="test_plain.py", args="-p no:hypothesispytest")
        for _ in range(2)
    ]
    assert [code for code, _, _ in uses] == [0, 0], uses[0][1]
    reports = [Path(outputs["junit"]) for _, _, outputs in uses]
    assert reports[0] != reports[1]
    assert all("test_it" in report.read_text() for report in reports)
    monkeypatch.setenv("FAKE_PIP", "3")
    code, _, outputs = run_action(project, runner, suite="test_plain.py")
    assert (code, outputs) == (3, {})


def test_options_that_cannot_be_taken_apart_are_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code, log, outputs = run_action(project, tmp_path_factory.mktemp("runner"), args="-k 'open")
    assert (code, outputs) == (1, {})
    assert "the input args cannot be taken apart (No closing quotation): -k 'open" in log
