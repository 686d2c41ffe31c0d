"""Try each property of the fast tests with twenty times its examples, drawn anew.

`make test` tries the same examples each time, so that what it says of a change is of the change.
Here they are others each time, and many more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
TIMES, FEWEST = 20, 400
_SETTINGS = "_hypothesis_internal_use_settings"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the properties, with more examples."""
    kept = []
    for item in items:
        test = getattr(item, "function", None)
        given: settings | None = getattr(test, _SETTINGS, None)
        if given is None:
            continue
        many = settings(
            given,
            max_examples=max(TIMES * given.max_examples, FEWEST),
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        )
        setattr(test, _SETTINGS, many)
        kept.append(item)
    items[:] = kept


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 where one fails (always so)")
    parser.parse_args()
    words = "-m pytest -q -n 2 -p tests.campaigns.properties"
    command = [sys.executable, *words.split(), "-m", "not slow"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
