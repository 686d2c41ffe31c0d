"""The action's step that measures: inputs, which come as environment variables, become options.

Started by the Python of the action's environment, in the caller's directory. It becomes pytest
itself, so that the runner's signals reach the run, and pytest's exit code the runner.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

OPTIONS = {
    "MODELS": "--gaitperf-models",
    "GRID": "--gaitperf-grid",
    "POWER": "--power",
    "UPDATE": "--gaitperf-update",
    "AGAINST": "--gaitperf-against",
}


def main() -> None:
    """Replace this process by pytest."""
    folder = Path(os.environ["FOLDER"])
    arguments = [
        *("-ra", "-p", "no:cacheprovider"),
        *(f"{flag}={os.environ[name]}" for name, flag in OPTIONS.items() if os.environ.get(name)),
        f"--gaitperf-json={folder / 'results.json'}",
        f"--gaitperf-journal={folder / 'journal.jsonl'}",
        f"--junitxml={folder / 'junit.xml'}",
        *_suite(folder),
        *_words(os.environ.get("ARGS", "")),
    ]
    sys.stdout.write(f"pytest {shlex.join(arguments)}\n")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])  # noqa: S606 - no shell is meant


def _suite(folder: Path) -> list[str]:
    """Return the tests to run and, for the plugin's own, whose configuration holds."""
    given = os.environ.get("SUITE", "")
    if given:
        return [given]
    # From the action's checkout pytest would take that repository's configuration and sources.
    own = folder / "suites"
    own.mkdir()
    shutil.copy(Path(os.environ["GITHUB_ACTION_PATH"]) / "suites" / "test_grid.py", own)
    return [f"--rootdir={Path.cwd()}", str(own)]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        sys.exit(f"the input args cannot be taken apart ({error}): {text}")


if __name__ == "__main__":
    main()
