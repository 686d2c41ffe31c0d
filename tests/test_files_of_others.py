"""What is no file, in the place of any file from outside, is refused at once and named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.config.grid import load_grid
from pytest_gaitperf.config.settings import read_accuracy
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import content_hash, sha256
from pytest_gaitperf.load.datafile import identity
from pytest_gaitperf.power.trace import load
from pytest_gaitperf.results_file import MOST_RESULTS, read_results
from pytest_gaitperf.triton.models import parse_config
from pytest_gaitperf.zoo.targets import built_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READERS: dict[str, Callable[[Path], object]] = {
    "accuracy.csv": read_accuracy,
    "accuracy.toml": read_accuracy,
    "config.pbtxt": lambda path: built_for(path.parent),
    "data.json": lambda path: identity(str(path), "3D"),
    "data.npz": lambda path: identity(str(path), "3D"),
    "grid.toml": lambda path: load_grid(str(path)),
    "model.pbtxt": parse_config,
    "results.json": read_results,
    "trace.npz": load,
    "weights": lambda path: content_hash(path.parent),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_it_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        READERS[name](path)


@pytest.mark.parametrize("suffix", [".onnx", ".h5"])
def test_an_import_refuses_it(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    assert main(["models", "import", str(path), f"--repository={tmp_path}"]) == 1
    assert "not a regular file" in capsys.readouterr().err


def test_a_pipe_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        sha256(tmp_path / "pipe")


def test_results_without_an_end_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with path.open("wb") as file:
        file.truncate(MOST_RESULTS * 100)
    with pytest.raises(ConfigurationError, match="larger than 256 MiB"):
        read_results(path)


def test_a_record_of_a_build_cannot_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = tmp_path / "3D_fp32_0_batchd/1"
    version.mkdir(parents=True)
    for record in ('{"built_with": [1]}', '{"built_with": {"numpy\\u001b[2J": "##[group]"}}'):
        (version / "recipe.json").write_text(record)
        assert main(["models", "info", "3D_fp32_0_batchd", f"--repository={tmp_path}"]) == 0
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert "##[" not in shown
