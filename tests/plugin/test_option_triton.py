"""--triton: where the server comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import way
from pytest_gaitperf.config.settings import Settings
from pytest_gaitperf.engine.resources import Resources
from pytest_gaitperf.progress import TerminalProgress
from tests.triton.infer import wait_gone

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

SHOW = """
def test_it(triton_server):
    print("it is", triton_server.mode, "with", *triton_server.models())
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
        from pathlib import Path

        import pytest

        @pytest.fixture(autouse=True)
        def pid(triton_server):
            Path("pid").write_text(str(triton_server.process.pid))
        """,
    )
    shown = offline.run("-s", "test_own.py", "--triton=auto")
    shown.assert_outcomes(passed=1)
    shown.stdout.fnmatch_lines(["Triton * (local)", "*it is local with other steady"])
    assert wait_gone([int((offline.path / "pid").read_text())]) == []


def test_a_server_that_comes_up_after_collection_is_not_taken_for_the_one_to_be_started(
    offline: Project,
    server: TritonServer,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    monkeypatch.setattr(way, "DEFAULT_URL", "127.0.0.1:1")
    settings = Settings(triton_repository=offline.path / "model_repository", lock="off")
    resources = Resources(settings, None, TerminalProgress(pytestconfig))
    assert set(resources.offers) == {"other", "steady"}
    monkeypatch.setattr(way, "DEFAULT_URL", server.url)
    try:
        assert (resources.server.mode, resources.server.models()) == ("local", ("other", "steady"))
    finally:
        resources.close()


def test_local_starts_one_even_when_something_answers(
    offline: Project, server: TritonServer
) -> None:
    offline.pytester.makepyprojecttoml(f"[tool.gaitperf]\ntriton_url = '{server.url}'\n")
    offline.pytester.makepyfile(test_own=SHOW)
    shown = offline.run("-s", "test_own.py", "--triton=local")
    shown.stdout.fnmatch_lines(["*it is local with other steady"])


@pytest.mark.parametrize("mode", ["attach", "auto"])
def test_nothing_at_a_url_is_an_error_and_starts_nothing(offline: Project, mode: str) -> None:
    shown = offline.run(f"--triton={mode}", "--triton-url=127.0.0.1:9")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(
        ["ERROR: no Triton to attach to at 127.0.0.1:9: nothing listens there *--triton-url*"]
    )
    assert "Traceback" not in shown.stderr.str()
    assert "(local)" not in shown.stdout.str()


def test_a_start_and_a_url_contradict_one_another(offline: Project) -> None:
    shown = offline.run("--triton=local", "--triton-url=127.0.0.1:9")
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    shown.stderr.fnmatch_lines(["ERROR: --triton=local starts a server, and --triton-url=*"])
    # The table's URL is for the runs that do not start one.
    offline.pytester.makepyprojecttoml("[tool.gaitperf]\ntriton_url = '127.0.0.1:9'\n")
    shown = offline.run("--collect-only", "-q", "--triton=local")
    assert shown.ret == pytest.ExitCode.OK


def test_a_bad_value_is_refused(offline: Project) -> None:
    offline.refuses("--triton", "remote", "'remote'", "attach", "local", "docker")
