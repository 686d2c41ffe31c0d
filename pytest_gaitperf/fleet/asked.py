"""Whether a run with ``--dist each`` is one of a fleet: other people's tests are xdist's as ever.

The pytest that distributes collects nothing, so it looks at what it was told, and into the files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_gaitperf.fleet.refusal import FIXTURES
from pytest_gaitperf.settings import is_configured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

_OURS = re.compile(rb"\b(?:gaitperf|" + "|".join(sorted(FIXTURES)).encode() + rb")\b")


def is_fleet(config: pytest.Config) -> bool:
    """Return whether a run has to do with us.

    It has where an option of ours is set, in whatever place, and where a test file or a
    ``conftest.py`` names us or a fixture of ours. A word too much costs nothing; where one is
    missed, the workers refuse to measure, as they do without a fleet. Paths that are not here, but
    perhaps on the boards, count as ours. Raises ConfigurationError for a table that cannot be read.
    """
    return is_configured(config) or any(
        not path.exists() or _OURS.search(path.read_bytes()) for path in _files(config)
    )


def _files(config: pytest.Config) -> Iterator[Path]:
    """Yield the files that pytest would collect on the boards."""
    patterns = ["conftest.py", *config.getini("python_files")]
    for argument in config.args:
        path = config.invocation_params.dir / argument.partition("::")[0]
        if not path.is_dir():
            yield path
            continue
        for file in path.rglob("*.py"):
            if any(map(file.match, patterns)) and file.is_file():
                yield file
