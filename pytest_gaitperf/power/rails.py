"""Which rails of a Jetson module make up its total, and which feed its GPU.

One table for every backend that reads these rails. The labels come from the board's device tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.sensor import chosen_rails

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Layout:
    """The rails of a module: which make its total, and which the GPU hangs on.

    ``apart`` are rails that are reported, but never part of the total: they are contained in it, or
    it is not known whether they are.
    """

    modules: str
    total: tuple[str, ...]
    gpu: tuple[str, ...]
    apart: tuple[str, ...]


LAYOUTS = (
    Layout("Jetson Nano", ("POM_5V_IN",), ("POM_5V_GPU",), ("POM_5V_GPU", "POM_5V_CPU")),
    Layout(
        "Jetson Orin Nano, Orin NX or Xavier NX",
        ("VDD_IN",),
        ("VDD_CPU_GPU_CV",),
        ("VDD_CPU_GPU_CV", "VDD_SOC"),
    ),
    Layout(
        "Jetson AGX Orin",
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        ("VDD_GPU_SOC",),
        ("VDDQ_VDD2_1V8AO",),
    ),
    Layout("Jetson AGX Xavier", ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"), ("GPU",), ()),
    Layout("Jetson Thor", ("VIN",), ("VDD_GPU",), ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),
)
"""The rule for each module's total. On AGX Orin it is not settled whether VDDQ_VDD2_1V8AO hangs
behind VIN_SYS_5V0: it stays apart. Thor's VIN includes the carrier board."""

_INPUTS = frozenset(layout.total[0] for layout in LAYOUTS if len(layout.total) == 1)


def layout_of(rails: tuple[str, ...]) -> Layout | None:
    """Find the module whose rails these are, None when no rule knows them."""
    for layout in LAYOUTS:
        # A disabled channel is missing here, so a subset is enough; a foreign rail is not.
        if set(rails) <= {*layout.total, *layout.apart}:
            return layout
    return None


def total_rails(
    rails: tuple[str, ...],
    layout: Layout | None,
    chosen: tuple[str, ...] = (),
    disabled: Sequence[str] = (),
) -> tuple[str, ...]:
    """Give the rails whose sum is the module's total: the chosen ones, else the module's rule.

    Raises
    ------
    ConfigurationError
        A chosen rail does not exist, or counts something twice.
    MeterError
        No rule is known for these rails and none were chosen, or a part of the total is missing.

    """
    if chosen:
        whole = [rail for rail in chosen if rail in _INPUTS]
        if whole and len(chosen) > 1:
            raise ConfigurationError(
                f"--power-rails={','.join(chosen)} counts energy twice: {whole[0]} is the module's "
                "input and already contains the others; name it alone, or leave it out"
            )
        return chosen_rails(chosen, rails)
    if layout is None:
        raise MeterError(
            f"no rule for the total of the rails {', '.join(rails)}; say which ones add up to the "
            "module's power with --power-rails=RAIL[,RAIL...]"
        )
    missing = [rail for rail in layout.total if rail not in rails]
    if missing:
        why = "disabled" if missing[0] in disabled else "absent"
        raise MeterError(
            f"{missing[0]}, a part of the total of a {layout.modules}, is {why} (readable: "
            f"{', '.join(rails)}); enable its channel, or choose with --power-rails"
        )
    return layout.total


def gpu_rails(rails: tuple[str, ...], layout: Layout | None) -> tuple[str, ...]:
    """Give the rails that the GPU hangs on: what papers that report "GPU power" read.

    Of an unknown module, those with GPU in their label.
    """
    if layout is None:
        return tuple(rail for rail in rails if "GPU" in rail)
    return tuple(rail for rail in layout.gpu if rail in rails)
