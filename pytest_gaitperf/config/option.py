"""What one option is, and a command line without some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_gaitperf.config import values

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    import pytest


class Option(NamedTuple):
    """One setting: the flag, and how its text becomes a value.

    Tolerances and limits are only text here: ``settings.py`` reads them.
    """

    flag: str
    help: str
    convert: Callable[[Any], Any] = values.as_text
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    switch: bool = False
    merged: bool = False
    """Every place adds to it, by metric: the command line comes in parts, each converted."""
    repeated: bool = False
    """It may be given several times on the command line: the names add up."""
    key: str = ""

    @property
    def dest(self) -> str:
        """The attribute of Settings and the key in ``[tool.gaitperf]``."""
        return self.key or self.flag.lstrip("-").removeprefix("gaitperf-").replace("-", "_")

    @property
    def arguments(self) -> dict[str, Any]:
        """What argparse is told of its value."""
        if self.switch:
            return {"action": "store_true", "default": None}
        if self.choices:
            return {"choices": self.choices}
        action = {"action": "append"} if self.merged or self.repeated else {}
        return {"type": self.convert, "metavar": self.metavar, **action}

    @property
    def pytest_dest(self) -> str:
        """The attribute on pytest's options."""
        return f"gaitperf_{self.dest}"


def without(words: Iterable[str], flags: Container[str]) -> list[str]:
    """Return a command line without some options and their values."""
    kept, rest = [], iter(words)
    for word in rest:
        if word in flags:
            next(rest, None)  # its value is the next word
        elif word.partition("=")[0] not in flags:
            kept.append(word)
    return kept


def add_options(parser: pytest.Parser, options: Iterable[Option]) -> None:
    """Declare options on pytest's command line."""
    group = parser.getgroup("gaitperf", "gaitperf: throughput, latency, energy and CPU on Triton")
    for option in options:
        given = {"default": None, **option.arguments}
        group.addoption(option.flag, dest=option.pytest_dest, help=option.help, **given)
