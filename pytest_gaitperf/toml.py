"""Read TOML files, with the file and the line in every error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path


def load_toml(path: Path) -> dict[str, Any]:
    """Return the document at ``path``; a ConfigurationError when it cannot be read."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    return document
