"""--power: the meter, or why there is none."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import read_results
from pytest_gaitperf.power import meter
from pytest_gaitperf.power.calibration import FILE
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.testing import ORIN_NANO, FakeBoard, Square
from tests.plugin.baselines import UNMEASURED, baseline_files

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
        shown.assert_outcomes(errors=4)
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


def record_energy(project: Project) -> None:
    """Record "steady", with energy as if a board's sensor had been there; and so under 2 names."""
    project.record()
    (path,) = baseline_files(project)
    document = json.loads(path.read_text())
    for session in document["cells"]["b1-c1"]["sessions"].values():
        session["energy_per_inference"] = [0.1, 0.02, 6, "VDD_IN"]
    path.write_text(json.dumps(document))
    other = json.dumps({**document, "model": "slow"})
    path.with_name("slow.json").write_text(other)


@pytest.mark.parametrize(("damage", "strict"), [("labels", False), ("chip", True)])
def test_energy_that_was_recorded_and_is_not_measured_is_never_green(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, *, strict: bool
) -> None:
    record_energy(project)
    with FakeBoard(tmp_path, ORIN_NANO) as board:
        device = board.channels["VDD_IN"][0].parent
        for path in device.glob("in[1-3]_label") if damage == "labels" else [device]:
            path.rename(tmp_path / path.name)
        if open_meter("auto", sysfs_root=board.root).meter is not None:
            pytest.skip("this machine has another power sensor")
        monkeypatch.setattr(meter, "open_meter", partial(open_meter, sysfs_root=board.root))
        options = [option for option in project.options if not option.startswith("--power")]
        shown = project.pytester.runpytest_inprocess(
            *(*options, project.grid("steady", "slow"), "-k", "energy"),
            *("--gaitperf-budget=1", "--gaitperf-json=results.json"),
            *(["--gaitperf-strict"] if strict else []),
        )
    assert shown.ret == UNMEASURED, shown.stdout.str()
    outcomes = {cell.id: cell.outcome.value for cell in project.cells().values()}
    assert outcomes == {"slow-b1-c1": "unmeasured", "steady-b1-c1": "unmeasured"}
    text = shown.stdout.str()
    seen = " ".join(text.split())
    assert seen.count("no labelled rail") == 2, "once by the first test, once under the table"
    assert "jtop: " not in text, "no other meter takes the place of a sick one"
    assert "steady-b1-c1 and 1 more: energy: it was not measured: " in seen


@pytest.mark.slow
def test_a_calibrated_board_s_joules_and_use_stand_beside_each_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = {
        **dict.fromkeys(("gain_error", "offset_error_w", "unseen", "board_w"), 0.0),
        **dict.fromkeys(("reference_w", "seconds", "lag_s"), 0.0),
        "gain": 1.2,
        "offset_w": 1.0,
        "correlation": 1.0,
        "meter": "ina3221",
        "rails": ["VDD_IN"],
        "sensor": "shunts of 5000 uOhm",
        "reference": "wall",
    }
    profile = project.pytester.path / "baselines/here"
    profile.mkdir(parents=True)
    (profile / FILE).write_text(json.dumps(calibration))
    with FakeBoard(project.pytester.path / "board", ORIN_NANO) as board:
        board.drive({"VDD_IN": Square(1800, 1800)}, noise_ma=400)
        monkeypatch.setattr(meter, "open_meter", partial(open_meter, sysfs_root=board.root))
        options = [option for option in project.options if not option.startswith("--power")]
        shown = project.pytester.runpytest_inprocess(
            *(*options, project.grid("steady"), "--gaitperf-update=missing"),
            *("--gaitperf-profile=here", "--gaitperf-baselines=baselines", "--gaitperf-budget=4"),
            *("--gaitperf-json=results.json", "--gaitperf-columns=watts,cpus,memory,gpu_busy"),
        )
    shown.stdout.fnmatch_lines(["*energy is calibrated by wall: x 1.2 +1 W"])
    run = read_results(project.pytester.path / "results.json")
    (measured,) = (cell.measurement for cell in run.cells)
    assert measured is not None
    assert measured.metrics["power_mean"].value == pytest.approx(13.0, rel=0.02)
    assert measured.utilisation is not None
    assert measured.utilisation.busy_cpus is not None
    (entry,) = baseline_files(project)
    assert "calibrated by wall: x 1.2 +1 W" in entry.read_text()
