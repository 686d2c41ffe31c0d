from __future__ import annotations

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.rails import (
    LAYOUTS,
    Layout,
    gpu_rails,
    layout_of,
    total_rails,
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.modules)
def test_every_module_is_known_by_its_rails_and_counts_nothing_twice(layout: Layout) -> None:
    rails = tuple(dict.fromkeys((*layout.total, *layout.apart)))
    found = layout_of(rails)
    assert found == layout
    total = total_rails(rails, found)
    assert not set(total) & set(layout.apart)
    assert gpu_rails(rails, found)


def test_unknown_labels_are_listed_and_a_choice_is_asked_for() -> None:
    rails = ("VDD_FPGA", "VDD_GPU_NEW")
    with pytest.raises(MeterError, match=r"VDD_FPGA, VDD_GPU_NEW; say which .*--power-rails"):
        total_rails(rails, layout_of(rails))
    assert total_rails(rails, None, ("VDD_FPGA",)) == ("VDD_FPGA",)
    assert gpu_rails(rails, None) == ("VDD_GPU_NEW",)


def test_the_input_of_a_module_is_never_added_to_its_parts() -> None:
    rails = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    with pytest.raises(ConfigurationError, match="counts energy twice: VDD_IN"):
        total_rails(rails, layout_of(rails), ("VDD_SOC", "VDD_IN"))
