"""What of a run becomes a baseline, and why the rest does not: on records of runs."""

from __future__ import annotations

from dataclasses import replace as with_fields
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pytest_gaitperf.baseline.admission import RecordingPlan
from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value
from pytest_gaitperf.baseline.store import BaselineStore, orphans
from pytest_gaitperf.environment import Sessions
from pytest_gaitperf.measurement import Capacity, Measurement
from pytest_gaitperf.metrics import Estimate
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.results import Cell, Outcome, Policy, VerdictKind
from pytest_gaitperf.workload import Workload
from tests.baseline.admitting import (
    BEHIND,
    FINGERPRINT,
    MISSING,
    PASS,
    SLOWER,
    TOLERANCE,
    Scene,
    cell,
    measured,
    verdict,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_green_run_is_recorded_with_all_its_sessions(scene: Scene) -> None:
    a = cell("a", verdicts={"throughput": MISSING}, further=(measured(1.01), measured(1.02)))
    plan = scene.plan(a, cell("b", verdicts={"throughput": MISSING}), sessions=Sessions(asked=3))
    assert plan.recorded == {"a-b1-c1": 3, "b-b1-c1": 1}
    assert plan.problem is None
    assert plan.notes == (
        "3 sessions recorded; the table shows the first",
        "1 cell that no grid has, and a test measures itself: one session only",
    )
    assert scene.recorded(plan) == {
        "a": [100.0, pytest.approx(99.01), pytest.approx(98.039)],
        "b": [100.0],
    }
    assert [one.recorded for one in scene.run.cells] == [3, 1]
    assert scene.run.notes == plan.notes
    assert scene.run.written == ("a.json", "b.json")


def test_missing_records_only_what_has_no_baseline(scene: Scene) -> None:
    scene.stored("a")
    new = cell("new", verdicts={"throughput": MISSING})
    plan = scene.plan(cell("a", verdicts={"throughput": PASS}), new, update="missing")
    assert plan.recorded == {"new-b1-c1": 1}


@pytest.mark.parametrize("update", ["none", "missing"])
def test_nothing_to_record_is_no_problem(scene: Scene, update: str) -> None:
    scene.stored("a")
    plan = scene.plan(cell("a", verdicts={"throughput": PASS}), update=update)
    assert plan == RecordingPlan(scene.run)


def test_a_red_run_records_nothing_and_names_the_command_that_accepts(scene: Scene) -> None:
    scene.stored("a", "b")
    plan = scene.plan(
        cell("a", 2.0, verdicts={"throughput": SLOWER}), cell("b", verdicts={"throughput": PASS})
    )
    assert scene.run.outcome is Outcome.RED
    assert plan.sessions == ()
    assert plan.problem is None, "it is red already"
    assert "not green" in plan.notes[0]
    assert plan.notes[1:] == (
        "1 cell regressed; to accept that as the new level:",
        "  pytest --accept",
    )


@pytest.mark.parametrize(
    ("fields", "is_problem"),
    [
        ({"sessions": Sessions(3, cut_short="session 2 of 3: it hung")}, True),
        ({"problems": ("it hung",)}, False),
        ({"unjudged": ("it hung",)}, False),
    ],
)
def test_a_run_that_was_cut_short_records_nothing(
    scene: Scene, fields: dict[str, Any], *, is_problem: bool
) -> None:
    plan = scene.plan(cell("a", verdicts={"throughput": MISSING}), **fields)
    assert plan.sessions == ()
    (told,) = [plan.problem] if is_problem else plan.notes
    assert told is not None
    assert told.startswith("no baseline was written: ")
    assert told.endswith("it hung")


UNFIT: dict[str, tuple[Cell, str]] = {
    "invalid": (cell("a", measured(invalid="throttled")), "throttled"),
    "lacking": (
        cell("a", lacking={"energy": "the sensor has gone"}),
        "energy: the sensor has gone",
    ),
    "meter": (cell("a", measured(energy_failed=True)), "energy was not measured"),
    "behind": (cell("a", measured(behind=BEHIND)), f"{BEHIND}; its latency is no baseline"),
    "unsettled": (
        cell("a", measured(capacity=Capacity(subjects=3, low=2, high=None, settled=False))),
        "its search did not settle",
    ),
    "unconfirmed": (cell("a", unconfirmed="it died"), "it could not be measured again: it died"),
    "not judged": (cell("a"), "nothing of it was judged"),
    "inconclusive": (
        cell("a", 2.0, verdicts={"throughput": verdict(VerdictKind.INCONCLUSIVE, -0.5)}),
        "it is inconclusive; neither shown equal nor accepted",
    ),
    "no number": (
        cell("a", 2.0, verdicts={"throughput": verdict(VerdictKind.INCONCLUSIVE)}),
        "it is inconclusive; neither shown equal nor accepted",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_cell_that_was_not_shown_equal_is_refused_by_name_and_the_others_are_recorded(
    scene: Scene, kind: str
) -> None:
    unfit, reason = UNFIT[kind]
    scene.stored("a", "b")
    plan = scene.plan(unfit, cell("b", verdicts={"throughput": PASS}))
    assert scene.run.outcome is not Outcome.RED
    assert plan.recorded == {"b-b1-c1": 1}
    assert list(plan.refused) == ["a-b1-c1"]
    assert plan.notes[0].startswith(f"a-b1-c1 was not recorded: {reason}")
    assert plan.problem is None
    assert {model: len(values) for model, values in scene.recorded(plan).items()} == {
        "a": 5,
        "b": 6,
    }


def test_an_inconclusive_change_within_the_tolerance_is_recorded(scene: Scene) -> None:
    scene.stored("a")
    within = verdict(VerdictKind.INCONCLUSIVE, -0.04)
    assert scene.plan(cell("a", verdicts={"throughput": within})).recorded == {"a-b1-c1": 1}


def test_a_run_of_which_nothing_is_admitted_is_a_problem(scene: Scene) -> None:
    scene.stored("a")
    plan = scene.plan(cell("a", measured(invalid="throttled")))
    assert plan.problem == ("no baseline was written:\n  a-b1-c1 was not recorded: throttled")


def test_what_no_test_looked_at_is_judged_before_it_is_recorded(scene: Scene) -> None:
    scene.stored("a", "b")
    slower = verdict(VerdictKind.REGRESSED, 0.5, "latency_p50")
    scene.judged["a-b1-c1"] = {"latency_p50": slower}
    plan = scene.plan(
        cell("a", verdicts={"throughput": PASS}), cell("b", verdicts={"throughput": PASS})
    )
    assert scene.run.outcome is Outcome.GREEN
    assert plan.recorded == {"b-b1-c1": 1}
    assert plan.problem == (
        "a-b1-c1 was not recorded: it is regressed\n"
        "  1 cell regressed; to accept that as the new level:\n"
        "    pytest --accept"
    )


def test_what_could_have_gone_unheard_is_recorded_since_that_sharpens(scene: Scene) -> None:
    scene.stored("a")
    deaf = replace(PASS, sensitivity=0.4, must_hear=0.25, sharpen="2 more sessions would hear 20%")
    plan = scene.plan(cell("a", verdicts={"throughput": deaf}))
    assert scene.run.outcome is Outcome.UNMEASURED
    assert plan.recorded == {"a-b1-c1": 1}


@pytest.mark.parametrize(("now", "refused"), [(95.3, False), (95.1, True), (110.0, False)])
def test_no_small_step_leads_away_from_the_accepted_level(
    scene: Scene, now: float, *, refused: bool
) -> None:
    scene.stored("a", "b")
    last = replace(PASS, now=now, baseline=97.0, change=now / 97 - 1, anchor=100.0)
    crept = cell("a", 100 / now, verdicts={"throughput": last})
    plan = scene.plan(crept, cell("b", verdicts={"throughput": PASS}))
    assert ("a-b1-c1" in plan.refused) is refused
    if refused:
        assert "100.0 inf/s, the level that was accepted last" in plan.refused["a-b1-c1"]
    recorded = scene.recorded(scene.plan(crept, accept=True))["a"]
    assert (len(recorded) == 1) is refused, "accepted: a new history"


def test_what_is_known_too_poorly_is_left_out_by_name_and_the_rest_recorded(scene: Scene) -> None:
    wide = measured()
    wide = replace(wide, metrics={**wide.metrics, "latency_p50": Estimate("s", 0.01, 0.007, 0.013)})
    plan = scene.plan(cell("a", wide, verdicts={"throughput": PASS}))
    (values,) = (one.values for one in plan.sessions[0].values())
    assert list(values) == ["throughput"]
    assert plan.refused == {
        "p50 of a-b1-c1": "it is not known to 25%, which must be heard: "
        "raise --gaitperf-budget, or free the machine"
    }
    few = replace(wide, metrics={"throughput": Estimate("inf/s", 100.0)})
    nothing = scene.plan(cell("a", few, verdicts={"throughput": PASS}))
    assert nothing.sessions == ()
    assert "throughput of a-b1-c1 was not recorded: it was measured in too few windows" in str(
        nothing.problem
    )


def test_a_later_session_that_fell_behind_is_left_out_of_that_cell(scene: Scene) -> None:
    a = cell("a", verdicts={"throughput": MISSING}, further=(measured(behind=BEHIND), measured()))
    b = cell("b", verdicts={"throughput": MISSING}, further=(measured(), measured()))
    plan = scene.plan(a, b, update="missing", sessions=Sessions(asked=3))
    assert plan.recorded == {"a-b1-c1": 2, "b-b1-c1": 3}
    assert plan.notes[0].startswith(f"session 2 of a-b1-c1 was not recorded: {BEHIND}; ")


def test_a_peak_of_memory_under_other_loads_is_left_out_of_its_session(scene: Scene) -> None:
    alone, memory = Workload("a", 1, concurrency=1, alone=True), Estimate("B", 1e8)
    metrics = {"server_memory_loaded": memory, "server_memory_peak": memory}
    first, second = (
        Measurement(metrics=metrics, loads=loads) for loads in (("b1-c1", "b8-c4"), ("b1-c1",))
    )
    new = verdict(VerdictKind.MISSING, metric="server_memory_loaded")
    kept: dict[str, Any] = {"workload": alone, "id": alone.id, "verdicts": {new.metric: new}}
    plan = scene.plan(
        cell("a", first, further=(second,), **kept), update="missing", sessions=Sessions(asked=2)
    )
    assert [list(one[alone].values) for one in plan.sessions] == [
        ["server_memory_peak", "server_memory_loaded"],
        ["server_memory_loaded"],
    ]


@pytest.mark.parametrize("accepted", [False, True])
def test_energy_that_is_an_estimate_is_recorded_only_where_estimates_are_accepted(
    scene: Scene, *, accepted: bool
) -> None:
    energy = {"energy_per_inference": Estimate("J", 0.1)}
    now = measured()
    now = replace(now, metrics=now.metrics | energy, energy_estimated=True)
    a = cell("a", now, verdicts={"throughput": PASS})
    scene.plan(a)
    plan = scene.planned(scene.run, estimates=accepted)
    (values,) = (one.values for one in plan.sessions[0].values())
    assert ("energy_per_inference" in values) is accepted
    assert values["throughput"].spread == 0.01


@pytest.mark.parametrize(
    ("policy", "kind", "recorded"),
    [
        (Policy(update="all"), VerdictKind.INCOMPARABLE, True),
        (Policy(update="missing"), VerdictKind.INCOMPARABLE, False),
    ],
)
def test_what_cannot_be_compared_is_recorded_anew_where_all_is(
    scene: Scene, policy: Policy, kind: VerdictKind, *, recorded: bool
) -> None:
    a = cell("a", verdicts={"throughput": verdict(kind, 0.0), "latency_p50": MISSING})
    scene.plan(a)
    run = settled(replace(scene.run, policy=policy))
    plan = scene.planned(run)
    assert bool(plan.recorded) is recorded


def test_cells_that_were_not_run_are_orphans_but_for_other_ways_and_the_full_grid(
    scene: Scene,
) -> None:
    grpc = Fingerprint("2.51.0", "in -> out", "grpc", "inline")
    for model, key, made in (
        ("a", "b1-c1", FINGERPRINT),
        ("a", "b32-c32", FINGERPRINT),
        ("a", "b64-c1", FINGERPRINT),
        ("a", "b1-c1-grpc", grpc),
        ("a", "b1-r5", FINGERPRINT),
        ("a", "b1-c1-30min", FINGERPRINT),
        ("a", "b1-c1-zeros", with_fields(FINGERPRINT, data="zeros")),
        ("gone", "b1-c1", FINGERPRINT),
    ):
        scene.store.record(model, key, made, {"throughput": Value(1.0)})
    scene.store.write(Provenance("s", "2026-11-01T00:00:00Z"))
    scene.plan(cell("a"), update="none")
    assert orphans(scene.run, scene.store, quick=False) == {
        "a": ("b1-r5", "b32-c32", "b64-c1"),
        "gone": ("b1-c1",),
    }
    assert orphans(scene.run, scene.store, quick=True) == {
        "a": ("b1-r5", "b64-c1"),
        "gone": ("b1-c1",),
    }


def test_tolerances_are_ratios_either_way(scene: Scene) -> None:
    scene.stored("a")
    least = 1 / (1 + TOLERANCE) - 1
    for change, recorded in ((least + 1e-9, True), (least - 1e-9, False)):
        open_ = verdict(VerdictKind.INCONCLUSIVE, change)
        plan = scene.plan(cell("a", verdicts={"throughput": open_}))
        assert bool(plan.recorded) is recorded


def test_nothing_is_recorded_among_the_baselines_of_another_device(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.store = BaselineStore(tmp_path, "here", {"sku": "p3767-0003"})
    scene.stored("old")
    scene.store = BaselineStore(tmp_path, "here", {"sku": "p3767-0005"})
    incomparable = verdict(VerdictKind.INCOMPARABLE)
    known = cell("old", verdicts={"throughput": incomparable})
    new = cell("new", verdicts={"throughput": verdict(VerdictKind.MISSING)})
    plan = scene.plan(known, new)
    assert not plan.sessions
    assert plan.problem is not None
    assert "another device: sku was p3767-0003, is p3767-0005" in plan.problem
    assert scene.recorded(plan).keys() == {"old"}
    assert settled(scene.run).outcome is Outcome.UNMEASURED
