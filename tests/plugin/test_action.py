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


def run_action(project: Project, temporary: Path, **inputs: str) -> tuple[int, str, dict[str, str]]:
    """Gate and set the outputs; return exit code, log, and the action's outputs."""
    python = temporary / "gaitperf" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    given = {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | inputs
    environment = os.environ | {
        "RUNNER_TEMP": str(temporary),
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_OUTPUT": str(temporary / "output"),
    }
    _, gate, _, outputs = ACTION["runs"]["steps"]
    done = [
        subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],  # noqa: S607
            cwd=project.path,
            env=environment | _values(step.get("env", {}), given),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        for step in (gate, outputs)
    ]
    assert done[1].returncode == 0, done[1].stderr
    written = (temporary / "output").read_text().splitlines()
    return (
        done[0].returncode,
        done[0].stdout + done[0].stderr,
        dict(line.split("=", 1) for line in written),
    )


def _values(environment: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Fill in the inputs, which is all that the expressions of the action name."""
    return {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], text)
        for name, text in environment.items()
    }


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
    assert outputs["results"].endswith("/gaitperf/results.json")
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


def test_options_that_cannot_be_taken_apart_are_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code, log, outputs = run_action(project, tmp_path_factory.mktemp("runner"), args="-k 'open")
    assert (code, outputs) == (1, {})
    assert "the input args cannot be taken apart (No closing quotation): -k 'open" in log
