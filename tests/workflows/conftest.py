"""The workflows and the action as files, and as what YAML makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
COMMENT = ROOT / ".github" / "action" / "comment"
ACTIONS = [ACTION, COMMENT / "action.yml"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = sorted(
    path
    for folder in (".ci", ".github/action")
    for path in (ROOT / folder).iterdir()
    if path.is_file() and path.read_text().startswith("#!/usr/bin/env bash")
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step, with where it stands."""

    where: str
    content: dict[str, Any]


def load(path: Path) -> dict[str, Any]:
    """Read YAML; its ``on`` is a word here, not the truth value that YAML 1.1 takes it for."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    if True in content:
        content["on"] = content.pop(True)
    return content


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every job of every workflow, by ``workflow/job``."""
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield f"{path.stem}/{name}", job


def steps() -> Iterator[Step]:
    """Every step of every job, and of the actions."""
    for where, job in jobs():
        for step in job["steps"]:
            yield Step(f"{where}: {step['name']}", step)
    for path in ACTIONS:
        for step in load(path)["runs"]["steps"]:
            yield Step(f"{path.parent.name}/action: {step['name']}", step)
