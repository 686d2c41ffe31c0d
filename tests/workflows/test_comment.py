"""The comment in a pull request, by a fake of the part of GitHub's REST API that it asks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.results_file import encode
from tests.report.runs import MIXED
from tests.workflows.conftest import COMMENT, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALL = re.compile(r"/repos/owner/models/issues/7/comments(?:\?per_page=100&page=(\d+))?")
ONE = re.compile(r"/repos/owner/models/issues/comments/(\d+)")


@dataclass
class FakeGitHub:
    """A pull request's comments; with ``refused``, the status that every question is answered."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def say(self, body: str, kind: str = "Bot") -> None:
        self.comments.append({"id": len(self.comments), "body": body, "user": {"type": kind}})

    def answer(self, method: str, path: str, sent: dict[str, str]) -> Any:
        self.asked.append(f"{method} {path}")
        if self.refused:
            return {"message": "Resource not accessible by integration"}
        if (one := ONE.fullmatch(path)) and method == "PATCH":
            self.comments[int(one[1])]["body"] = sent["body"]
            return {}
        found = ALL.fullmatch(path)
        assert found is not None, path
        if method == "POST":
            self.say(sent["body"])
            return {}
        first = 100 * (int(found[1]) - 1)
        return self.comments[first : first + 100]


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    fake = FakeGitHub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            assert self.headers["Authorization"] == "Bearer t0ken"
            length = int(self.headers["Content-Length"] or 0)
            sent = json.loads(self.rfile.read(length)) if length else {}
            text = json.dumps(fake.answer(self.command, self.path, sent)).encode()
            self.send_response(fake.refused or 200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - names of the standard library

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    file = tmp_path / "results.json"
    file.write_text(encode(MIXED))
    return file


def commented(github: FakeGitHub, results: Path, event: dict[str, Any] | None = None) -> str:
    """Run the step; return what it printed."""
    file = results.with_name("event.json")
    file.write_text(json.dumps({"pull_request": {"number": 7}} if event is None else event))
    done = subprocess.run(
        [sys.executable, COMMENT / "comment.py"],
        env={
            "PYTHONPATH": str(ROOT),
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": "owner/models",
            "GITHUB_EVENT_PATH": str(file),
            "RESULTS": str(results),
            "TOKEN": "t0ken",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_run_has_one_comment_which_the_next_run_changes(
    github: FakeGitHub, results: Path
) -> None:
    assert commented(github, results) == ""
    (first,) = github.comments
    marker, _, text = first["body"].partition("\n")
    assert re.fullmatch(r"<!-- gaitperf [0-9a-f]{12} -->", marker)
    assert text.startswith("## ")
    assert "gaitperf: " in text
    first["body"] = f"{marker}\nof the run before"
    assert commented(github, results) == ""
    (again,) = github.comments
    assert again["body"].partition("\n")[2] == text


def test_what_others_said_is_left_as_it_is(github: FakeGitHub, results: Path) -> None:
    commented(github, results)
    marker = github.comments.pop()["body"].splitlines()[0]
    github.say(f"{marker}\nquoted by a person", kind="User")
    github.say("<!-- gaitperf 0123456789ab -->\nof another device")
    github.comments.append({"id": len(github.comments), "body": None, "user": None})
    for number in range(150):
        github.say(f"{number} of another program")
    before = [one["body"] for one in github.comments]
    commented(github, results)
    assert [one["body"] for one in github.comments[:-1]] == before
    commented(github, results)
    assert len(github.comments) == len(before) + 1
    assert github.asked[-1] == f"PATCH /repos/owner/models/issues/comments/{len(before)}"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_where_it_may_not_write_it_says_what_is_needed(
    github: FakeGitHub, results: Path, status: int
) -> None:
    github.refused = status
    said = commented(github, results)
    assert said.startswith("::warning title=gaitperf::no comment was made: ")
    assert f"GitHub answered {status}" in said
    assert "pull-requests: write" in said


def test_what_is_wrong_is_a_warning(github: FakeGitHub, results: Path) -> None:
    assert "the event is of no pull request" in commented(github, results, {"push": {}})
    results.write_text("{}")
    assert "no comment was made: " in commented(github, results)
    results.unlink()
    assert "no comment was made: " in commented(github, results)
    assert not github.comments
