"""Python's cyclic garbage collection, held back while many objects are made at once."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_collection() -> Iterator[None]:
    """Hold back the search for cycles: for work that makes many objects and no cycles.

    While ten thousand cells are judged or saved the collector would look through all of them again
    and again, and find nothing: half of the time. What is not in a cycle is freed as ever.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
