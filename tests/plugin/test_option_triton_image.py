"""--triton-image: the container image, of a real engine, or of a fake that refuses it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.triton.docker_engine import IMAGE

if TYPE_CHECKING:
    from tests.plugin.conftest import Project
    from tests.triton.docker_engine import Engine


def test_the_image_is_the_one_asked_for(offline: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = offline.path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(
        "#!/bin/sh\n# A fake docker that has no image.\n"
        f'echo "$@" >> {folder}/calls\n'
        'echo "docker: Error response from daemon: No such image: own:1" >&2\nexit 125\n'
    )
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    offline.pytester.makepyfile(test_own="def test_it(triton_server): pass\n")
    offline.pytester.makepyprojecttoml("[tool.gaitperf]\ntriton_image = 'other:2'\n")
    shown = offline.run("test_own.py", "--triton=docker", "--triton-image=own:1")
    shown.assert_outcomes(errors=1)
    assert " own:1 sh -c " in (folder / "calls").read_text()
    shown.stdout.fnmatch_lines(["*fetch the image with 'docker pull own:1', or name another with*"])


@pytest.mark.slow
@pytest.mark.usefixtures("_polite")
def test_cells_are_measured_in_a_container_of_a_real_engine(
    offline: Project, docker: Engine
) -> None:
    arguments = (
        *("--triton=docker", f"--triton-image={IMAGE}", offline.grid("steady", "other")),
        *("--gaitperf-budget=5", "--gaitperf-json=results.json"),
    )
    shown = offline.run(*arguments, "--gaitperf-update=missing")
    assert shown.ret == pytest.ExitCode.OK
    shown.stdout.fnmatch_lines(["Triton * (docker)"])
    for cell in ("other-b1-c1", "steady-b1-c1"):
        assert offline.measured(cell).metrics["server_cpu_per_inference"].value > 0
    assert docker.containers() == []
