"""Baselines come with a branch: whatever stands in them, every action prints harmless text."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.cli import main
from pytest_gaitperf.errors import BaselineError
from pytest_gaitperf.report.exporters import FORMATS
from tests.baseline.recording import record, steady

HOSTILE = "\x1b]0;title\x07\x9b2J\n::error file=a::gone ##[group]x \u202eb =1+1"
"""A terminal's title, a command to GitHub's runner, a folded group, text that runs backwards."""

ACTIONS = (
    "list",
    "list --all",
    "list --json=-",
    "show",
    "show --sessions",
    "show --json=-",
    "sensitivity",
    "sensitivity --json=-",
    "diff --between before baselines",
    "diff --between before baselines --markdown",
    "diff --between before baselines --json=-",
    "prune --models=* --dry-run",
    "prune --models=* --dry-run --json=-",
    *(f"export --format={name}" for name in FORMATS),
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    steady(last=4)
    Path("baselines").rename("before")
    steady(last=6)


def spoil(path: Path, name: str, *, keys: bool) -> None:
    """Put hostile text wherever a baseline file takes any, into the cells' names with ``keys``."""
    document = json.loads(path.read_text())
    document["model"] = name
    document["profile"]["fields"] = {HOSTILE: HOSTILE}
    for recording in document["sessions"].values():
        for key in ("triton", "signature", "plugin", "recorder", "commit", "content", "data"):
            recording[key] = HOSTILE
    for cell in document["cells"].values():
        cell["workload"] = {"protocol": HOSTILE, "transport": HOSTILE, "version": HOSTILE}
        cell["workload"] |= {"shapes": {HOSTILE: [2]}, "data": HOSTILE}
    for values in document["cells"]["b1-c1"]["sessions"].values():
        values["energy_per_inference"][3] = HOSTILE
    if keys:
        document["cells"] = {HOSTILE + key: cell for key, cell in document["cells"].items()}
    for key in document["environments"]:
        document["environments"][key] = {HOSTILE: HOSTILE}
    (path.parent / f"{name}.json").write_text(json.dumps(document))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", [HOSTILE, "=1+1", "::add-mask::x", "a" * 19 + "::error::x"])
def test_no_action_prints_an_escape_or_a_command(
    action: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # An export takes no cell whose name says no load.
    spoil(Path("baselines/orin/3D.json"), name, keys="export" not in action)
    main(["baseline", *action.split()])
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
        assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]
        assert "##[" not in text
    assert captured.out
    if "csv" in action:
        header = captured.out.splitlines()[0]
        assert not [name for name in header.split(",") if name[:1] in ("=", "+", "-", "@")]


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_no_file_is_refused_at_once(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("baselines/orin/4D.json")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for action in ACTIONS:
        assert main(["baseline", *action.split()]) == 1
        assert "4D.json: cannot read the baseline" in capsys.readouterr().err
    with pytest.raises(BaselineError, match=r"4D\.json: cannot read the baseline"):
        BaselineStore(Path("baselines"), "orin", {}).check()
    with pytest.raises(BaselineError, match=r"4D\.json: cannot read the baseline"):
        record(7, 40.0, models=("4D",))
