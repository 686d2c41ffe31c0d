"""Models of a git revision, from real repositories; large files that are kept elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.git import commit_of
from pytest_gaitperf.triton.revisions import absent_models, models_at, take_models
from tests.baseline.recording import commit

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n"
ENSEMBLE = """\
platform: "ensemble"
ensemble_scheduling { step { model_name: "first" model_version: -1 } }
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str = "weights", file: str = "1/model.onnx") -> Path:
    path = Path("deep/models") / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def take(*models: str, into: str = "taken") -> dict[str, str]:
    return take_models(
        commit_of("HEAD", Path("deep/models")), Path("deep/models"), models, Path(into)
    )


def files(directory: str = "taken") -> dict[str, str]:
    root = Path(directory)
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_the_files_of_the_commit_are_taken_and_not_those_of_the_work_tree() -> None:
    write("m", "of the commit")
    write("other")
    commit()
    write("m", "of the work tree")
    assert models_at(commit_of("HEAD", Path("deep/models")), Path("deep/models")) == ("m", "other")
    assert take("m") == {}
    assert files() == {"m/1/model.onnx": "of the commit"}


def test_a_repository_that_was_removed_since_has_its_models_still() -> None:
    path = write("m")
    commit()
    path.unlink()
    for folder in (path.parent, *path.parents[1:4]):
        folder.rmdir()
    assert take("m") == {}
    assert files() == {"m/1/model.onnx": "weights"}


def test_an_ensemble_brings_its_steps() -> None:
    write("all", ENSEMBLE, "config.pbtxt")
    write("first")
    write("second")
    commit()
    assert take("all") == {}
    assert set(files()) == {"all/config.pbtxt", "first/1/model.onnx"}


def test_links_become_what_they_lead_to() -> None:
    write("m", "shared", "shared.onnx")
    (Path("deep/models/m/1")).mkdir()
    (Path("deep/models/m/1/model.onnx")).symlink_to("../shared.onnx")
    Path("weights").write_text("elsewhere")
    (Path("deep/models/m/1/more")).symlink_to("../../../../weights")
    commit()
    assert take("m") == {}
    assert files()["m/1/model.onnx"] == "shared"
    assert files()["m/1/more"] == "elsewhere"
    assert not any(path.is_symlink() for path in Path("taken").rglob("*"))


@pytest.mark.parametrize("target", ["/etc/hostname", "../../../../../outside", "model.onnx"])
def test_a_link_out_of_the_revision_makes_a_model_absent(target: str) -> None:
    write("m", file="config.pbtxt")
    (Path("deep/models/m/1")).mkdir()
    (Path("deep/models/m/1/model.onnx")).symlink_to(target)
    commit()
    assert list(take("m")) == ["m"]
    assert files() == {}


def test_pointers_of_large_files_are_never_taken_for_models() -> None:
    write("lfs", LFS)
    write("lfs", "", "config.pbtxt")
    write("annex", "/annex/objects/SHA256E-s5--abc.onnx\n")
    write("locked", file="config.pbtxt")
    (Path("deep/models/locked/1")).mkdir()
    link = "../../../../.git/annex/objects/aa/bb/SHA256E-s5--abc/SHA256E-s5--abc"
    (Path("deep/models/locked/1/model.onnx")).symlink_to(link)
    write("whole")
    commit()
    absent = take("lfs", "annex", "locked", "whole", "unknown")
    assert set(files()) == {"whole/1/model.onnx"}
    assert absent["lfs"].startswith("lfs/1/model.onnx is a pointer of Git LFS")
    assert absent["annex"] == "annex/1/model.onnx is a pointer of git-annex"
    assert absent["locked"].startswith("locked/1/model.onnx is kept by git-annex")
    assert absent["unknown"] == "it is not there"
    # In a directory nothing is fetched, and a link that leads nowhere is one to absent content.
    assert set(absent_models(Path("deep/models"))) == {"lfs", "annex", "locked"}


def test_git_lfs_fetches_what_a_pointer_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # git runs git-lfs from PATH; this one has the large file.
    tool = Path("bin/git-lfs")
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1" = smudge ] && grep -q "oid sha256:0123" && echo large\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent.resolve()}{os.pathsep}{os.environ['PATH']}")
    write("m", LFS)
    write("broken", LFS.replace("0123", "4567"))
    Path(".gitignore").write_text("bin\n")
    commit()
    absent = take("m", "broken")
    assert files() == {"m/1/model.onnx": "large\n"}
    assert list(absent) == ["broken"]
    assert "broken/1/model.onnx is a pointer of Git LFS (git lfs: " in absent["broken"]


def test_a_directory_without_models_is_refused() -> None:
    Path("empty").mkdir()
    with pytest.raises(ConfigurationError, match="empty: no models are there"):
        absent_models(Path("empty"))
    write("m")
    commit()
    with pytest.raises(ConfigurationError, match=r"empty has no models in [0-9a-f]{12}"):
        models_at(commit_of("HEAD", Path("empty")), Path("empty"))
