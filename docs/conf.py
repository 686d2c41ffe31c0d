"""How the site is built: ``make docs``. Nothing is fetched, warnings are errors."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pytest-gaitperf"
author = "The pytest-gaitperf maintainers"
release = version = installed_version("pytest-gaitperf")

extensions = ["myst_parser", "gaitperf_reference"]
exclude_patterns = ["_build", "_ext"]
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
nitpicky = True
# Two hyphens begin an option, here.
smartquotes = False

html_theme = "furo"
html_title = "pytest-gaitperf"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

# In the navigation as soon as they are there.
_COMING = ("compatibility", "doctor", "faults", "figures", "fixtures", "fleet", "output", "report")


def _without_absent(_app: Sphinx, page: str, source: list[str]) -> None:
    if page == "index":
        absent = [name for name in _COMING if not Path(__file__).with_name(f"{name}.md").exists()]
        for name in absent:
            source[0] = re.sub(rf"^{name}\n", "", source[0], flags=re.MULTILINE)


def setup(app: Sphinx) -> None:
    """Tell Sphinx what is done to pages before they are read."""
    app.connect("source-read", _without_absent)
