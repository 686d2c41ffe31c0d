"""From the schemas of older versions to today's: one pure function for each step.

A file of an older schema is migrated whenever it is read, in memory; a run that writes the file
writes today's schema. To change the schema: raise ``schema.SCHEMA``, add the step from the one
before it here, and keep a captured file of the old schema under ``tests/baseline/schemas``.

A step changes what changed and lets everything else pass, also what is damaged: the result is
validated as any file is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Document = dict[str, Any]


def migrated(document: Document) -> Document:
    """Return the document in today's schema; as it is, where no step leads from its own."""
    while type(schema := document.get("schema")) is int and schema in _STEPS:  # true is no schema
        document = _STEPS[schema](document)
    return document


def _entries_to_arrays(document: Document) -> Document:
    """Make schema 2 of 1: a metric was an object, and is an array: value, spread, n, rails.

    With an entry's names gone, all metrics of a session fit into one line of the file.
    """
    return {
        **document,
        "schema": 2,
        "cells": _each(
            document.get("cells"),
            lambda cell: {
                **cell,
                "sessions": _each(cell.get("sessions"), lambda entries: _each(entries, _array)),
            },
        ),
    }


def _array(entry: Document) -> Any:
    known = ("value", "spread", "n", "rails")
    if "value" not in entry or not entry.keys() <= set(known):
        return entry  # damaged: validation says where
    return [entry["value"], entry.get("spread"), entry.get("n", 0), entry.get("rails", "")]


def _each(items: Any, change: Callable[[Document], Any]) -> Any:
    """Change every value that is an object; what is none passes, for validation to refuse."""
    if not isinstance(items, dict):
        return items
    return {
        key: change(value) if isinstance(value, dict) else value for key, value in items.items()
    }


_STEPS: dict[int, Callable[[Document], Document]] = {1: _entries_to_arrays}
"""By the schema that a step starts from."""
