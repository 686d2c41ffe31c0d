"""--gaitperf-against: another version or another repository, in place of the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.baselines import UNMEASURED, kinds
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SOON = "--gaitperf-tolerance=50%,server_cpu_per_inference=99%"
"""What little CPU time a sleeping model takes is too noisy to wait for."""
BOTH = "version_policy: { all { } }"


def outcomes(shown: pytest.RunResult, letter: str) -> set[str]:
    """The tests of pytest's short summary that begin with a word."""
    return {
        line.split()[1].partition("::")[2] for line in shown.outlines if line.startswith(letter)
    }


@pytest.mark.slow
def test_another_repository_slower_models_are_red_and_new_ones_are_not(offline: Project) -> None:
    # The candidate's "other" takes four times as long as the reference's; "steady" is the same.
    repository, reference = offline.path / "changed", offline.path / "model_repository"
    write_model(repository, "steady", sleep_s=0.02)
    write_model(repository, "other", sleep_s=0.08)
    write_model(repository, "fresh", sleep_s=0.005)
    write_model(repository, "reshaped", inputs=[Tensor("INPUT0", "FP32", (4,))])
    write_model(reference, "reshaped", inputs=[Tensor("INPUT0", "FP32", (5,))])
    write_model(reference, "removed")
    shown = offline.run(
        offline.grid("*"),
        f"--triton-repository={repository}",
        "--gaitperf-against=model_repository",
        SOON,
        "--gaitperf-budget=40",
        "--gaitperf-json=results.json",
        "-rf",
    )
    assert shown.ret == pytest.ExitCode.TESTS_FAILED
    assert outcomes(shown, "FAILED") == {
        "test_throughput[other-b1-c1]",
        "test_latency[other-b1-c1]",
    }
    text = shown.stdout.str()
    assert "Traceback" not in text
    shown.stdout.fnmatch_lines(
        [
            "p50 regressed: +*",
            "  reference * ms",
            "  now       * ms*",
            "  change    +*, * blocks, could have heard *",
            "* regressed",
            "against model_repository: red: 1 regressed, *",
            "fresh: a new model: *",
            "reshaped: its tensors differ: *",
            "only in model_repository, and compared with nothing: removed",
        ]
    )
    document = offline.results()
    assert document["against"] == "model_repository"
    cells = offline.cells()
    slower = cells["other-b1-c1"].verdicts["latency_p50"]
    assert slower.change is not None
    assert slower.change > 1.0
    assert slower.blocks >= 4
    assert kinds(cells["fresh-b1-c1"])["throughput"] == "missing"
    assert kinds(cells["steady-b1-c1"])["throughput"] in {"pass", "inconclusive"}
    assert not (offline.path / "baselines").exists()


@pytest.mark.slow
def test_a_reference_that_cannot_be_loaded_was_expected(offline: Project) -> None:
    reference = offline.path / "before"
    write_model(reference, "steady", initialize_error="no weights here")
    write_model(reference, "other", sleep_s=0.02)
    shown = offline.run(
        *(offline.grid("*"), "--gaitperf-against=before", "-k", "throughput"),
        *("--gaitperf-tolerance=90%", "--gaitperf-budget=2", "--gaitperf-json=results.json"),
    )
    assert shown.ret == UNMEASURED, shown.stdout.str()
    assert offline.cells()["other-b1-c1"].measurement is not None
    shown.stdout.fnmatch_lines(["steady-b1-c1 could not be measured: *no weights here*"])


@pytest.mark.slow
def test_an_empty_reference_compares_nothing(offline: Project) -> None:
    (offline.path / "before").mkdir()
    shown = offline.run(offline.grid("*"), "--gaitperf-against=before", "-k", "throughput")
    assert shown.ret == UNMEASURED, shown.stdout.str()
    shown.stdout.fnmatch_lines(["unmeasured: nothing could be compared with before"])


@pytest.mark.slow
def test_another_version_of_a_slower_model_is_red(offline: Project) -> None:
    repository = offline.path / "model_repository"
    write_model(repository, "two", versions=(1, 2), sleep_s=0.02, extra_config=BOTH)
    write_model(offline.path / "apart", "two", versions=(2,), sleep_s=0.08)
    slower = (offline.path / "apart" / "two" / "2" / "model.py").read_text()
    (repository / "two" / "2" / "model.py").write_text(slower)
    write_model(repository, "hidden", versions=(1, 2), sleep_s=0.01)
    shown = offline.run(
        offline.grid("two", "steady", "hidden"),
        "--gaitperf-against=1",
        SOON,
        "--gaitperf-budget=40",
        *("-k", "latency", "-rfE"),
    )
    # "steady" has only version 1, "hidden" does not serve it: neither can be compared so.
    assert outcomes(shown, "FAILED") == {"test_latency[two-b1-c1]"}
    assert outcomes(shown, "ERROR") == {"test_latency[steady-b1-c1]", "test_latency[hidden-b1-c1]"}
    text = " ".join(shown.stdout.str().split())
    assert "version 1 of 'steady' is the one that is measured" in text
    assert "serves 2 of 'hidden' and not 1: let its config.pbtxt have both" in text
    assert "against version 1: red: 1 regressed" in text


def test_a_running_server_cannot_be_given_another_repository(project: Project) -> None:
    (project.path / "old").mkdir()
    shown = project.run(project.grid("steady"), "--gaitperf-against=old")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(
        ["ERROR: *cannot be given other models: let one be started with --triton=local*"]
    )


def test_recording_and_comparing_exclude_one_another(project: Project) -> None:
    shown = project.run(project.grid("steady"), "--gaitperf-against=1", "--gaitperf-update=missing")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: --gaitperf-against compares *--gaitperf-update=missing*"])


def test_a_directory_that_is_not_there_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-against", "nowhere", "there is no such directory", named=False)


def test_an_empty_value_is_refused(project: Project) -> None:
    project.refuses("--gaitperf-against", "", "give a version's number or a directory")
