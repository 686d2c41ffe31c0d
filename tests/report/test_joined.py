"""The runs of a sweep as one record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.environment import Profile
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.report.joined import joined, together
from pytest_gaitperf.report.relative import ratios
from pytest_gaitperf.report.table import table
from pytest_gaitperf.results import Outcome, Policy
from pytest_gaitperf.results_file import encode
from pytest_gaitperf.workload import Workload
from tests.report.runs import cell, lost, run

if TYPE_CHECKING:
    from pathlib import Path

LOAD = Workload("3D", 1, 1)


def test_each_model_is_there_once_for_each_mode_and_the_frontier_is_over_all() -> None:
    fast, slow = run(cell(LOAD)), run(cell(LOAD, factor=1.5, judged=()))
    whole = joined({"MAXN": fast, "15W": slow}, {"3D": 0.9}, None, estimates=False)
    assert [one.id for one in whole.cells] == ["3D@MAXN-b1-c1", "3D@15W-b1-c1"]
    assert whole.outcome is Outcome.GREEN
    assert whole.frontier is not None
    assert whole.frontier.cells == ("3D@MAXN-b1-c1",)
    assert whole.frontier.accuracy == {"3D@MAXN": 0.9, "3D@15W": 0.9}
    assert whole.profile.fields == fast.profile.fields
    shown = table(whole, width=120, colour=False)
    assert "3D@MAXN" in shown
    assert "3D@15W" in shown


def test_the_whole_is_as_bad_as_its_worst_run_and_says_in_which_mode() -> None:
    good, bad = run(cell(LOAD)), run(cell(LOAD, factor=1.6), failed_tests=("test_x",))
    whole = joined({"MAXN": good, "15W": bad}, {}, None, estimates=False)
    assert whole.outcome is Outcome.RED
    assert "15W: test_x failed" in whole.reasons
    assert any(reason.startswith("3D@15W-b1-c1: ") for reason in whole.reasons)
    unsaid = joined({"MAXN": good, "15W": run(lost(LOAD))}, {}, None, estimates=False)
    assert unsaid.outcome is Outcome.UNMEASURED


ACCEPTING = Policy(update="all", accept_regressions=True)


@pytest.mark.parametrize("rules", [{"policy": ACCEPTING}, {"against": "v1"}])
def test_runs_that_were_judged_by_different_rules_are_refused(rules: dict[str, Any]) -> None:
    other, red = run(cell(LOAD), **rules), run(cell(LOAD, factor=1.6))
    with pytest.raises(ConfigurationError, match="judged by different rules"):
        joined({"MAXN": other, "15W": red}, {}, None, estimates=False)


def test_the_rules_of_a_run_that_judged_nothing_do_not_count() -> None:
    silent, red = run(cell(LOAD, judged=()), policy=ACCEPTING), run(cell(LOAD, factor=1.6))
    whole = joined({"MAXN": silent, "15W": red}, {}, None, estimates=False)
    assert whole.outcome is Outcome.RED


def test_what_keeps_one_run_from_being_green_keeps_the_whole_from_it() -> None:
    unchecked = run(cell(LOAD), full_run=True, unchecked_limits={"throughput >= 1": 1})
    whole = joined({"MAXN": run(cell(LOAD)), "15W": unchecked}, {}, None, estimates=False)
    assert whole.outcome is Outcome.UNMEASURED
    assert whole.reasons == ("15W: no test of this run checked throughput >= 1",)


@pytest.mark.parametrize("missing", [(), ("7W (2): skipped: it needs a reboot",)])
def test_a_mode_that_is_missing_keeps_the_whole_from_being_green(missing: tuple[str, ...]) -> None:
    whole = joined({"MAXN": run(cell(LOAD))}, {}, None, estimates=False, unjudged=missing)
    assert whole.outcome is (Outcome.UNMEASURED if missing else Outcome.GREEN)


def test_ratios_are_to_the_model_in_the_first_mode() -> None:
    runs = {
        mode: run(cell(LOAD, factor=factor), relative_to="3D")
        for mode, factor in (("MAXN", 1.0), ("15W", 2.0))
    }
    whole = joined(runs, {}, None, estimates=False)
    assert ratios(whole, "faster") == {"3D@MAXN-b1-c1": 1.0, "3D@15W-b1-c1": 0.5}


def test_results_of_several_devices_are_read_together(tmp_path: Path) -> None:
    orin, nano = tmp_path / "orin.json", tmp_path / "nano.json"
    orin.write_text(encode(run(cell(LOAD), profile=Profile("agx-orin"))))
    nano.write_text(encode(run(cell(LOAD, factor=1.04), profile=Profile("orin-nano"))))
    whole = together([orin, nano])
    assert [one.id for one in whole.cells] == ["3D@agx-orin-b1-c1", "3D@orin-nano-b1-c1"]
    assert whole.frontier is not None
    assert whole.frontier.compared == 2
    with pytest.raises(ConfigurationError, match="two of the results are of agx-orin: give one"):
        together([orin, nano, orin])


def test_of_one_device_the_power_modes_tell_them_apart(tmp_path: Path) -> None:
    paths = []
    for mode, clocks in (("MAXN", "dynamic"), ("15W", "dynamic"), ("15W", "gpu612")):
        known = run(cell(LOAD), profile=Profile("agx", {"power_mode": mode, "clocks": clocks}))
        paths.append(tmp_path / f"{mode}-{clocks}.json")
        paths[-1].write_text(encode(known))
    whole = together(paths)
    assert [one.workload.model for one in whole.cells] == ["3D@MAXN", "3D@15W", "3D@15W-gpu612"]
