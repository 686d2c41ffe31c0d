"""Holding results against their JSON Schema, which here allows no key that it does not name."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from pytest_gaitperf.results_file import json_schema


def misfits(document: object) -> list[str]:
    """Return what of a results document the schema does not know or allow, by place."""
    schema: dict[str, Any] = json_schema()
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    found = Draft202012Validator(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]
