"""A sweep over power modes: the command line of each mode, and the exit code of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import read_results
from pytest_gaitperf.config.settings import Settings, load_settings
from pytest_gaitperf.host.nvpmodel import Mode
from pytest_gaitperf.results_file import encode
from pytest_gaitperf.sweep import DeviceSetting, SettingRun, arguments_for, join, merged
from tests.report.runs import cell, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MODE = DeviceSetting(Mode(2, "MODE 15W/2"))
SKIPPED, FAILED = "skipped: it needs a reboot", "not measured: it did not take the mode"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["suites", "--gaitperf-power-modes=0,2", "-x"], ["suites", "-x"]),
        (["--gaitperf-power-modes", "all", "suites"], ["suites"]),
        (["--gaitperf-gpu-clocks=306,612", "--gaitperf-emc-clocks", "2133", "-x"], ["-x"]),
        (
            ["--gaitperf-json", "out/r.json", "-k", "energy", "--power-trace=t"],
            ["--power-trace=t/MODE-15W-2", "--gaitperf-json=out/r-MODE-15W-2.json", "-k", "energy"],
        ),
        (["--gaitperf-report=r.html"], ["--gaitperf-report=r-MODE-15W-2.html"]),
        (["--junit-xml=a.xml", "-q"], ["--junitxml=a-MODE-15W-2.xml", "-q"]),
        (["--gaitperf-journal=j.jsonl"], ["--gaitperf-journal=j-MODE-15W-2.jsonl"]),
        (
            ["--gaitperf-export=csv:out/a.csv", "-q", "--gaitperf-export", "bencher:b"],
            [
                "--gaitperf-export=csv:out/a-MODE-15W-2.csv",
                "--gaitperf-export=bencher:b-MODE-15W-2",
                "-q",
            ],
        ),
        (["--gaitperf-profile=agx", "s"], ["--gaitperf-profile=agx-mode-15w-2", "s"]),
    ],
)
def test_each_mode_has_files_and_a_named_profile_of_its_own(
    pytester: pytest.Pytester, given: list[str], expected: list[str]
) -> None:
    (pytester.path / "suites").mkdir()
    (pytester.path / "s").mkdir()
    config = pytester.parseconfig(*given)
    words = arguments_for(MODE, config, load_settings(config))
    assert [word for word in words if not word.startswith("--basetemp")] == expected


def test_a_results_file_named_in_the_settings_is_the_modes_own_too(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "pyproject.toml").write_text('[tool.gaitperf]\njson = "r.json"\n')
    config = pytester.parseconfig()
    assert "--gaitperf-json=r-MODE-15W-2.json" in arguments_for(MODE, config, load_settings(config))


@pytest.mark.parametrize(
    ("codes", "all_", "code"),
    [
        ([0, 0], False, 0),
        ([0, 1, 10], False, 1),
        ([10, 0], False, 10),
        ([3, 1], False, 3),
        ([0, 4], False, 4),
        ([1, 2], False, 2),
        ([-9, 0], False, 10),
        ([0, SKIPPED], False, 10),
        ([0, SKIPPED], True, 0),
        ([SKIPPED], True, 10),
        ([1, SKIPPED], False, 1),
        ([0, FAILED], True, 10),
    ],
)
def test_the_worst_run_counts_and_a_named_mode_that_did_not_run_is_not_green(
    codes: Sequence[int | str], *, all_: bool, code: int
) -> None:
    outcomes = [
        SettingRun(MODE, None, given) if isinstance(given, str) else SettingRun(MODE, given)
        for given in codes
    ]
    assert merged(outcomes, restored=True, all_=all_) == code
    assert merged(outcomes, restored=False, all_=all_) == (code or 10)


def test_a_mode_that_left_no_results_keeps_the_record_of_all_from_being_green(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "r.json"
    runs = [
        SettingRun(DeviceSetting(Mode(0, "MAXN")), 0),
        SettingRun(DeviceSetting(Mode(1, "15W")), -9),
    ]
    modes = [one.setting for one in runs]
    (tmp_path / "r-MAXN.json").write_text(encode(run(cell())))
    assert not join(runs, modes, Settings(json=whole, power_modes=("0", "1")))
    assert read_results(whole).reasons == ("15W: it left no results",)
    (tmp_path / "r-15W.json").write_text("{")
    assert join(runs, modes, Settings(json=whole, power_modes=("0", "1")))
    assert "problem: " in capsys.readouterr().out


def test_without_a_results_file_it_says_how_to_have_all_modes_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not join([SettingRun(MODE, 0)], [MODE], Settings())
    assert "--gaitperf-json=FILE puts all modes into one record" in capsys.readouterr().out
