"""A fleet: every board runs the whole suite, one pytest gathers it.

The boards of these tests are processes on this machine under profiles of their own; they share its
lock, so that they measure in turns.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import baseline_files, make_faster

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def fleet(project: Project) -> Project:
    """The project without a profile: each board brings its own."""
    options = [option for option in project.options if not option.startswith("--gaitperf-profile")]
    return replace(project, options=(*options, "--dist=each", "-p", "no:cacheprovider"))


def board(name: str, profile: str = "", **more: str) -> str:
    """Return the option that adds a process as a board."""
    given = "".join(f"//{key}={value}" for key, value in more.items())
    return f"--tx=popen//id={name}//env:PYTEST_ADDOPTS=--gaitperf-profile={profile or name}{given}"


def test_boards_record_and_gate_under_their_profiles_and_one_that_cannot_start_is_named(
    fleet: Project,
) -> None:
    grid = fleet.grid("steady")
    outputs = ("--gaitperf-json=out/r.json", "--gaitperf-summary=s.md")
    broken = "--tx=popen//id=broken//python=/nonexistent/python"
    shown = fleet.run(
        grid, *outputs, board("nano"), board("orin"), broken, "--gaitperf-update=missing"
    )
    text = shown.stdout.str()
    assert shown.ret == pytest.ExitCode.INTERNAL_ERROR, text
    shown.assert_outcomes(passed=4, skipped=2)
    print(text)
    assert 0
