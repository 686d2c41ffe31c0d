"""The fixtures: what ``pytest --fixtures`` says, and what the objects they give can do."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

_HEAD = re.compile(r"^(\w+)(?: \[(\w+) scope\])? -- (\S*pytest_gaitperf/\S+\.py):(\d+)$")
_ALSO = (
    ("pytest_gaitperf.workload", "Workload"),
    ("pytest_gaitperf.measurement", "Measurement"),
    ("pytest_gaitperf.metrics", "Estimate"),
    ("pytest_gaitperf.engine.loading", "Loaded"),
)


class _Fixture(NamedTuple):
    name: str
    scope: str
    path: Path
    line: int
    text: str


def fixtures() -> str:
    """Return a section for each fixture, then one for each class that tests meet."""
    found = _listed()
    parts = []
    classes: dict[str, type] = {}
    for fixture in found:
        given = _given(fixture)
        classes |= given
        gives = ", ".join(f"[`{name}`](#class-{name.lower()})" for name in given)
        parts.append(
            f"## `{fixture.name}`\n\n"
            f"Scope: {fixture.scope}." + (f" Gives: {gives}." if gives else "") + "\n\n"
            f"{_markdown(fixture.text)}\n"
        )
    for module, name in _ALSO:
        classes.setdefault(name, getattr(importlib.import_module(module), name))
    return "\n".join([*parts, *(_class(one) for one in classes.values())])


def _listed() -> list[_Fixture]:
    """Ask pytest for its fixtures, in a directory without tests."""
    with TemporaryDirectory() as empty:
        command = [sys.executable, "-m", "pytest", "--fixtures", "-v", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "--rootdir", empty, "-c", "/dev/null"],
            cwd=empty,
            capture_output=True,
            text=True,
            check=False,
        )
        found: list[_Fixture] = []
        text: list[str] | None = None
        for line in done.stdout.splitlines():
            if head := _HEAD.match(line):
                text = []
                path = Path(empty, head[3]).resolve()
                found.append(_Fixture(head[1], head[2] or "function", path, int(head[4]), ""))
            elif text is not None and (not line or line.startswith("    ")):
                text.append(line)
                found[-1] = found[-1]._replace(text=textwrap.dedent("\n".join(text)).strip())
            else:
                text = None
    shown = [one for one in found if not one.name.startswith("_")]
    if not shown:
        raise RuntimeError(f"pytest --fixtures shows none of the plugin's:\n{done.stdout}")
    return shown


def _given(fixture: _Fixture) -> dict[str, type]:
    """Return the classes of ours that a fixture's annotation names."""
    tree = ast.parse(fixture.path.read_text())
    function = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
        <= fixture.line
        <= node.body[0].lineno
    )
    if function.returns is None:
        return {}
    named = [node.id for node in ast.walk(function.returns) if isinstance(node, ast.Name)]
    homes = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    found = {}
    for name in named:
        home = _module_of(fixture.path) if name in own else homes.get(name, "")
        if home.startswith("pytest_gaitperf"):
            found[name] = getattr(importlib.import_module(home), name)
    return found


def _module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    start = len(parts) - 1 - parts[::-1].index("pytest_gaitperf")
    return ".".join(parts[start:])


def _class(one: type) -> str:
    """Return a class's description, its fields, and its public methods and properties."""
    said = [f"## Class `{one.__name__}`", "", f"`{one.__module__}.{one.__name__}`", ""]
    said += [_markdown(inspect.getdoc(one) or ""), ""]
    if dataclasses.is_dataclass(one):
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(one))
        said += [f"Fields: {fields}.", ""]
    for name, member in vars(one).items():
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(member, property):
            said += [f"`.{name}`", f": {_paragraph(inspect.getdoc(member) or '')}", ""]
        elif inspect.isfunction(member):
            signature = re.sub(r"self(, )?", "", str(inspect.signature(member)), count=1)
            shown = "" if name == "__call__" else f".{name}"
            said += [
                f"`{shown}{signature.replace(chr(39), '')}`",
                f": {_paragraph(inspect.getdoc(member) or '')}",
                "",
            ]
    return "\n".join(said)


def _paragraph(text: str) -> str:
    return "\n  ".join(_markdown(text).splitlines())


def _markdown(text: str) -> str:
    """Turn a docstring's double backquotes and numpydoc headings into Markdown."""
    text = re.sub(r"^(\w+)\n-+$", r"**\1**\n", text, flags=re.MULTILINE)
    return text.replace("``", "`").replace("*args", r"\*args")
