"""When, on what and by what a run was made, as its record has it: see ``results``."""

from __future__ import annotations

import msgspec


class Profile(msgspec.Struct, frozen=True):
    """The kind of device and power mode, which makes runs comparable.

    ``id`` is the folder of the baselines, ``fields`` are what it is made of, ``facts`` what else is
    known of the machine.
    """

    id: str
    fields: dict[str, str] = {}
    facts: dict[str, str] = {}

    @property
    def settings(self) -> list[tuple[str, str]]:
        """What of it was set, by a person or a sweep: the power mode, clocks that are held."""
        named = {"power_mode": "power mode", "clocks": "clocks"}
        found = [(words, self.fields.get(field, "")) for field, words in named.items()]
        return [(words, value) for words, value in found if value not in ("", "dynamic")]


class Triton(msgspec.Struct, frozen=True):
    """The server, and how it was come by: attach, local or docker."""

    version: str
    mode: str = ""
    url: str = ""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """The power meter.

    ``meter`` is its name, None where there is none, as ``absent`` says. ``idle_w`` are the watts
    of each rail before, between and after the sessions; ``idle_drift`` says that one moved by 5 %.
    ``calibration`` says by which reference the total's figures were corrected, "" by none.
    """

    meter: str | None = None
    description: str | None = None
    rails: tuple[str, ...] = ()
    total_rails: tuple[str, ...] = ()
    estimated: bool = False
    absent: str | None = None
    idle_w: tuple[dict[str, float], ...] = ()
    idle_drift: str | None = None
    calibration: str = ""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """When, by what and on what the run was made.

    ``dirty``: tracked files differed from ``commit``; None where no git could be asked.
    ``load_average`` is over 1, 5 and 15 minutes at the end, ``temperatures_c`` by thermal zone.
    """

    time: str
    commit: str = ""
    dirty: bool | None = None
    plugin: str = ""
    pytest: str = ""
    python: str = ""
    triton: Triton | None = None
    power: Power = msgspec.field(default_factory=Power)
    load_average: tuple[float, float, float] | None = None
    temperatures_c: dict[str, float] = {}


class Sessions(msgspec.Struct, frozen=True):
    """How often to measure all, in how many lives, in orders drawn from ``seed``; what ended it."""

    asked: int = 1
    lives: int = 1
    seed: int = 0
    began: tuple[str, ...] = ()
    cut_short: str | None = None
