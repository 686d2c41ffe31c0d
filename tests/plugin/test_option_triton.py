"""--triton: where the server comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.triton.infer import wait_gone
from tests.triton.models import write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SHOW = """
def test_it(triton):
    print("it is", triton.mode, "with", *triton.models())
"""


def test_attach_takes_the_server_at_the_url(project: Project) -> None:
    project.pytester.makepyfile(test_own=SHOW)
    shown = project.run("-s", "test_own.py")
    shown.assert_outcomes(passed=1)
    shown.stdout.fnmatch_lines(["Triton * at 127.0.0.1:* (attach)", "*it is attach with dynamic *"])


def test_auto_attaches_when_something_answers(project: Project) -> None:
    project.pytester.makepyfile(test_own=SHOW)
    shown = project.run("-s", "test_own.py", "--triton=auto")
    shown.stdout.fnmatch_lines(["*it is attach with dynamic *"])


def test_auto_starts_a_local_server_when_nothing_answers_and_stops_it(offline: Project) -> None:
    offline.pytester.makepyfile(
        test_own=SHOW,
        conftest="""
        import pytest

        @pytest.fixture(autouse=True)
        def pid(triton):
            open("pid", "w").write(str(triton.process.pid))
        """,
    )
    shown = offline.run("-s", "test_own.py", "--triton=auto", "--triton-url=127.0.0.1:9")
    shown.assert_outcomes(passed=1)
    shown.stdout.fnmatch_lines(["Triton * (local)", "*it is local with other steady"])
    assert wait_gone([int((offline.path / "pid").read_text())]) == []


def test_local_starts_one_even_when_something_answers(project: Project) -> None:
    write_model(project.path / "model_repository", "own")
    project.pytester.makepyfile(test_own=SHOW)
    shown = project.run("-s", "test_own.py", "--triton=local")
    shown.stdout.fnmatch_lines(["*it is local with own"])


def test_attach_to_nothing_says_what_to_do(offline: Project) -> None:
    shown = offline.run("--triton=attach", "--triton-url=127.0.0.1:9")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(
        ["ERROR: no Triton to attach to at 127.0.0.1:9: nothing there *--triton-url*"]
    )
    assert "Traceback" not in shown.stderr.str()


def test_a_bad_value_is_refused(offline: Project) -> None:
    offline.refuses("--triton", "remote", "'remote'", "attach", "local", "docker")
