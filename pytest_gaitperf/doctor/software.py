"""Python, the packages, and which extras are there."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, metadata, version
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from pytest_gaitperf.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor.finding import Machine

_OURS = "pytest-gaitperf"
_LEFT_OUT = frozenset({"dev"})


def packages(_machine: Machine) -> Iterator[Finding]:
    """Compare what is installed with what this package asks for."""
    about = metadata(_OURS)
    wanted = [Requirement(line) for line in about.get_all("Requires-Dist") or ()]
    yield Finding(
        "python",
        "ok",
        f"{platform.python_version()} at {sys.executable}, pytest {version('pytest')}, "
        f"{_OURS} {version(_OURS)}",
    )
    core = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    lacking = [text for one in core if (text := _lacking(one))]
    if lacking:
        command = f"{sys.executable} -m pip install --upgrade {_OURS}"
        yield Finding("packages", "fix", ", ".join(lacking), "", command)
    extras = [name for name in about.get_all("Provides-Extra") or () if name not in _LEFT_OUT]
    present: list[str] = []
    absent: list[str] = []
    for extra in extras:
        own = [one for one in wanted if one not in core and one.marker is not None]
        own = [one for one in own if one.marker and one.marker.evaluate({"extra": extra})]
        (absent if any(map(_lacking, own)) else present).append(extra)
    what = f"present: {', '.join(present) or 'none'}; not installed: {', '.join(absent) or 'none'}"
    yield Finding("extras", "ok", what)


def _lacking(wanted: Requirement) -> str:
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if wanted.specifier.contains(there, prereleases=True):
        return ""
    return f"{wanted.name} {there} is not {wanted.specifier}"


CHECKS = (packages,)
