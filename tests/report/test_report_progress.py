"""The live line: at a desk's terminal, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pytest_gaitperf.report.progress import Progress


@pytest.mark.parametrize(
    ("isatty", "ci", "shown"),
    [(True, "", ["warming up"]), (False, "", []), (True, "true", [])],
    ids=["terminal", "pipe", "terminal on CI"],
)
def test_a_live_line_is_for_a_person_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, isatty: bool, ci: str, shown: list[str]
) -> None:
    monkeypatch.setenv("CI", ci)
    lines: list[str] = []
    reporter = SimpleNamespace(
        isatty=isatty,
        currentfspath=None,
        rewrite=lambda text, **_: lines.append(text),
        _tw=SimpleNamespace(width_of_current_line=0, fullwidth=80),
    )
    plugins = SimpleNamespace(get_plugin={"terminalreporter": reporter}.get)
    config = SimpleNamespace(pluginmanager=plugins, get_verbosity=lambda: 0)
    Progress(cast("pytest.Config", config)).live("warming up")
    assert lines == shown
