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
    except (ValueError, RecursionError) as error:  # an integer too long for Python is a ValueError
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    _check_integers(document, path)
    return document


def _check_integers(document: dict[str, Any], path: Path) -> None:
    """Refuse integers of more than 64 bits, as TOML has it; Python's parser takes them."""
    items: list[Any] = [document]
    while items:
        item = items.pop()
        if isinstance(item, dict):
            items += item.values()
        elif isinstance(item, list):
            items += item
        elif isinstance(item, int) and not -(1 << 63) <= item < 1 << 63:
            raise ConfigurationError(
                f"{path}: not valid TOML: an integer of {item.bit_length()} bits, not of 64"
            )
