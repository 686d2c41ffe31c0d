"""What must hold for every workflow, whoever edits it."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from tests.workflows.conftest import ACTIONS, WORKFLOWS, Step, jobs, load, steps

DEVICE = [pytest.param(job, id=where) for where, job in jobs() if "self-hosted" in job["runs-on"]]
ALL = [pytest.param(job, id=where) for where, job in jobs()]
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


@pytest.mark.parametrize("job", ALL)
def test_every_job_says_what_it_may_and_how_long(job: dict[str, Any]) -> None:
    assert 0 < job["timeout-minutes"] <= 600
    assert isinstance(job["permissions"], dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_gives_no_permission_to_all_of_its_jobs(path: Any) -> None:
    assert load(path)["permissions"] == {}


def test_only_these_jobs_may_write() -> None:
    writing = {
        where: {scope for scope, access in job["permissions"].items() if access != "read"}
        for where, job in jobs()
    }
    assert {where: scopes for where, scopes in writing.items() if scopes} == {
        "update-baselines/propose": {"contents", "pull-requests"},
        "perf-gate/comment": {"pull-requests"},
        "release/attest": {"id-token", "attestations"},
        "release/publish": {"id-token"},
    }


def test_a_release_is_published_only_after_its_tests_and_by_its_reviewers() -> None:
    release = {name: job for name, job in jobs() if name.startswith("release/")}
    needs = {name: job.get("needs") for name, job in release.items()}
    assert needs == {
        "release/build": None,
        "release/test": ["build"],
        "release/attest": ["test"],
        "release/publish": ["attest"],
    }
    assert release["release/publish"]["environment"] == "release"
    # What may sign or publish runs nothing of the repository.
    for name in ("release/attest", "release/publish"):
        assert not any(
            "run" in step or "checkout" in step["uses"] for step in release[name]["steps"]
        )


@pytest.mark.parametrize("step", [s for s in steps() if "uses" in s.content], ids=lambda s: s.where)
def test_every_action_is_pinned_by_a_commit(step: Step) -> None:
    own = ("./", "./.github/action/comment")
    assert step.content["uses"] in own or PINNED.fullmatch(step.content["uses"])


def test_one_action_has_one_version_everywhere() -> None:
    text = "".join(path.read_text() for path in [*WORKFLOWS, *ACTIONS])
    pins = set(re.findall(r"uses: ([\w./-]+)@(\w+) # (v[\d.]+)\n", text))
    assert len(pins) == len({name for name, *_ in pins})
    assert len(re.findall(r"uses: [^.]", text)) == len(
        re.findall(r"uses: [\w./-]+@\w+ # v[\d.]+\n", text)
    )


@pytest.mark.parametrize("step", [s for s in steps() if "run" in s.content], ids=lambda s: s.where)
def test_nothing_is_pasted_into_a_shell_line(step: Step) -> None:
    assert "${{" not in step.content["run"]


@pytest.mark.parametrize(
    "step",
    [s for s in steps() if "actions/checkout@" in s.content.get("uses", "")],
    ids=lambda s: s.where,
)
def test_no_checkout_leaves_a_token_on_the_disk(step: Step) -> None:
    assert step.content["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.stem)
def test_no_secret_is_used_and_no_foreign_change_is_run_with_our_rights(path: Any) -> None:
    content = load(path)
    assert "secrets." not in path.read_text()
    assert "pull_request_target" not in content.get("on", {})
    assert "workflow_run" not in content.get("on", {})


@pytest.mark.parametrize("job", DEVICE)
def test_a_device_measures_one_thing_at_a_time_and_is_left_clean(job: dict[str, Any]) -> None:
    assert job["concurrency"] == {
        "group": "device-jetson",
        "cancel-in-progress": False,
        "queue": "max",
    }
    assert job["runs-on"] == ["self-hosted", "jetson"]
    assert job["permissions"] == {"contents": "read"}
    last = job["steps"][-1]
    assert last["if"] == "always()"
    assert last["run"] == "bash .ci/clean-device"


def test_there_are_two_jobs_on_the_device() -> None:
    assert len(DEVICE) == 2


def test_a_change_from_elsewhere_reaches_the_device_only_through_its_reviewers() -> None:
    workflow = load(next(path for path in WORKFLOWS if path.stem == "perf-gate"))
    assert set(workflow["on"]) == {"pull_request", "workflow_dispatch"}
    # An event that only skips the job would count as a success of the required check.
    assert workflow["on"]["pull_request"] is None
    approve, gate = workflow["jobs"]["approve"], workflow["jobs"]["gate"]
    assert set(workflow["jobs"]) == {"approve", "gate", "comment"}
    assert (approve["if"], approve["environment"]) == (
        "github.event_name == 'workflow_dispatch'",
        "device",
    )
    assert gate["needs"] == ["approve"]
    approved, _, by_itself = gate["if"].partition("||")
    assert approved.strip() == "!cancelled() && (needs.approve.result == 'success'"
    assert " ".join(by_itself.split()) == (
        "(github.event_name == 'pull_request' && "
        "github.event.pull_request.head.repo.full_name == github.repository && "
        "github.event.pull_request.user.type == 'User' && github.event.sender.type == 'User'))"
    )


@pytest.mark.parametrize(
    ("commit", "goes_on"),
    [
        ("0123456789abcdef0123456789abcdef01234567", True),
        ("", True),  # that of the branch that it was started on, as it was then
        ("main", False),
        ("0123456", False),
        ("0123456789ABCDEF0123456789abcdef01234567", False),
        ("0123456789abcdef0123456789abcdef01234567\nmain", False),
        ("refs/heads/0123456789abcdef0123456789abcdef01234567", False),
    ],
)
def test_only_a_whole_hash_names_what_was_read(commit: str, *, goes_on: bool) -> None:
    workflow = load(next(path for path in WORKFLOWS if path.stem == "perf-gate"))
    (step,) = workflow["jobs"]["approve"]["steps"]
    assert step["env"] == {"COMMIT": "${{ inputs.commit }}"}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],  # noqa: S607
        env={"COMMIT": commit},
        check=False,
        capture_output=True,
    )
    assert (done.returncode == 0) == goes_on


def test_the_baselines_are_proposed_from_a_branch_and_never_pushed_to_main() -> None:
    proposing = dict(jobs())["update-baselines/propose"]
    (script,) = [
        step["run"] for step in proposing["steps"] if "propose-baselines" in step.get("run", "")
    ]
    assert script.startswith('bash .ci/propose-baselines measured "baselines/run-$GITHUB_RUN_ID')
    measuring = dict(jobs())["update-baselines/measure"]
    assert not any("GH_TOKEN" in str(step) for step in measuring["steps"])


def test_what_may_comment_runs_what_was_there_before_the_change() -> None:
    job = dict(jobs())["perf-gate/comment"]
    assert job["runs-on"] == "ubuntu-24.04"
    checkout, _, comment = job["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert comment["uses"] == "./.github/action/comment"
    assert not any("run" in step for step in job["steps"])
