"""What a check finds, and what it may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.doctor.server import Way
    from pytest_gaitperf.host.state import DeviceState
    from pytest_gaitperf.host.usage import Usage

State = Literal["ok", "warn", "fix"]
"""ok; warn: measurements are noisier or say less; fix: they would be wrong, or impossible."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: ``name`` is what was looked at, ``what`` what was found.

    ``advice`` says what follows from it or what to do, ``command`` is a shell command that mends
    it; both are "" where there is nothing to do.
    """

    name: str
    state: State
    what: str
    advice: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the checks look at; tests give the ``root`` of a fake tree.

    ``state`` and ``usage`` are one look at the device and at what else it does, ``way`` is how a
    run would come by its server. ``needs_energy``: without a power sensor it is unfit.
    """

    settings: Settings
    root: Path
    state: DeviceState
    usage: Usage
    way: Way
    needs_energy: bool = False


class Check(Protocol):
    """Looks at one thing. What it raises becomes a finding too: see ``examine``."""

    def __call__(self, machine: Machine, /) -> Iterable[Finding]:
        """Give what was found; nothing where the thing does not apply to this machine."""
        ...
