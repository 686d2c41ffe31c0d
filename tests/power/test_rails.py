from __future__ import annotations

import pytest

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.sensor import LAYOUTS, Layout, module_rails


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.modules)
def test_every_module_is_known_by_its_rails_and_counts_nothing_twice(layout: Layout) -> None:
    rails = tuple(dict.fromkeys((*layout.total, *layout.apart)))
    module, total, gpu, parts = module_rails(rails)
    assert (module, total) == (layout.modules, layout.total)
    assert not set(total) & set(layout.apart)
    assert set(parts) <= set(layout.apart)
    assert gpu


def test_unknown_labels_are_listed_and_a_choice_is_asked_for() -> None:
    rails = ("VDD_FPGA", "VDD_GPU_NEW")
    with pytest.raises(MeterError, match=r"VDD_FPGA, VDD_GPU_NEW; say which .*--power-rails"):
        module_rails(rails)
    assert module_rails(rails, ("VDD_FPGA",)) == ("", ("VDD_FPGA",), ("VDD_GPU_NEW",), ())


def test_the_input_of_a_module_is_never_added_to_its_parts() -> None:
    rails = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    with pytest.raises(ConfigurationError, match="counts energy twice: VDD_IN"):
        module_rails(rails, ("VDD_SOC", "VDD_IN"))


def test_a_part_of_the_total_that_is_missing_comes_with_what_helps() -> None:
    thor = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")
    with pytest.raises(MeterError, match=r"^VIN, .* Thor, is absent .*driver of its monitor"):
        module_rails(thor)


def test_the_input_of_an_unknown_board_is_not_added_to_its_parts_either() -> None:
    rails = ("SYS_VIN", "VDD_FPGA", "VDD_M2")
    with pytest.raises(ConfigurationError, match="counts energy twice: SYS_VIN"):
        module_rails(rails, ("VDD_FPGA", "SYS_VIN"))
    assert module_rails(rails, ("VDD_FPGA", "VDD_M2")).total == ("VDD_FPGA", "VDD_M2")


def test_the_sum_of_an_unknown_board_says_that_nobody_checked_it() -> None:
    rails = ("VDD_FPGA", "VDD_M2", "VBUS")
    (note,) = module_rails(rails, ("VDD_FPGA", "VDD_M2")).notes
    assert "VDD_FPGA + VDD_M2" in note
    assert module_rails(rails, ("VBUS",)).notes == ()
    with pytest.raises(ConfigurationError, match="counts energy twice: VBUS"):
        module_rails(rails, ("VBUS", "VDD_M2"))
    known = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    assert module_rails(known, ("VDD_CPU_GPU_CV", "VDD_SOC")).notes == ()
