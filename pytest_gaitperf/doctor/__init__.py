"""``gaitperf doctor`` says whether this machine is fit to measure, and what it resolves.

Here is what a check finds, and what it may look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.config.settings import Settings
    from pytest_gaitperf.host.state import DeviceState
    from pytest_gaitperf.host.watch import Usage
    from pytest_gaitperf.triton.api import Api
    from pytest_gaitperf.triton.launch import Docker, Local

Severity = Literal["ok", "warn", "fix"]
"""ok; warn: measurements are noisier or say less; fix: they would be wrong, or impossible."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: ``name`` is what was looked at, ``what`` what was found.

    ``advice`` says what follows from it or what to do, ``command`` is a shell command that mends
    it; both are "" where there is nothing to do.
    """

    name: str
    state: Severity
    what: str
    advice: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the checks look at; tests give the ``root`` of a fake tree.

    ``state`` and ``usage`` are one look at the device and at what else it does. ``server`` is how a
    run would come by one, ``against`` why not by the ways before that. ``needs_energy``: without a
    power sensor it is unfit.
    """

    settings: Settings
    root: Path
    state: DeviceState
    usage: Usage
    server: Api | Local | Docker | None
    against: Sequence[str] = ()
    needs_energy: bool = False


Check = Callable[[Machine], Iterable[Finding]]
"""Looks at one thing; gives nothing where that does not apply to the machine."""
