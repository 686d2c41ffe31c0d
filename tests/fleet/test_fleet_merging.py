"""What boards send is joined with what is here, and checked as any file from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytest_gaitperf.fleet.board import LOST, Board, Report
from pytest_gaitperf.fleet.ending import markdown
from pytest_gaitperf.fleet.merging import baselines_of, take_in

from pytest_gaitperf.baseline.cells import Fingerprint
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, Provenance
from pytest_gaitperf.errors import BaselineError, ConfigurationError
from pytest_gaitperf.results_file import read_results

if TYPE_CHECKING:
    from pathlib import Path

FACTS = Fingerprint("2.51.0", "in -> out", "http", "inline")


def record(root: Path, session: str, *, model: str = "m", key: str = "b1-c1") -> None:
    store = BaselineStore(root, "nano", {})
    store.record(model, key, FACTS, {"throughput": Value(1.0)})
    store.write(Provenance(session, "2026-11-22T00:00:00Z", recorder=session))


def recorded_by(root: Path, name: str, given: dict[str, bytes], scratch: Path) -> Board:
    """Return a board that has recorded a session into what it was given."""
    mine = scratch / name
    (mine / "nano").mkdir(parents=True)
    for model, content in given.items():
        (mine / "nano" / f"{model}.json").write_bytes(content)
    record(mine, f"20261122T000000Z-{name}")
    files = {path.stem: path.read_text() for path in (mine / "nano").glob("*.json")}
    return Board(name, "here", "nano", given=given, report=Report(0, baselines=files))


def sessions(root: Path) -> set[str]:
    return set(json.loads((root / "nano" / "m.json").read_text())["sessions"])


def test_boards_of_one_profile_and_another_writer_all_keep_their_sessions(tmp_path: Path) -> None:
    root = tmp_path / "baselines"
    record(root, "old")
    given = baselines_of(root, "nano")
    boards = [recorded_by(root, name, given, tmp_path) for name in ("a", "b")]
    record(root, "meanwhile")
    assert take_in(root, boards) == [root / "nano" / "m.json"]
    mine = {f"20261122T000000Z-{name}" for name in ("a", "b")}
    assert sessions(root) == {"old", "meanwhile"} | mine
    assert [board.why for board in boards] == ["", ""]


def test_the_first_baselines_of_a_profile_are_made(tmp_path: Path) -> None:
    root = tmp_path / "baselines"
    assert baselines_of(root, "nano") == {}
    take_in(root, [recorded_by(root, "a", {}, tmp_path)])
    assert sessions(root) == {"20261122T000000Z-a"}


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("../evil", "{}"),
        (".hidden", "{}"),
        ("m", "no JSON"),
        ("m", "{}"),
        ("other", None),
    ],
)
def test_what_is_no_baseline_is_not_written_and_the_others_are(
    tmp_path: Path, model: str, text: str | None
) -> None:
    root = tmp_path / "baselines"
    good, bad = (recorded_by(root, name, {}, tmp_path) for name in ("good", "bad"))
    assert bad.report is not None
    whole = bad.report.baselines["m"]
    bad.report.baselines = {model: whole if text is None else text}
    take_in(root, [bad, good])
    assert [path.relative_to(root).as_posix() for path in root.rglob("*.json")] == ["nano/m.json"]
    assert sessions(root) == {"20261122T000000Z-good"}
    assert bad.why.startswith("its baselines were not taken: ")
    assert good.why == ""


@pytest.mark.parametrize("profile", ["../nano", "", "/etc", ".git"])
def test_a_profile_that_is_no_name_is_refused(tmp_path: Path, profile: str) -> None:
    with pytest.raises(BaselineError, match="profile name"):
        baselines_of(tmp_path, profile)


def test_the_index_of_a_fleet_names_where_the_results_are(tmp_path: Path) -> None:
    index = tmp_path / "r.json"
    index.write_text('{"schema": "fleet-1", "boards": []}')
    with pytest.raises(ConfigurationError, match="give the files of its boards"):
        read_results(index)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["code", "results", "text", "problems", "verdicts", "baselines"])


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(_FIELDS, anything) | anything)
@example({"\n": None})
@example({"code": 1, "verdicts": {"\n": 1}, "problems": ["a\nb\x1b[2J"]})
def test_whatever_a_board_sends_it_has_an_end_in_a_line(sent: object) -> None:
    board = Board("a", "here", "nano")
    board.take(sent)
    assert board.report is not None or (board.code == LOST and board.why)
    assert not {"\n", "\x1b"} & set(board.ending)
    assert "a" in markdown([board])
