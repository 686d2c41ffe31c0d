"""Two repositories as one: links, names and configurations; a real Triton serves the result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.triton.launch import Docker, Ports, ServerOptions
from pytest_gaitperf.triton.models import SideBySide, parse_config, read_config
from pytest_gaitperf.triton.server import open_server
from tests.triton.infer import infer
from tests.triton.models import write_broken_config, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENSEMBLE = """
name: "whole"
platform: "ensemble"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
ensemble_scheduling { step [ {
  model_name: "part" model_version: -1
  input_map { key: "INPUT0" value: "INPUT0" }
  output_map { key: "OUTPUT0" value: "OUTPUT0" }
} ] }
"""


@pytest.fixture
def repositories(tmp_path: Path) -> tuple[Path, Path]:
    """A candidate and a reference; "part" is in both, in an ensemble too."""
    for name in ("new", "old"):
        write_model(tmp_path / name, "part")
        (tmp_path / name / "whole" / "1").mkdir(parents=True)
        (tmp_path / name / "whole" / "config.pbtxt").write_text(ENSEMBLE)
    write_model(tmp_path / "new", "fresh")
    write_model(tmp_path / "old", "gone")
    return tmp_path / "new", tmp_path / "old"


@pytest.fixture
def beside(repositories: tuple[Path, Path]) -> Iterator[SideBySide]:
    """Both as one."""
    merged = SideBySide(*repositories)
    yield merged
    merged.close()


def test_models_of_both_stand_beside_one_another(beside: SideBySide) -> None:
    assert beside.references == {"part", "whole"}
    assert {entry.name for entry in beside.directory.iterdir()} == {
        *("fresh", "part", "whole"),
        *("gone--reference", "part--reference", "whole--reference"),
    }
    assert (beside.directory / "part--reference" / "1" / "model.py").is_file()


def test_a_reference_keeps_its_configuration_but_for_its_name(
    beside: SideBySide, repositories: tuple[Path, Path]
) -> None:
    staged = parse_config(beside.directory / "part--reference" / "config.pbtxt")
    assert staged.name == ""
    staged.name = "part"
    assert staged == parse_config(repositories[1] / "part" / "config.pbtxt")
    assert read_config(beside.directory / "part--reference" / "config.pbtxt").versions == ("1",)


def test_closing_removes_the_links_and_nothing_else(
    beside: SideBySide, repositories: tuple[Path, Path]
) -> None:
    beside.close()
    beside.close()
    assert not beside.directory.exists()
    for repository in repositories:
        assert (repository / "part" / "1" / "model.py").is_file()


@pytest.mark.slow
def test_triton_serves_both_and_an_ensemble_runs_on_its_own_parts(
    beside: SideBySide, repositories: tuple[Path, Path]
) -> None:
    options = ServerOptions(
        mode="local",
        repository=beside.directory,
        models=("part", "whole", "whole--reference"),
        mounts=beside.origins,
    )
    with open_server(options) as server:
        assert set(server.models()) == {"part", "part--reference", "whole", "whole--reference"}
        infer(server.url, "whole--reference")
        deadline = time.monotonic() + 5  # Triton counts after it has answered
        while not server.statistics("part--reference").inference_count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert server.statistics("part").inference_count == 0


def test_a_container_sees_the_directories_that_the_links_point_into(
    beside: SideBySide, repositories: tuple[Path, Path], tmp_path: Path
) -> None:
    options = ServerOptions(repository=beside.directory, mounts=beside.origins)
    command = Docker("docker").launch(options, Ports(1, 2, 3), tmp_path / "gaitperf-x").command
    for repository in repositories:
        assert command[command.index(f"{repository.resolve()}:{repository.resolve()}:ro") - 1] == (
            "-v"
        )


def test_a_reference_whose_configuration_is_broken_is_named_with_its_line(
    repositories: tuple[Path, Path],
) -> None:
    write_broken_config(repositories[1], "broken")
    with pytest.raises(ConfigurationError, match=r"old/broken/config\.pbtxt:3: not a valid"):
        SideBySide(*repositories)


def test_a_directory_that_is_none_is_refused(repositories: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigurationError, match="nowhere is not a directory"):
        SideBySide(repositories[0], repositories[1] / "nowhere")


def test_a_model_with_a_name_of_ours_is_refused(repositories: tuple[Path, Path]) -> None:
    write_model(repositories[0], "part--reference")
    with pytest.raises(ConfigurationError, match=r"new/part--reference: names .* rename it"):
        SideBySide(*repositories)
