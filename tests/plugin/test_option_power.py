"""--power: the meter, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.power.meter import open_meter
from tests.plugin.baselines import UNMEASURED

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

OWN = """
def test_own(power_meter):
    assert power_meter.total_rails
"""


def test_none_skips_energy_with_the_reason(project: Project) -> None:
    project.pytester.makepyfile(test_own=OWN)
    shown = project.run("test_own.py", "--power=none", "-rs")
    shown.assert_outcomes(skipped=1)
    shown.stdout.fnmatch_lines(["SKIPPED * no power meter: none: no meter was asked for"])


def test_auto_without_a_sensor_says_what_was_tried(project: Project) -> None:
    if any(open_meter("auto").tried) and open_meter("auto").meter is None:
        project.pytester.makepyfile(test_own=OWN)
        shown = project.run("test_own.py", "--power=auto", "-rs")
        shown.assert_outcomes(skipped=1)
        text = " ".join(shown.stdout.str().split())
        assert "no power meter: ina3221: no power monitor found at" in text
        assert "nvml:" in text
    else:
        pytest.skip("this machine has a power sensor")


def test_a_named_meter_that_cannot_read_is_an_error(project: Project) -> None:
    if not Path("/sys/bus/i2c/drivers/ina3221").exists():
        options = [option for option in project.options if not option.startswith("--power")]
        shown = project.pytester.runpytest_inprocess(
            *options, "--power=ina3221", project.grid("steady")
        )
        shown.assert_outcomes(errors=3)
        assert shown.ret == UNMEASURED
        shown.stdout.fnmatch_lines(["*could not be measured: --power=ina3221: no power monitor*"])
    else:
        pytest.skip("this machine has an INA3221")


@pytest.mark.parametrize("own", [False, True], ids=["grid", "power_meter"])
def test_an_unknown_meter_is_a_usage_error_with_the_nearest_word(
    project: Project, *, own: bool
) -> None:
    project.pytester.makepyfile(test_own=OWN)
    shown = project.run("--power=ina3212", "test_own.py" if own else project.grid("steady"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join(shown.stderr.str().split())
    assert (
        "--power=ina3212 is unknown (did you mean 'ina3221'?); choose one of auto, none, " in text
    )
    assert "Traceback" not in text
