"""The reference pages name everything that the program knows."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.marker import MARKER_KEYS
from pytest_gaitperf.config.options import OPTIONS
from tests.docs.documents import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def generated() -> dict[str, Callable[[], str]]:
    """The parts of the reference, by the name that pages call them by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "docs" / "_ext"), *sys.path])
        from gaitperf_reference import GENERATED  # noqa: PLC0415 - on the path only now

    return GENERATED


def test_every_part_stands_on_a_page(generated: dict[str, Callable[[], str]]) -> None:
    asked = re.findall(
        r"^<!-- generated: (\S+) -->$",
        "\n".join(path.read_text() for path in PAGES),
        re.MULTILINE,
    )
    assert sorted(asked) == sorted(generated)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_an_option_is_told_with_its_keys_and_default(
    option: object, generated: dict[str, Callable[[], str]]
) -> None:
    flag, dest = (getattr(option, name) for name in ("flag", "dest"))
    sections = generated["options"]().split("\n## ")
    section = next(text for text in sections if text.removeprefix("## ").startswith(f"`{flag}`"))
    assert f"`{dest}`" in section
    shown = re.search(r"^\| default \| `?(.*?)`? \|$", section, re.MULTILINE)
    assert shown
    # Where the help names a value, the table has no other.
    told = re.search(r"\(default: (\S+)\)", section)
    assert not told or shown[1] in (told[1], "none")


def test_every_argument_of_the_marker_is_told(generated: dict[str, Callable[[], str]]) -> None:
    told = re.findall(r"^\| `(\w+)` \|", generated["markers"](), re.MULTILINE)
    assert told == list(MARKER_KEYS)


def test_fixtures_are_told_with_what_they_give(generated: dict[str, Callable[[], str]]) -> None:
    text = generated["fixtures"]()
    for name in ("triton_server", "power_meter", "perf_cell", "perf", "triton_load"):
        assert f"\n## `{name}`\n" in f"\n{text}"
    assert "`.gate(workload: Workload, quantity: str) -> None`" in text
    assert "_gaitperf" not in text.replace("pytest_gaitperf", "")


def test_every_command_and_action_has_its_help(generated: dict[str, Callable[[], str]]) -> None:
    text = generated["commands"]()
    for command in ("gaitperf models build", "gaitperf baseline diff", "gaitperf baseline export"):
        assert f"# `{command}`\n\n```text\nusage: {command}" in text


def test_the_schemas_tell_of_every_type(generated: dict[str, Callable[[], str]]) -> None:
    text = generated["results-schema"]()
    assert "| `schema` | `2` (optional) |" in text
    assert "| `metrics` | object of [Estimate](#estimate) |" in text
    assert "## BaselineFile" in generated["baseline-schema"]()
