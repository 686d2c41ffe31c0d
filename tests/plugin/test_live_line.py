"""The live line in a terminal, as its screen shows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.terminals import Terminal

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LIVE = re.compile(r"1/1 steady-b1-c1: ")


@pytest.mark.slow
def test_one_line_tells_how_it_goes_fits_a_terminal_made_narrower_and_is_gone_at_the_end(
    project: Project,
) -> None:
    project.record()
    terminal = Terminal(100)
    seen: list[str] = []
    began: list[str] = []

    def watch(lines: list[str]) -> None:
        live = [line for line in lines if LIVE.match(line)]
        began.extend(
            one for one in lines if re.match(r"1 cell to measure \(up to \d s left\)", one)
        )
        assert len(live) <= 1, "one line, drawn over and over"
        if not live or seen[-1:] == live:
            return
        assert lines[-1] == live[0], "nothing of it on the next line"
        seen.extend(live)
        if "inf/s" in live[0] and len(live[0]) > 40:
            terminal.resize(40)

    arguments = [*project.options, project.grid("steady"), "--power=estimate:5", "-k", "throughput"]
    end = terminal.run("pytest", arguments, watch)
    wide, narrow = (next((one for one in seen if re.search(form, one)), "") for form in FORMS)
    assert wide, seen
    assert any(" W est." in line for line in seen), "of the last second, where it was read"
    assert narrow, seen
    assert end.code == 0
    assert not [line for line in end.lines if LIVE.match(line)]
    assert began, "it scrolls away at the end"
    assert any(re.match(r"test_grid\.py \.\s+\[100%\]", line) for line in end.lines), end.lines


FORMS = (
    r"^1/1 steady-b1-c1: [\d.]+ inf/s( \+-[\d.]+%)?(, [\d.]+ W est\.)?, up to \d s left$",
    r"^1/1 steady-b1-c1: [\d.]+ inf/s( \+-[\d.]+%)?, \d s left$",
)


@pytest.mark.slow
def test_ctrl_c_leaves_no_live_line_behind(project: Project) -> None:
    terminal = Terminal(60)
    pressed: list[bool] = []

    def watch(lines: list[str]) -> None:
        if not pressed and any(LIVE.match(line) and "inf/s" in line for line in lines):
            pressed.append(True)
            terminal.press(b"\x03")

    arguments = [*project.options, project.grid("steady"), "--gaitperf-budget=20"]
    end = terminal.run("pytest", [*arguments, "-v", "-k", "throughput"], watch)
    assert pressed
    assert end.code == pytest.ExitCode.INTERRUPTED
    assert any("KeyboardInterrupt" in line for line in end.lines)
    assert not [line for line in end.lines if LIVE.match(line) or "^C" in line]
