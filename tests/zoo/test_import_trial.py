"""Files on which HDF5's own code hangs or crashes, and the process that finds it out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.zoo import keras_file
from tests.zoo.keras_files import keras_layers, write

DAMAGED = Path(__file__).parent / "damaged"


def imported(file: Path, directory: Path) -> int:
    return main(["models", "import", str(file), "--network", "3D", "--repository", str(directory)])


@pytest.mark.parametrize(
    ("name", "limit_s", "says"),
    [("hangs.h5", 2, "came to no end with it within 2 s"), ("crashes.h5", 60, "killed by SIGSEGV")],
)
def test_a_file_that_hangs_or_crashes_hdf5_is_named(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    limit_s: int,
    says: str,
) -> None:
    monkeypatch.setattr(keras_file, "LIMIT_S", limit_s)
    assert imported(DAMAGED / name, tmp_path) == 1
    said = capsys.readouterr().err
    assert f"{DAMAGED / name} " in said
    # As HDF5 2.0.0 does; another version may find the damage.
    assert says in said or "as HDF5" in said or "is damaged:" in said


@pytest.mark.parametrize(
    ("child", "limit_s", "says"),
    [
        (
            "kill -SEGV $$",
            60,
            "tried was killed by SIGSEGV: the file is damaged; copy",
        ),
        ("kill -KILL $$", 60, "tried was killed by SIGKILL: memory ran out; copy it here again"),
        ("exec sleep 60", 1, "came to no end with it within 1 s: the file is damaged, or its disk"),
    ],
)
def test_what_became_of_the_other_process_is_said(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    child: str,
    limit_s: int,
    says: str,
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{child}\n")
    python.chmod(0o755)
    file = write(tmp_path / "own.h5", keras_layers("3D_fp32_97_batchd"))
    monkeypatch.setattr(keras_file, "LIMIT_S", limit_s)
    monkeypatch.setattr(sys, "executable", str(python))
    assert imported(file, tmp_path / "models") == 1
    assert f"{file} cannot be read: " in (said := capsys.readouterr().err)
    assert says in said
    assert not (tmp_path / "models").exists()
