"""A board is not believed: what it sends is plain data within bounds, or it is lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import execnet
import pytest
from msgspec.structs import replace

from pytest_gaitperf.environment import Profile
from pytest_gaitperf.errors import BaselineError, ConfigurationError
from pytest_gaitperf.fleet.board import Board, problems
from pytest_gaitperf.fleet.conversation import Conversation
from pytest_gaitperf.fleet.fleet import _specs
from pytest_gaitperf.results import Outcome
from tests.report.runs import MIXED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOSTILE = "\x1b[2J\x9b31m\n::error::pwned ##[group]x \u202e"


def nested(depth: int) -> object:
    found: object = ()
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {},
        {"code": "0"},
        {"code": 0, "results": "[" * 100_000},
        {"code": 0, "results": "{}"},
        {"code": 0, "results": '{"schema": 2}'},
        {"code": 0, "results": '{"schema": "fleet-2"}'},
        {"code": 0, "baselines": {"a": 3}},
        {"code": 0, "tail": nested(100_000)},
        {"code": 0, "class": "os.system"},
        nested(100_000),
    ],
)
def test_what_is_no_end_loses_the_board(sent: object) -> None:
    board = Board("a", "here")
    board.take(sent)
    assert board.code is None
    assert board.run is None
    assert board.outcome is Outcome.UNMEASURED
    assert board.ending.startswith("lost: what it sent cannot be read: ")


@pytest.mark.parametrize("number", [9, 40, 63, 4000, 1 << 70])
def test_a_pytest_that_a_signal_ended_is_lost_whatever_the_signal(number: int) -> None:
    board = Board("a", "here")
    board.take({"code": -number})
    assert "its pytest was killed by" in board.ending


def test_its_words_cannot_drive_the_terminal() -> None:
    board = Board("a", "here")
    board.take({"code": 3, "tail": [f"INTERNALERROR {HOSTILE}"]})
    assert not {"\x1b", "\x9b", "\u202e"} & set(board.ending)
    assert "##[" not in board.ending


FORGED = "cells\n[b] green; exit code 0\r\x85[c] green"
IN_A_LINE = "cells [b] green; exit code 0 [c] green"


def test_its_words_pass_for_no_other_boards_line() -> None:
    board, said = Board("a", "here"), list[str]()
    conversation = Conversation([], {"a": board}, lambda _name: None, said.append)
    conversation._hear("a", ("line", f"1/1 {FORGED}"))
    board.take({"code": 3, "tail": [f"INTERNALERROR {FORGED}"]})
    board.run = replace(MIXED, profile=Profile(FORGED))
    assert said == [f"[a] 1/1 {IN_A_LINE}"]
    assert board.ending == f"unmeasured; exit code 3: INTERNALERROR {IN_A_LINE}"
    assert board.profile == IN_A_LINE


@pytest.mark.parametrize(
    "words",
    ["ssh=nano1//", "ssh", "ssh= ", "id", "popen//id=", "popen//env:A", "_a=b", "id=a//id=b"],
)
def test_what_is_no_board_is_said_with_how_one_looks(words: str) -> None:
    with pytest.raises(ConfigurationError, match="give words such as ssh=HOST//chdir=DIR"):
        _specs([words])


def test_it_changes_no_other_profiles_baselines() -> None:
    board = Board("a", "here")
    board.take({"code": 0, "baselines": {"nano/m.json": b"{}", "orin/m.json": b"{}"}})
    with pytest.raises(BaselineError, match="they are of nano, orin, and it is unknown"):
        board.check_own()


def answered(folder: Path, script: Sequence[str]) -> str:
    """Say what is wrong with a board whose Python is this script."""
    python = folder / "python"
    python.write_text("\n".join([f"#!{sys.executable}", "import sys", *script]) + "\n")
    python.chmod(0o755)
    spec = execnet.XSpec(f"popen//python={python}//id=a")
    return problems([spec])["a"]


@pytest.mark.parametrize(
    "script",
    [
        ["print(3)"],
        ["print('[[3, 12]]')"],
        ["print('[[\"3\", 12], {}]')"],
        ["print('[[3, 12], [1]]')"],
        ["print('[' * 10000)"],
        ["sys.stdout.buffer.write(bytes(range(256)))"],
        ["while True: print('y' * 1000)"],
    ],
)
def test_an_answer_that_is_none_is_named(script: list[str], tmp_path: Path) -> None:
    assert "is no Python there" in answered(tmp_path, script)


def test_what_is_said_around_an_answer_does_not_matter(tmp_path: Path) -> None:
    said = ["print('welcome to [[this board]]')", "print('[[3, 9], {}]')", "print('good bye')"]
    assert "is Python 3.9: 3.10 or newer is needed" in answered(tmp_path, said)
