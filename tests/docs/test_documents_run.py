"""What the README and the tutorial say to type is typed, on a real Triton.

With short budgets, and fewer cells, given through the environment. A command that is new in these
documents is neither run nor listed here, and fails the last test.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.docs.documents import ROOT, blocks, commands, python_blocks
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docs.conftest import Shell

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
JETSON = ROOT / "docs" / "jetson.md"

NOT_RUN = {
    "git clone https://github.com/OWNER/pytest-gaitperf": "needs a network",
    "git clone https://github.com/OWNER/pytest-gaitperf && cd pytest-gaitperf": "needs a network",
    "mkdir gated && cd gated": "the directory is there",
    "python3 -m venv .venv && . .venv/bin/activate": "the environment is there",
    "pip install '../pytest-gaitperf[local]'": "nothing is installed by tests",
    "python3 -m venv .venv && .venv/bin/pip install '.[jetson]'": "as above",
    "make test": "it would run this test",
    ".venv/bin/pytest suites --triton=docker --triton-repository=/path/to/models "
    "--gaitperf-update=missing": "needs Docker with NVIDIA's runtime",
}
"""What cannot be typed here, with the reason. ``test_documents.py`` checks its words."""

ATTACHED = ".venv/bin/pytest suites --triton-url=127.0.0.1:8000"


class Step(NamedTuple):
    """A command of the tutorial: its exit code, or -1 for any verdict, and what it prints."""

    command: str
    code: int
    prints: str


TYPED = (
    Step("python make_model.py 10", 0, ""),
    Step("gaitperf models import mymodel.onnx", 0, r"mymodel: max_batch_size 32; x FP32 \[1024\]"),
    Step("pytest", 10, r"throughput missing\n.*record it with"),
    Step("pytest --gaitperf-update=missing --gaitperf-sessions=3", 0, "3 sessions recorded"),
    Step("gaitperf baseline show", 0, "b1-c1"),
    # What a busy machine's verdict is, is the machine's affair: it may be faster than it was.
    Step("pytest", -1, r"\n b1-c1 .*(pass|inconclusive|improved|regressed)"),
    Step("gaitperf baseline sensitivity", 0, "the smallest change that is found"),
    Step("cp -r model_repository before", 0, ""),
    Step("python make_model.py 100", 0, ""),
    Step("gaitperf models import mymodel.onnx --force", 0, "mymodel: max_batch_size 32"),
    # What the gate hears depends on how much the recorded sessions differ, as the tutorial says.
    Step("pytest", -1, r"b1-c1 .*(regressed|inconclusive)"),
    Step("pytest --gaitperf-against=before", 1, "throughput regressed: -"),
)


@pytest.mark.slow
def test_what_the_tutorial_says_is_what_happens(empty: Shell) -> None:
    for text in python_blocks(TUTORIAL):
        name = re.match(r"# (\w+\.py)\n", text)
        assert name, f"the block does not say which file it is: {text[:60]}"
        (empty.directory / name[1]).write_text(text)
    # One cell, and on a busy machine nothing is red that is not slower by a factor.
    addopts = "-k b1-c1 --gaitperf-tolerance=90% --gaitperf-profile=here"
    for step in TYPED:
        # Blocks load both models: nine of them take about 45 s.
        budget = " --gaitperf-budget=20" if "against" in step.command else ""
        done = empty.run(step.command, addopts=addopts + budget)
        assert done.returncode in ((0, 1, 10) if step.code < 0 else (step.code,)), done.stdout
        assert re.search(step.prints, done.stdout), f"{step.command}: {done.stdout}"


@pytest.mark.slow
def test_make_perf_measures_and_records_the_reference_models(clone: Shell) -> None:
    clone.environment["PERF_ARGS"] = "--gaitperf-models=3D_fp32_40_batchd -k b1-c1"
    done = clone.run("make perf")
    assert done.returncode == 0, done.stdout
    assert re.search(r"b1-c1 .*recorded", done.stdout), done.stdout
    shown = clone.run(".venv/bin/gaitperf baseline show")
    assert shown.returncode == 0
    assert "3D_fp32_40_batchd" in shown.stdout
    power = clone.run(".venv/bin/gaitperf baseline sensitivity")
    assert power.returncode == 0
    assert "3D_fp32_40_batchd" in power.stdout


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server with a model like the README's: its address."""
    repository = tmp_path_factory.mktemp("resnet")
    write_model(repository, "resnet_small", sleep_s=0.005)
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server.url


@pytest.mark.slow
def test_the_suites_measure_a_server_that_runs_already(clone: Shell, resnet: str) -> None:
    # The invariants and the subjects have tests of their own, and take longer.
    addopts = "-k 'test_throughput and b1-c1' --gaitperf-update=missing"
    done = clone.run(ATTACHED.replace("127.0.0.1:8000", resnet), addopts=addopts)
    assert done.returncode == 0, done.stdout
    assert re.search(r"b1-c1 .*recorded", done.stdout), done.stdout


@pytest.mark.slow
def test_the_tests_of_the_readme_are_green(empty: Shell, resnet: str) -> None:
    for number, text in enumerate(python_blocks(README)):
        (empty.directory / f"test_readme{number}.py").write_text(text)
    addopts = f"-k b1-c1 --triton-url={resnet} --gaitperf-update=missing"
    done = empty.run("pytest", addopts=addopts)
    assert done.returncode == 0, done.stdout
    assert f"{len(python_blocks(README))} passed" in done.stdout


@pytest.mark.parametrize("page", [README, TUTORIAL], ids=lambda page: page.name)
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    known = {*NOT_RUN, "make perf", ATTACHED} | {step.command for step in TYPED}
    assert not [command for command in commands(page) if command not in known]


def test_the_tutorial_is_run_in_its_own_order() -> None:
    assert [one for one in commands(TUTORIAL) if one not in NOT_RUN] == [s.command for s in TYPED]


def test_what_is_listed_is_still_said() -> None:
    said = {command for page in (README, TUTORIAL, JETSON) for command in commands(page)}
    assert not set(NOT_RUN) - said


def test_no_shell_block_hides_a_command_without_a_prompt() -> None:
    for page in (README, TUTORIAL, JETSON):
        for block in blocks(page):
            if block.language == "console":
                assert block.text.startswith("$ "), f"{page.name}: {block.text}"
