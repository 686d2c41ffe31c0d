"""Where [tool.gaitperf] is read from, and what its relative paths are taken from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.config.settings import project_settings
from pytest_gaitperf.errors import ConfigurationError
from tests.config.tables import load, write

if TYPE_CHECKING:
    from collections.abc import Mapping

PATHS = ("triton_repository", "power_trace", "baselines", "accuracy", "summary", "report", "json")
PLACED: Mapping[str, tuple[Any, Any]] = {
    **dict.fromkeys((*PATHS, "data", "against", "reference"), ("a/b", "{}/a/b")),
    "grid": ("a.toml", "{}/a.toml"),
    "power": ("replay:a.csv", "replay:{}/a.csv"),
}


@pytest.mark.parametrize("key", PLACED)
def test_a_tables_relative_paths_are_taken_from_its_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    given, expected = PLACED[key]
    (pytester.path / "a" / "b").mkdir(parents=True)
    (pytester.path / "elsewhere").mkdir()
    write(pytester, f"{key} = {json.dumps(given)}")
    assert str(getattr(project_settings(pytester.path), key)) == given, "short where it may be"
    monkeypatch.chdir(pytester.path / "elsewhere")
    settings = project_settings(pytester.path)
    assert str(getattr(settings, key)) == expected.format(pytester.path)
    assert getattr(load(pytester), key) == getattr(settings, key)


@pytest.mark.parametrize(
    "exports", ['"csv:a.csv"', '["csv:a.csv"]', '{ csv = "a.csv" }', '["csv:a.csv", "md:/b.md"]']
)
def test_so_are_those_of_exports(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, exports: str
) -> None:
    (pytester.path / "elsewhere").mkdir()
    write(pytester, f"exports = {exports}")
    monkeypatch.chdir(pytester.path / "elsewhere")
    found = project_settings(pytester.path).exports
    assert found["csv"] == pytester.path / "a.csv"
    assert found.get("md", Path("/b.md")) == Path("/b.md")


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("data", "zeros"),
        ("against", "2"),
        ("reference", "main"),
        ("grid", "full"),
        ("power", "nvml"),
        ("triton_repository", "/a"),
        ("triton_image", "a/b:1"),
        ("profile", "orin"),
    ],
)
def test_what_is_no_relative_path_stays(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, key: str, word: str
) -> None:
    (pytester.path / "elsewhere").mkdir()
    write(pytester, f"{key} = {json.dumps(word)}")
    monkeypatch.chdir(pytester.path / "elsewhere")
    assert str(getattr(project_settings(pytester.path), key)) == word
    assert load(pytester, "--gaitperf-baselines=x").baselines == Path("x")


def test_a_table_with_a_byte_order_mark_is_read(pytester: pytest.Pytester) -> None:
    (pytester.path / "pyproject.toml").write_bytes(b"\xef\xbb\xbf[tool.gaitperf]\nbudget = 3\n")
    assert project_settings(pytester.path).budget == 3


def test_a_table_that_pytest_leaves_unread_is_named(pytester: pytest.Pytester) -> None:
    write(pytester, "limits = ['latency_p99 <= 40 ms']")
    part = pytester.mkdir("part")
    (part / "pytest.ini").write_text("[pytest]\n")
    with pytest.raises(
        ConfigurationError, match=r"pyproject.toml has \[tool.gaitperf\], which is n"
    ):
        load(pytester, "part")
    assert load(pytester, "part", f"--rootdir={pytester.path}").limits
    (part / "pyproject.toml").write_text("[tool.gaitperf]\nbudget = 4\n")
    assert load(pytester, "part").budget == 4
