"""The product's meter on the real service of jetson-stats, in two versions.

The service runs on a fake board's files, in a mount namespace of its own. `.ci/parts DIR` installs
both versions, GAITPERF_PARTS=DIR names them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.testing import ORIN_NANO, FakeBoard, Square
from tests.parts import part

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
VERSIONS = ("4.3.2", "7.2.2")
_NAMESPACE = ("unshare", "--mount")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeBoard]:
    """A fake Orin Nano, as the service looks for it, too."""
    if os.geteuid() or subprocess.run([*_NAMESPACE, "true"], check=False).returncode:
        pytest.skip("a mount namespace needs root and its rights")
    with FakeBoard(tmp_path_factory.mktemp("board"), ORIN_NANO) as board:
        i2c = board.root / "sys/bus/i2c"
        (i2c / "drivers/ina3221/1-0040/name").write_text("ina3221\n")
        (i2c / "devices").mkdir()
        (i2c / "devices/1-0040").symlink_to("../drivers/ina3221/1-0040")
        board.drive({"VDD_IN": Square(1000, 1400, 2.0), "VDD_SOC": Square(200, 200)})
        yield board


def _start(board: FakeBoard, client: str, service: str, *more: str) -> subprocess.Popen[str]:
    packages = [part(f"jtop-{version}") for version in (client, service)]
    path = [str(ROOT), str(packages[0]), *sys.path]
    return subprocess.Popen(
        [
            *_NAMESPACE,
            str(Path(__file__).with_name("service") / "enter"),
            str(board.root),
            *(sys.executable, "-m", "tests.power.service.client", str(packages[1]), *more),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


Cases = dict[str, dict[str, Any]]


def _cases(client: subprocess.Popen[str]) -> Cases:
    with client:
        out, errors = client.communicate(timeout=300)
    assert client.returncode == 0, errors[-3000:]
    return {case.pop("case"): case for case in map(json.loads, out.splitlines())}


@pytest.fixture(scope="module")
def of_versions(board: FakeBoard) -> dict[str, Cases]:
    """What the meter said with each version of client and service, all at the same time."""
    clients = {version: _start(board, version, version) for version in VERSIONS}
    return {version: _cases(client) for version, client in clients.items()}


@pytest.fixture(scope="module", params=VERSIONS)
def seen(request: pytest.FixtureRequest, of_versions: dict[str, Cases]) -> Cases:
    """What the meter said of each case, with one version of client and service."""
    return of_versions[request.param]


@pytest.mark.parametrize("case", ["steady", "again"])
def test_joules_are_those_that_the_board_served(seen: Cases, board: FakeBoard, case: str) -> None:
    found = seen[case]
    assert found.get("refused") is None
    assert (found["total"], found["gpu"]) == (["VDD_IN"], ["VDD_CPU_GPU_CV"])
    truth_j = board.joules("VDD_IN", *found["window_ns"])
    assert found["joules"]["VDD_IN"] == pytest.approx(truth_j, rel=0.02)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("no service", "jtop does not answer .*start its service"),
        ("stopped meanwhile", "no reading came|did not cover a window"),
        ("killed meanwhile", "jtop's (client failed|service)"),
    ],
)
def test_what_is_refused_says_why(seen: Cases, case: str, says: str) -> None:
    assert re.search(says, seen[case]["refused"])


def test_auto_goes_on_where_there_is_no_service(seen: Cases) -> None:
    tried = seen["no service"]["tried"]
    assert not seen["no service"]["sick"]
    assert any(one.startswith("jtop: ") for one in tried)
    assert not tried[-1].startswith("jtop: ")


def test_a_service_of_another_version_names_it(board: FakeBoard) -> None:
    older, newer = VERSIONS
    said = _cases(_start(board, newer, older, "one"))["another version"]["refused"]
    assert said.endswith(f"pip install jetson-stats=={older}")
