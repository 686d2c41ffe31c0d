"""docs/fixtures.md is true, and pytest itself explains fixtures and marker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.config.marker import MARKER_KEYS
from pytest_gaitperf.power.trace import About, Recording, Trace, save
from tests.plugin.conftest import ROOT

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

POWER = "--power=replay:gpus.power.npz"

BROKEN = """
import time

import pytest

from pytest_gaitperf.workload import Workload


def test_too_short(power_meter):
    with power_meter.measure():
        time.sleep(0.01)


def test_nested(power_meter):
    with power_meter.measure(), power_meter.measure():
        pass


def test_a_cell_inside(perf, power_meter):
    with power_meter.measure():
        perf.measure(Workload("steady", 1, 1))


def test_a_metered_load_inside(triton_load, power_meter):
    with power_meter.measure():
        triton_load(Workload("steady", 1, 1), seconds=0.1, power=True)


def test_figures_too_early(power_meter):
    with power_meter.measure() as spent:
        with pytest.raises(AttributeError, match="joules is known when the block"):
            spent.joules
        time.sleep(0.6)
    assert spent.rails_j["gpu0"] == pytest.approx(100 * spent.duration_s, rel=0.1)
    assert spent.rails_j["gpu1"] == pytest.approx(40 * spent.duration_s, rel=0.1)
    assert spent.joules == pytest.approx(sum(spent.rails_j.values()))
    assert spent.mean_w == pytest.approx(140, rel=0.1)
    assert spent.above_idle_j is None, "an estimate has no idle power"
    assert spent.estimated


def test_the_meter_is_still_there(power_meter):
    assert power_meter.total_rails == ("gpu0", "gpu1")
    assert power_meter.minimum_window_s >= 0.5
    power_meter.start()
    power_meter.stop()
"""


@pytest.fixture
def metered(project: Project) -> Project:
    """The project with a recording of two GPUs, of 100 and 40 W: no load can starve it."""
    times = np.arange(0, 300_000_000_000, 20_000_000, dtype=np.int64)
    digits = np.random.default_rng(1).integers(0, 2, (times.size, 2))
    trace = Trace(("gpu0", "gpu1"), times, digits + np.array([100.0, 40.0]), "power")
    about = About(
        meter="fake",
        description="two GPUs",
        rails=trace.rails,
        total_rails=trace.rails,
        gpu_rails=trace.rails,
        kind="power",
        estimated=False,
        label="gpus",
    )
    save(project.path, Recording(trace, np.array([times[0], times[-1]]), about))
    (project.path / "test_grid.py").unlink()
    return project


@pytest.mark.slow
def test_every_example_runs(metered: Project) -> None:
    page = (ROOT / "docs/fixtures.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 5
    for number, example in enumerate(examples):
        text = example.replace("resnet50", "steady").replace("resnet*", "steady")
        (metered.path / f"test_example_{number}.py").write_text(text)
    shown = metered.run(POWER, "--gaitperf-update=missing")
    shown.assert_outcomes(passed=len(re.findall(r"^def test_", page, re.MULTILINE)) + 1)


def test_what_the_meter_cannot_do_is_said(metered: Project) -> None:
    metered.pytester.makepyfile(test_broken=BROKEN)
    shown = metered.run(POWER)
    shown.assert_outcomes(passed=2, failed=4)
    text = shown.stdout.str()
    assert "Traceback" not in text
    assert "During handling" not in text
    shown.stdout.fnmatch_lines(
        [
            "power_meter: the block took 0.* s, and replay resolves * s or more: repeat *",
            "power_meter: the power meter is measuring a block of power_meter.measure(): one *",
            "steady-b1-c1 could not be measured: the power meter is measuring a block of *",
            "steady-b1-c1 could not be loaded: the power meter is measuring a block of *",
        ]
    )


def test_pytest_explains_the_fixtures_with_types_units_and_an_example(
    pytester: pytest.Pytester,
) -> None:
    shown = pytester.runpytest_inprocess("-p", "no:hypothesispytest", "--fixtures", "-v")
    shown.stdout.fnmatch_lines(
        [
            "triton_server [[]session scope[]] -- *",
            "    Return the running Triton server, *: ``.url``.",
            "    A ``TritonServer``: ``url`` (host:port, text), *",
            "power_meter [[]session scope[]] -- *",
            "    Measure the joules of a block: ``with power_meter.measure() as spent: work()``.",
            "    Then assert on ``spent.joules``, * ``spent.mean_w`` (watts) *",
            "perf_cell [[]session scope[]] -- *",
            "    Return the ``Workload`` to measure: the test runs once for each cell *",
            "triton_load [[]session scope[]] -- *",
            '    Load the server for some seconds: ``triton_load(Workload("resnet50", 8, 4), *',
            "    *with ``power=True`` (default: False)*",
            "perf -- *",
            '    Measure workloads, and gate them: ``perf.gate(perf_cell, "throughput")``.',
            "    seconds to assert on: any workload, no baseline. *",
        ]
    )


def test_pytest_explains_the_marker_with_types_defaults_and_an_example(
    pytester: pytest.Pytester,
) -> None:
    text = pytester.runpytest_inprocess("-p", "no:hypothesispytest", "--markers").stdout.str()
    ours = text.partition("@pytest.mark.gaitperf(")[2].partition("\n\n")[0]
    names, _, told = ours.partition("):")
    assert set(names.split(", ")) == set(MARKER_KEYS)
    for name in MARKER_KEYS:
        assert re.search(rf"\b{name}\b", told), f"{name} is not explained"
    assert 'Example: @pytest.mark.gaitperf(models="resnet*"' in told
