"""How the site is built: ``make docs``. Nothing is fetched, warnings are errors."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_gaitperf import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pytest-gaitperf"
author = "The pytest-gaitperf maintainers"
release = version = __version__

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
