"""The scripts of the workflows, run in a git repository of their own: with fake gh and docker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from pytest_gaitperf.lease import prefix
from tests.workflows.conftest import ROOT, load

BASELINE = Path("x86_64-intel-xeon-16cpu-128gb-nvidia-h200/3D_fp16_0_batchd.json")
FAKE_GH = """#!/bin/sh
# A fake gh: it notes how it was called, and the text that it was given.
echo "$@" >> "$FAKE_LOG"
while [ $# -gt 1 ]; do
    [ "$1" = --body-file ] && cat "$2" > "$FAKE_LOG.body"
    shift
done
"""
FAKE_DOCKER = """#!/bin/sh
# A fake docker with these containers.
[ "$1" = ps ] && echo "$FAKE_CONTAINERS"
echo "$@" >> "$FAKE_LOG"
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A job's directory: a clone of a repository that has a baseline, and fake programs."""

    work: Path
    origin: Path
    log: Path
    environment: dict[str, str]

    def git(self, *words: str, where: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *words],  # noqa: S607
            cwd=where or self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", *command],  # noqa: S607
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def propose(self) -> subprocess.CompletedProcess[str]:
        return self.run(str(ROOT / ".ci" / "propose-baselines"), "measured", "baselines/run-7-1")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    programs, work, origin = tmp_path / "bin", tmp_path / "work", tmp_path / "origin.git"
    programs.mkdir()
    for name, text in (("gh", FAKE_GH), ("docker", FAKE_DOCKER)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        "PATH": os.pathsep.join([str(programs), sysconfig.get_path("scripts"), os.environ["PATH"]]),
        "HOME": str(tmp_path),
        "FAKE_LOG": str(tmp_path / "log"),
        "GITHUB_WORKSPACE": str(work),
        "BASE": "main",
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    job = Job(work, origin, tmp_path / "log", environment)
    (work / "baselines" / BASELINE.parent).mkdir(parents=True)
    (work / "baselines" / BASELINE).write_bytes((ROOT / "baselines" / BASELINE).read_bytes())
    job.git("init", "--quiet", "--bare", str(origin), where=tmp_path)
    job.git("init", "--quiet", "--initial-branch=main")
    job.git("add", "baselines")
    job.git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "A baseline")
    job.git("remote", "add", "origin", str(origin))
    job.git("push", "--quiet", "origin", "main")
    return job


def measure(job: Job, *, changed: bool) -> Path:
    """Hand baselines over as the device does: as they are, or without one of the cells."""
    path = job.work / "measured" / BASELINE
    path.parent.mkdir(parents=True)
    text = (ROOT / "baselines" / BASELINE).read_text()
    if changed:
        content = json.loads(text)
        del content["cells"]["b1-c1"]
        text = json.dumps(content, indent=2)
    path.write_text(text)
    return path


def test_new_baselines_become_a_pull_request_with_the_differences_as_its_text(job: Job) -> None:
    measure(job, changed=True)
    done = job.propose()
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = job.log.read_text().splitlines()
    assert first == "auth setup-git"
    assert second.startswith(
        "pr create --base main --head baselines/run-7-1 --title Update the baselines --body-file /"
    )
    body = Path(f"{job.log}.body").read_text()
    assert "b1&#45;c1" in body
    branches = job.git("branch", "--format=%(refname:short)", where=job.origin).split()
    assert branches == ["baselines/run-7-1", "main"]
    changed = job.git("diff", "--name-only", "main", "baselines/run-7-1", where=job.origin)
    assert changed.splitlines() == [f"baselines/{BASELINE}"]


def test_what_the_workflow_hands_over_is_what_may_be_proposed(job: Job) -> None:
    (job.work / "baselines" / BASELINE.parent / "traces.csv").write_text("cell,joules\n")
    record = load(ROOT / ".github" / "workflows" / "update-baselines.yml")["jobs"]["measure"]
    (path,) = [
        step["with"]["path"]
        for step in record["steps"]
        if step.get("with", {}).get("name") == "baselines"
    ]
    handed = list(job.work.glob(path))
    assert handed == [job.work / "baselines" / BASELINE]
    (job.work / "measured" / BASELINE.parent).mkdir(parents=True)
    for file in handed:
        below = file.relative_to(job.work / "baselines")  # upload-artifact: from the first wildcard
        (job.work / "measured" / below).write_bytes(file.read_bytes())
    assert job.propose().returncode == 0


def test_baselines_that_are_as_before_are_not_proposed(job: Job) -> None:
    measure(job, changed=False)
    done = job.propose()
    assert (done.returncode, job.log.exists()) == (0, False), done.stderr
    assert "nothing to propose" in done.stdout


@pytest.mark.parametrize(
    "name", [".github/workflows/own.yml", "own.json", "a/b/c.json", "a/link.json"]
)
def test_a_device_can_hand_over_nothing_but_baselines(job: Job, name: str) -> None:
    measure(job, changed=True)
    path = job.work / "measured" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if "link" in name:
        path.symlink_to("/etc/passwd")
    else:
        path.write_text("{}")
    done = job.propose()
    assert done.returncode == 1
    assert "not baselines" in done.stderr
    assert not job.log.exists()


def test_a_damaged_baseline_is_not_proposed(job: Job) -> None:
    path = measure(job, changed=True)
    path.write_text(path.read_text()[:-40])
    done = job.propose()
    assert done.returncode != 0
    assert not job.log.exists()
    assert "run-7" not in job.git("branch", where=job.origin)


def test_a_device_is_left_without_abandoned_containers_and_without_the_change(job: Job) -> None:
    (job.work / "action.yml").write_text("")
    (job.work / "own model").mkdir()
    program = "from pytest_gaitperf.lease import prefix; print(prefix('triton') + 'x')"
    gone = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()
    alive = prefix("triton") + "x"
    job.environment["FAKE_CONTAINERS"] = f"{gone} {alive} gaitperf-of-somebody"
    done = job.run(str(ROOT / ".ci" / "clean-device"))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in job.work.iterdir()] == ["action.yml"]
    calls = job.log.read_text().splitlines()
    assert [call for call in calls if call.startswith("rm")] == [f"rm --force {gone}"]


def check_release(tree: Path, tag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(tree / ".ci" / "check-release"), tag],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A tree that agrees with the tag v1.2.0."""
    for folder in (".ci", "pytest_gaitperf", "changelog.d"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / ".ci" / "check-release", tmp_path / ".ci")
    (tmp_path / "pytest_gaitperf" / "__init__.py").write_text('"""A."""\n__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.0 (2030-01-01)\n")
    (tmp_path / "changelog.d" / "template.md.jinja").touch()
    (tmp_path / "pyproject.toml").write_text('Source = "https://github.com/somebody/x"\n')
    return tmp_path


def test_a_tree_that_agrees_with_its_tag_is_released(release: Path) -> None:
    done = check_release(release, "v1.2.0")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pytest_gaitperf/__init__.py", '__version__ = "1.3.0"\n', "__init__.py says 1.3.0"),
        ("CHANGELOG.md", "# Changelog\n", "CHANGELOG.md has no dated section 1.2.0"),
        ("CHANGELOG.md", "## 1.2.0 (unreleased)\n", "CHANGELOG.md has no dated section 1.2.0"),
        ("changelog.d/new.added.md", "New.\n", "fragments are left in changelog.d"),
        ("pyproject.toml", 'Source = "https://github.com/OWNER/x"\n', "replace OWNER"),
    ],
)
def test_a_tree_that_is_not_ready_is_not_released(
    release: Path, name: str, text: str, message: str
) -> None:
    (release / name).write_text(text)
    done = check_release(release, "v1.2.0")
    assert done.returncode == 1
    assert message in done.stderr


def test_the_newest_job_names_what_is_not_as_pinned(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text(
        f"pytest==0.1 \\\n    --hash=sha256:00\nnumpy=={version('numpy')} \\\n"
        "numpy==0.1 ; python_version < '3.0' \\\nno-such-package==1 \\\n"
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "newer.py"), str(pins)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"pytest {version('pytest')} (pinned: 0.1)\n"
