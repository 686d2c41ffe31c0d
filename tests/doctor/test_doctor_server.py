"""How a run would come by its server: attach, local, Docker (a fake of its client), none."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.doctor import installation
from pytest_gaitperf.doctor.command import CHECKS
from pytest_gaitperf.errors import ServerError
from pytest_gaitperf.triton import launch
from tests.doctor.conftest import machine
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.doctor import Finding

    Docker = Callable[..., list[Finding]]

IMAGE = "example/triton:1"
NOWHERE = "127.0.0.1:9"


def found_for(settings: Settings) -> dict[str, Finding]:
    looked_at = machine(Path("/"), settings=settings, finds=True)
    checks = CHECKS["server"]
    return {finding.name: finding for check in checks for finding in check(looked_at)}


def test_the_wheel_s_server_is_found_with_its_backends() -> None:
    found = found_for(Settings(triton="local"))
    assert found["triton"].state == "ok"
    assert "nvidia-pytriton 0.7" in found["triton"].what
    assert "backends: python" in found["triton"].what
    assert found["libraries"].state == "ok"


def test_a_missing_libpython_comes_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    library = f"libpython{launch._PYTHON}"

    def missing(_program: Path, _environment: object) -> None:
        raise ServerError(f"Triton's Python backend needs {library}.so.1.0")

    monkeypatch.setattr(launch, "check_libraries", missing)
    found = found_for(Settings(triton="local"))["libraries"]
    assert (found.state, found.command) == ("fix", f"sudo apt-get install {library}")


def test_no_server_at_all_is_to_be_fixed() -> None:
    found = found_for(Settings(triton="attach", triton_url=NOWHERE))
    assert found["triton"].state == "fix"
    assert f"no server: {NOWHERE}: nothing listens there" in found["triton"].what
    assert "models" not in found


def test_an_empty_or_missing_repository_is_a_warning_with_the_command() -> None:
    found = found_for(Settings(triton="local"))["models"]
    assert (found.state, found.command) == ("warn", "gaitperf models build")
    write_model(Path("model_repository"), "steady")
    assert found_for(Settings(triton="local"))["models"].what == "1 in model_repository: steady"


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A fake of Docker's client that answers ``info`` and ``image inspect`` as told."""

    def answer(*, info: str, image: str = "", error: str = "") -> list[Finding]:
        folder = tmp_path / "bin"
        folder.mkdir()
        script = (
            "#!/bin/sh\n"
            f"case \"$1\" in info) answer='{info}';; image) answer='{image}';; esac\n"
            f'if [ -z "$answer" ]; then echo "{error}" >&2; exit 1; fi\n'
            'echo "$answer"\n'
        )
        (folder / "docker").write_text(script)
        (folder / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        settings = Settings(triton="docker", triton_image=IMAGE)
        looked_at = machine(Path("/"), settings=settings, finds=True)
        return list(installation.triton(looked_at))

    return answer


def test_docker_with_its_runtime_and_the_image_is_fit(fake_docker: Docker) -> None:
    runtimes = json.dumps({"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}})
    docker, triton = fake_docker(info=runtimes, image='["TRITON_SERVER_VERSION=2.42.0"]')
    assert (docker.state, triton.state) == ("ok", "ok")
    assert triton.what == f"2.42.0 in the image {IMAGE}"


def test_docker_without_runtime_and_image_is_told_what_to_do(fake_docker: Docker) -> None:
    docker, triton = fake_docker(info='{"runc": {}}', error="Error: No such image: x")
    assert (docker.state, "nvidia-ctk" in docker.command) == ("fix", True)
    assert (triton.state, triton.command) == ("fix", f"docker pull {IMAGE}")


def test_an_engine_that_does_not_answer_is_told_with_its_words(fake_docker: Docker) -> None:
    message = "permission denied while trying to connect to the Docker daemon socket"
    (docker,) = fake_docker(info="", error=message)
    assert docker.state == "fix"
    assert message in docker.what
    assert "add yourself to the group 'docker'" in docker.advice


def test_packages_are_held_against_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = {finding.name: finding for finding in installation.packages(machine(Path("/")))}
    assert set(fine) == {"python", "extras"}
    monkeypatch.setattr(
        "pytest_gaitperf.doctor.installation.version",
        lambda name: "0.1" if name == "psutil" else version(name),
    )
    lacking = {finding.name: finding for finding in installation.packages(machine(Path("/")))}
    assert lacking["packages"].state == "fix"
    assert lacking["packages"].what == "psutil 0.1 is not >=5.9"
