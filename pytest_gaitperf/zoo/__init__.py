"""The gait-recognition networks, users' own models, and the model repository that serves them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def optional_packages(what: str, extra: str) -> Iterator[None]:
    """Turn an ImportError into ConfigurationError that names the extra to install for ``what``."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"{what} needs an optional package ({error}); install it with: "
            f"pip install 'pytest-gaitperf[{extra}]'"
        ) from error
