"""What boards recorded is joined with what is here, and checked as any file from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.fleet.board import baselines_in, take_in

if TYPE_CHECKING:
    from pathlib import Path

FINGERPRINT = Fingerprint("2.51.0", "in -> out", "http", "inline")


def record(root: Path, session: str, rate: float = 1.0) -> None:
    store = BaselineStore(root, "nano", {})
    store.record("m", "b1-c1", FINGERPRINT, {"throughput": Value(rate)})
    store.write(Provenance(session, "2026-11-22T00:00:00Z", recorder=session))


def recorded_by(name: str, given: dict[str, bytes], scratch: Path) -> dict[str, bytes]:
    """Return the files of a board that has recorded a session into what it was given."""
    mine = scratch / name
    (mine / "nano").mkdir(parents=True)
    for path, content in given.items():
        (mine / path).write_bytes(content)
    record(mine, f"20261122T000000Z-{name}")
    return baselines_in(mine)


def sessions(root: Path) -> set[str]:
    return set(json.loads((root / "nano" / "m.json").read_text())["sessions"])


def test_boards_of_one_profile_and_another_writer_all_keep_their_sessions(tmp_path: Path) -> None:
    root = tmp_path / "baselines"
    record(root, "old")
    given = baselines_in(root)
    boards = {name: recorded_by(name, given, tmp_path) for name in ("a", "b")}
    record(root, "meanwhile")
    for name, changed in boards.items():
        assert take_in(root, given, changed, name) == [root / "nano" / "m.json"]
    mine = {f"20261122T000000Z-{name}" for name in boards}
    assert sessions(root) == {"old", "meanwhile"} | mine


def test_the_first_baselines_of_a_profile_are_made(tmp_path: Path) -> None:
    root = tmp_path / "baselines"
    assert baselines_in(root) == {}
    assert take_in(root, {}, {}, "a") == []
    take_in(root, {}, recorded_by("a", {}, tmp_path), "a")
    assert sessions(root) == {"20261122T000000Z-a"}


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("../evil/m.json", b"{}"),
        ("nano/../../evil.json", b"{}"),
        ("/etc/m.json", b"{}"),
        (".git/m.json", b"{}"),
        ("nano/.hidden.json", b"{}"),
        ("nano/m.json", b"no JSON"),
        ("nano/m.json", b"{}"),
        ("nano/other.json", None),
        ("xavier/m.json", None),
    ],
)
def test_what_is_no_baseline_is_refused_with_nothing_written(
    tmp_path: Path, path: str, content: bytes | None
) -> None:
    root = tmp_path / "baselines"
    (good,) = recorded_by("a", {}, tmp_path).values()
    changed = {"nano/m.json": good, path: good if content is None else content}
    with pytest.raises(BaselineError):
        take_in(root, {}, changed, "a")
    assert not list(tmp_path.glob("**/evil*"))
    assert not list(root.glob("**/*.json"))


def test_a_session_that_is_here_with_other_values_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "baselines"
    changed = recorded_by("a", {}, tmp_path)
    record(root, "20261122T000000Z-a", rate=2.0)
    before = (root / "nano" / "m.json").read_bytes()
    with pytest.raises(BaselineError, match=r"sessions\['20261122T000000Z-a'\] differs"):
        take_in(root, {}, changed, "a")
    assert (root / "nano" / "m.json").read_bytes() == before
