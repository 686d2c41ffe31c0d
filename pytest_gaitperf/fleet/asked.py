"""Whether a run with ``--dist each`` is one of a fleet: other people's tests are xdist's as ever.

The pytest that distributes collects nothing, so it looks at what it was told, and into the files.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gaitperf.config.settings import is_configured
from pytest_gaitperf.fleet.refusal import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

# Not any word: a test of anybody's may say json.load, or name Triton.
_OURS = re.compile(
    rb"\bgaitperf\b|(?:\bdef\s+\w+\s*|\busefixtures|\bgetfixturevalue)\([^)]*\b(?:"
    + "|".join(sorted(FIXTURES)).encode()
    + rb")\b"
)


def is_fleet(config: pytest.Config) -> bool:
    """Return whether a run has to do with us.

    It has where an option of ours is set, in whatever place, and where a test file or a
    ``conftest.py`` names us or asks for a fixture of ours. Where that is missed, the workers refuse
    to measure, as they do without a fleet. Paths that cannot be read here, but perhaps on the
    boards, count as ours. Raises ConfigurationError for a table that cannot be read.
    """
    return is_configured(config) or any(map(_is_ours, _files(config)))


def _is_ours(path: Path) -> bool:
    try:
        return _OURS.search(path.read_bytes()) is not None
    except OSError:
        return True


def _files(config: pytest.Config) -> Iterator[Path]:
    """Yield the files that pytest would collect on the boards."""
    patterns = ["conftest.py", *config.getini("python_files")]
    left_out = config.getini("norecursedirs")
    for argument in config.args:
        path = config.invocation_params.dir / argument.partition("::")[0]
        if not path.is_dir():
            yield path
            continue
        for folder, below, names in os.walk(path):
            below[:] = [one for one in below if not any(fnmatch(one, each) for each in left_out)]
            files = (Path(folder, name) for name in names)
            yield from (file for file in files if any(map(file.match, patterns)))
