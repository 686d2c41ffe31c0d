from __future__ import annotations

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.sensor import LAYOUTS, Layout, module_rails


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.modules)
def test_every_module_is_known_by_its_rails_and_counts_nothing_twice(layout: Layout) -> None:
    rails = tuple(dict.fromkeys((*layout.total, *layout.apart)))
    module, total, gpu = module_rails(rails)
    assert (module, total) == (layout.modules, layout.total)
    assert not set(total) & set(layout.apart)
    assert gpu


def test_unknown_labels_are_listed_and_a_choice_is_asked_for() -> None:
    rails = ("VDD_FPGA", "VDD_GPU_NEW")
    with pytest.raises(MeterError, match=r"VDD_FPGA, VDD_GPU_NEW; say which .*--power-rails"):
        module_rails(rails)
    assert module_rails(rails, ("VDD_FPGA",)) == ("", ("VDD_FPGA",), ("VDD_GPU_NEW",))


def test_the_input_of_a_module_is_never_added_to_its_parts() -> None:
    rails = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    with pytest.raises(ConfigurationError, match="counts energy twice: VDD_IN"):
        module_rails(rails, ("VDD_SOC", "VDD_IN"))


def test_a_part_of_the_total_that_is_missing_comes_with_what_helps() -> None:
    thor = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")
    with pytest.raises(MeterError, match=r"^VIN, .* Thor, is absent .*driver of its monitor"):
        module_rails(thor)
    with pytest.raises(MeterError, match=r"^VDD_IN, .* is disabled .*enable its channel"):
        module_rails(("VDD_SOC",), disabled=["VDD_IN"])
