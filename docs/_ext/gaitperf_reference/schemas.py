"""The JSON Schemas of the results file and of the baselines, as files and as tables."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_gaitperf.baseline.schema import BaselineFile
from pytest_gaitperf.results_file import json_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sphinx.application import Sphinx

Schema = dict[str, Any]


def results_schema() -> str:
    """Return tables of the results file's fields."""
    return _tables(json_schema())


def baseline_schema() -> str:
    """Return tables of a baseline file's fields."""
    return _tables(_baseline())


def _baseline() -> Schema:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | msgspec.json.schema(BaselineFile)


def write_schemas(app: Sphinx, failed: Exception | None) -> None:
    """Put both schemas beside the pages that link to them."""
    if failed is None and app.builder.format == "html":
        folder = Path(app.outdir) / "reference"
        for name, schema in (("results", json_schema()), ("baseline", _baseline())):
            (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=1) + "\n")


def _tables(schema: Schema) -> str:
    definitions: dict[str, Schema] = schema["$defs"]
    top = schema["$ref"].rpartition("/")[2]
    order = [top, *(name for name in definitions if name != top)]
    return "\n".join(_table(name, definitions[name]) for name in order)


def _table(name: str, schema: Schema) -> str:
    said = [f"## {name}", ""]
    said += [inspect.cleandoc(schema.get("description", "")).replace("``", "`"), ""]
    if "prefixItems" in schema:
        said.append(
            "An array, in this order: " + ", ".join(map(_type, schema["prefixItems"])) + "."
        )
    if schema.get("properties"):
        required = set(schema.get("required", ()))
        said += ["| key | type |", "|---|---|"]
        for key, part in schema["properties"].items():
            said.append(f"| `{key}` | {_type(part)}{'' if key in required else ' (optional)'} |")
    return "\n".join([*said, ""])


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind = str(schema.get("type", "anything"))
    # "items" is false of an array that has a type for each place.
    of = schema.get("items") or schema.get("additionalProperties")
    return f"{kind} of {_type(of)}" if isinstance(of, dict) else kind
