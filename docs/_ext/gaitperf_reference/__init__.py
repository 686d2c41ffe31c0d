"""What is generated: the reference pages from the code, the figures from the benchmarks' files.

A page holds its introduction and a line ``<!-- generated: NAME -->``; when the site is built,
Markdown takes that line's place. Nobody edits it by hand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gaitperf_reference.commands import commands
from gaitperf_reference.figures import figures
from gaitperf_reference.fixtures import fixtures
from gaitperf_reference.markers import markers
from gaitperf_reference.options import options
from gaitperf_reference.schemas import baseline_schema, results_schema, write_schemas

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_LINE = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)

GENERATED: dict[str, Callable[[], str]] = {
    "options": options,
    "markers": markers,
    "fixtures": fixtures,
    "commands": commands,
    "results-schema": results_schema,
    "baseline-schema": baseline_schema,
    "figures": figures,
}
"""Each part by the name that pages call it by: a function that returns Markdown."""


def _insert(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _LINE.sub(lambda line: GENERATED[line[1]](), source[0])


def _always_read(
    _app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> list[str]:
    return [page for page in env.found_docs if page == "figures" or page.startswith("reference/")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what is done when."""
    app.connect("source-read", _insert)
    # The code may have changed though the page has not.
    app.connect("env-get-outdated", _always_read)
    app.connect("build-finished", write_schemas)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
