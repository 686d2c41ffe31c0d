"""Every command in the documents is one that the programs accept, and every link leads somewhere.

What the README and the tutorial say to type is run, in ``test_documents_run.py``.
"""

from __future__ import annotations

import io
import re
import subprocess
from argparse import Namespace
from contextlib import redirect_stderr, suppress
from pathlib import Path

import pytest
from _pytest.config.exceptions import PrintHelp

from pytest_gaitperf import cli
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import load_toml
from tests.docs.documents import PAGES, ROOT, anchors, commands, inline_commands, links, steps

OTHERS = {
    ".": "the shell",
    "cd": "the shell",
    "cp": "the system",
    "docker": "the system",
    "echo": "the shell",
    "git": "the system",
    "mkdir": "the system",
    "otava": "another project's; tests/export runs it where it is installed",
    "python": "the interpreter",
    "python3": "the interpreter",
    "sudo": "the system",
    "venv": "Python's",
    "nvidia-smi": "NVIDIA's",
}
"""Programs that are not ours: nothing checks what is asked of them."""


def _said(which: str) -> list[tuple[str, str]]:
    found = {
        (path.relative_to(ROOT).as_posix(), command)
        for path in PAGES
        for command in (commands(path) if which == "blocks" else inline_commands(path))
    }
    return sorted(found)


def _check_all(command: str, config: pytest.Config) -> None:
    for words in steps(command):
        _check(words, config)


def _check(words: list[str], config: pytest.Config) -> None:
    """Fail unless the program takes these words."""
    program, *arguments = words
    name = Path(program).name
    if name.startswith("python") and arguments[:1] == ["-m"]:
        name, *arguments = arguments[1:]
    if name == "pytest":
        _check_pytest(arguments, config)
    elif name == "gaitperf":
        _check_gaitperf(arguments)
    elif name == "make":
        done = subprocess.run(
            ["make", "--dry-run", *arguments],  # noqa: S607 - the make on PATH is meant
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    elif name == "pip":
        _check_extras(arguments)
    else:
        known = program in OTHERS or name in OTHERS
        assert known, f"nothing checks {program}: run it, or say whose it is"


def _check_pytest(arguments: list[str], config: pytest.Config) -> None:
    # Files are the reader's, and need not be there.
    given = [word for word in arguments if not word.startswith(("--gaitperf-data=", "@"))]
    refused = ""
    unknown: list[str] = []
    try:
        _, unknown = config._parser.parse_known_and_unknown_args(given, Namespace())
    except PrintHelp:  # pytest 8.0 prints it at once
        pass
    except (pytest.UsageError, GaitperfError) as error:
        refused = str(error)
    # Prose may name an option alone, as in `pytest -n`.
    assert not refused or len(given) == 1, f"pytest refuses it: {refused}"
    assert not unknown, f"pytest does not know {unknown}"


def _check_gaitperf(arguments: list[str]) -> None:
    # Prose may name a command alone, or leave out what it needs; ACTION stands for any action.
    words = [word for word in arguments if word != "ACTION"]
    said = io.StringIO()
    with redirect_stderr(said), suppress(SystemExit):
        cli.parser().parse_args(words)
    assert not said.getvalue() or "arguments are required" in said.getvalue(), said.getvalue()


def _check_extras(arguments: list[str]) -> None:
    known = load_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"]
    for requirement in arguments:
        if asked := re.search(r"(?:pytest-gaitperf|\.)\[(.*)\]", requirement):
            unknown = set(asked[1].split(",")) - set(known)
            assert not unknown, f"pyproject.toml has no extra {unknown}"


@pytest.mark.parametrize(("page", "command"), _said("blocks") + _said("text"))
def test_a_command_is_accepted(page: str, command: str, pytestconfig: pytest.Config) -> None:
    _check_all(command, pytestconfig)


@pytest.mark.parametrize(
    "command",
    [
        "pytest suites --gaitperf-bugdet=3",
        "pytest suites --gaitperf-budget=often",
        "gaitperf models bulid",
        "gaitperf baseline show --weekly",
        "make pref",
        "pip install 'pytest-gaitperf[loacl]'",
        "gatiperf models",
    ],
)
def test_a_command_with_a_mistake_is_noticed(command: str, pytestconfig: pytest.Config) -> None:
    with pytest.raises(AssertionError):
        _check_all(command, pytestconfig)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name
)
def test_a_link_that_the_site_does_not_build_leads_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(found), f"{name} has no heading {anchor}"
