"""What a command that takes time shows meanwhile."""

from __future__ import annotations

from pathlib import Path

from tests.terminals import Terminal

RECORDED = Path(__file__).parents[2] / "baselines"
DOING = "computing what a run of 4 cells can detect"


def test_a_command_says_what_it_does_and_for_how_long_and_leaves_only_its_output() -> None:
    seen: list[str] = []
    profile = "--profile=x86_64-intel-xeon-16cpu-128gb-nvidia-h200"
    end = Terminal(100).run(
        "pytest_gaitperf.cli",
        ["baseline", "power", f"--baselines={RECORDED}", profile],
        lambda lines: seen.extend(line for line in lines if DOING in line),
    )
    assert end.code == 0
    assert any("0:00:0" in line for line in seen)
    assert not any(DOING in line for line in end.lines)
    assert end.lines[0].endswith("alpha 0.01 for a run of 4 cells")
