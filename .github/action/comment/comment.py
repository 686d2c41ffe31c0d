"""The step that comments: one comment of a pull request for each profile, made or changed.

It asks GitHub's REST API ("Issue comments" in its documentation) with the token in ``TOKEN``. Where
that may not write, it says so in a warning: the run's outcome is the gate's affair.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gaitperf import read_results
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.report.ci import command
from pytest_gaitperf.report.markdown import summary

if TYPE_CHECKING:
    from pytest_gaitperf import Run

_MOST_BYTES = 60_000
"""GitHub refuses a comment of more than 65 536 characters."""

_PAGE, _MOST_PAGES, _TIMEOUT_S = 100, 30, 30.0


def text_of(run: Run) -> str:
    """Return the comment; its first line, which is not shown, tells it from all others."""
    profile = hashlib.sha256(run.profile.id.encode()).hexdigest()[:12]
    return f"<!-- gaitperf {profile} -->\n{summary(run, most_bytes=_MOST_BYTES)}"


def ask(method: str, path: str, body: str | None = None) -> Any:
    """Ask GitHub about the repository; raises OSError and ValueError."""
    url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}"
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {os.environ['TOKEN']}",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    data = None if body is None else json.dumps({"body": body}).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - GitHub's own
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        return json.load(answer)


def comment(text: str, pull: int) -> None:
    """Change the comment that begins with the same line; make one where there is none."""
    first, _, _ = text.partition("\n")
    for page in range(1, _MOST_PAGES + 1):
        found = ask("GET", f"issues/{pull}/comments?per_page={_PAGE}&page={page}")
        for one in found:
            # A person may quote a comment, and only a program's own is changed.
            ours = (one["user"] or {}).get("type") == "Bot"
            if ours and (one["body"] or "").startswith(first):
                ask("PATCH", f"issues/comments/{one['id']}", text)
                return
        if len(found) < _PAGE:
            break
    ask("POST", f"issues/{pull}/comments", text)


def main() -> None:
    """Comment, or say in a warning why not."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    pull = event.get("pull_request", {}).get("number")
    if pull is None:
        _warn("the event is of no pull request")
        return
    try:
        comment(text_of(read_results(Path(os.environ["RESULTS"]))), int(pull))
    except urllib.error.HTTPError as error:
        needs = ": the job needs pull-requests: write" if error.code in (401, 403, 404) else ""
        _warn(f"GitHub answered {error.code} ({error.reason}){needs}")
    except (GaitperfError, OSError, ValueError) as error:
        _warn(str(error))


def _warn(why: str) -> None:
    sys.stdout.write(f"{command('warning', f'no comment was made: {why}', title='gaitperf')}\n")


if __name__ == "__main__":
    main()
