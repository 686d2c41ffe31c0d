"""The options: from ``options.py`` and the defaults of ``Settings``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_gaitperf.config.options import OPTIONS
from pytest_gaitperf.config.settings import Settings

if TYPE_CHECKING:
    from pytest_gaitperf.config.option import Option


def options() -> str:
    """Return a section for each option, in the order of ``pytest --help``."""
    return "\n".join(_section(option) for option in OPTIONS)


def _section(option: Option) -> str:
    asked = "" if option.switch else f"={_kind(option)}"
    often = ", can be given several times" if option.merged else ""
    default = _default(option)
    rows = {
        "command line": f"`{option.flag}{asked}`{often}",
        "`[tool.gaitperf]`": f"`{option.dest}`",
        "default": f"`{default}`" if default else "none",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    text = re.sub(r"--[\w-]+(=[\w:]+)?", r"`\g<0>`", option.help.replace("%%", "%"))
    return f"## `{option.flag}`\n\n{text[0].upper()}{text[1:]}.\n\n| | |\n|---|---|\n{table}\n"


def _kind(option: Option) -> str:
    # A table has no room for a bar, but within code of its own.
    if option.choices:
        return ",".join(option.choices).join("{}")
    return (option.metavar or "TEXT").replace("|", r"\|")


def _default(option: Option) -> str:
    value = getattr(Settings(), option.dest)
    if option.switch:
        return str(value).lower()
    if option.dest == "tolerance":
        return f"{next(iter(value.values())):.0%}"
    if option.dest == "precision":
        return f"{value:.0%}"
    if value in (None, "", (), {}) or (option.dest == "deadline" and not value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
