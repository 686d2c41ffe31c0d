from __future__ import annotations

from typing import TYPE_CHECKING

from tests.plugin.baselines import UNMEASURED
from tests.triton.models import write_model

if TYPE_CHECKING:
    import pytest

    from tests.plugin.conftest import Project

HOSTILE = "\x1b[2J\x1b[31mgone\n::error title=pwned::no\n##[group]hidden\r"


def test_a_servers_words_cannot_move_the_cursor_or_command_a_ci_system(
    offline: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    write_model(offline.path / "models", "broken", initialize_error=HOSTILE)
    shown = offline.run(
        "--triton-repository=models", offline.grid("broken"), "--gaitperf-json=results.json", "-v"
    )
    assert shown.ret == UNMEASURED
    text = shown.stdout.str() + shown.stderr.str()
    assert "pwned" in text  # it is shown, as letters
    assert "\x1b" not in text
    assert not any(line.lstrip().startswith("::error title=pwned") for line in text.splitlines())
    assert "##[group]" not in text
