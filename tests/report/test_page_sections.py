"""What the page says of a run: its facts, what needs a reader, maps, notes and the table."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from pytest_gaitperf.environment import Power, Profile
from pytest_gaitperf.measurement import Utilisation
from pytest_gaitperf.report.html import sections
from pytest_gaitperf.report.html.cell import cell_data
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.html.verdict import verdict
from pytest_gaitperf.results import LimitCheck, LimitState, Sensitivity, VerdictKind
from pytest_gaitperf.workload import Workload
from tests.report.figures import recorded, reported
from tests.report.runs import BASE, SEEN, board, cell, lost, missing, run, searched

ABSENT = "no power meter: nothing answers"
WITHOUT = {name: BASE[name] for name in ("throughput", "latency_p50")}


def top(*runs: Any, **more: Any) -> Any:
    return verdict(reported(*runs, **more)).view


def test_the_facts_of_a_run_come_first() -> None:
    heard = (Sensitivity("throughput", 0.08), Sensitivity("latency_p50", 0.1))
    profile = Profile("orin-15w", {"power_mode": "15W"})
    facts = dict(top(run(cell(), sensitivity=heard, profile=profile))["facts"])
    assert facts["device"] == "orin-15w"
    assert facts["power mode"] == "15W"
    assert facts["server"] == "Triton 2.51.0, local"
    assert facts["power meter"] == "INA3221"
    assert facts["sensitivity"] == "throughput 8%, p50 10%"
    assert facts["baseline"] == f"{SEEN} sessions"


@pytest.mark.parametrize(
    ("time", "says"),
    [
        ("2026-11-13T09:00:00Z", ", the newest 0 days old"),
        ("2026-11-14T09:00:00Z", ", the newest 1 day old"),
        ("2026-12-13T09:00:00Z", ", the newest 30 days old"),
        ("2026-11-01T09:00:00Z", ""),
        ("yesterday", ""),
    ],
)
def test_the_baselines_age_is_that_of_its_newest_session(time: str, says: str) -> None:
    facts = dict(top(board(time=time), baselines=recorded())["facts"])
    assert facts["baseline"] == f"{SEEN} sessions{says}"


def test_without_a_comparison_there_is_no_baseline() -> None:
    fresh = missing(Workload("m", 1, 1))
    assert dict(top(run(fresh))["facts"])["baseline"] == "none"
    recorded_now = run(replace(fresh, recorded=1))
    assert dict(top(recorded_now)["facts"])["baseline"] == "recorded by this run"
    paired = dict(top(run(cell(), against="v1"))["facts"])
    assert paired["baseline"] == "none: compared in turns with v1"


def test_what_regressed_is_listed_by_cell_the_worst_first_and_limits_last() -> None:
    limit = LimitCheck(
        limit="p50 <= 1 ms", metric="latency_p50", bound=1, state=LimitState.VIOLATED
    )
    broken = cell(Workload("limit", 1, 1), limits=(limit,))
    worse = [cell(Workload(name, 1, 1), by) for name, by in (("little", 1.2), ("much", 1.9))]
    found = top(run(broken, *worse, cell()))["regressed"]
    assert [one.cell.workload.model for one in found] == ["much", "little", "limit"]
    assert len(found[0].verdicts) == 4
    assert found[2].limits == [limit]


def test_what_is_undecided_is_named_with_what_would_sharpen_it() -> None:
    sharpen = "3 more sessions"
    undecided = cell(
        Workload("m", 1, 1), verdicts={"kind": VerdictKind.INCONCLUSIVE, "sharpen": sharpen}
    )
    (found,) = top(run(undecided, cell()))["undecided"]
    assert (found.cell.id, found.remarks) == ("m-b1-c1", [sharpen])
    text = page([run(undecided, cell())])
    assert "What is undecided" in text
    assert "--gaitperf-against" in text
    assert "What regressed" not in text


def row_of(one: Any, metric: str = "throughput") -> list[str]:
    """The row of a metric where a reader has chosen the cell."""
    view: Any = cell_data(reported(run(one)), one)
    found: list[str] = next(row for row in view["metrics"] if row[0] == metric)
    return found


def mapped(*cells: Any) -> list[str]:
    section: Any = sections.maps(reported(run(*cells)))
    return [metric for metric, _ in section.view["groups"][0]["maps"]]


def test_p50_is_mapped_where_a_p99_is_missing() -> None:
    full = cell(Workload("m", 1, 1))
    without = cell(Workload("m", 2, 1), values=WITHOUT)
    assert "latency_p50" not in mapped(full)
    assert {"latency_p50", "latency_p99"} <= set(mapped(full, without))
    assert mapped(without) == ["throughput", "latency_p50"]


def test_a_map_goes_from_the_worst_value_to_the_best() -> None:
    fast = cell(Workload("m", 1, 1))
    slow = replace(cell(Workload("m", 2, 1), 4.0), verdicts={})
    section: Any = sections.maps(reported(run(fast, slow)))
    for metric, span in section.view["groups"][0]["maps"]:
        classes = [sections.place(run(), one, metric, span)[1] for one in (slow, fast)]
        assert classes == ["h0", "h5"], metric


@pytest.mark.parametrize(
    ("factor", "kind", "colour"),
    [(2.0, VerdictKind.REGRESSED, "worse"), (1.3, VerdictKind.INCONCLUSIVE, "look")],
)
def test_a_verdict_that_needs_a_look_has_its_own_colour(
    factor: float, kind: VerdictKind, colour: str
) -> None:
    one = cell(Workload("m", 1, 1), factor, verdicts={"kind": kind})
    text, found, change = sections.place(run(one), one, "throughput", (1.0, 2.0))
    assert (text[-3:], found, change and change.kind) == ("(!)", colour, "bad")
    gone = lost(Workload("m", 1, 1))
    assert sections.place(run(gone), gone, "throughput")[:2] == ("(!) unmeasured", "look")


def test_a_pass_in_which_a_change_could_go_unheard_needs_a_look_and_says_why() -> None:
    deaf = cell(Workload("m", 1, 1), verdicts={"sensitivity": 0.4, "must_hear": 0.25})
    assert sections.place(run(deaf), deaf, "throughput")[:2] == ("1234 (!)", "look")
    *_, word, why = row_of(deaf)
    assert word == "unmeasured"
    assert "; it could have heard 40% at least" in why


def test_a_cell_that_breaks_a_limit_is_not_calm_in_the_map_of_that_metric() -> None:
    limit = LimitCheck(
        limit="p50 <= 1 ms", metric="latency_p50", bound=1e-3, state=LimitState.VIOLATED
    )
    one = cell(Workload("m", 1, 1), limits=(limit,))
    assert sections.place(run(one), one, "latency_p50")[:2] == ("21.30 (!)", "worse")
    assert sections.place(run(one), one, "throughput")[:2] == ("1234", "h0")


def test_what_no_cell_has_is_said_once() -> None:
    cells = [
        cell(
            Workload(f"m{number}", 1, 1),
            values=WITHOUT,
            measurement={
                "absent": {
                    "latency_p99": f"{number} requests, 662 are needed: raise it",
                    "energy_per_inference": ABSENT,
                    "power_mean": ABSENT,
                }
            },
        )
        for number in range(5, 15)
    ]
    of_run = run(*cells)
    power = Power(absent=ABSENT)
    of_run = replace(of_run, environment=replace(of_run.environment, power=power))
    html = page([of_run])
    shown = html[html.index("<main") : html.index('id="figure-data"')]
    assert "There is no p99 in 10 cells, no energy in 10 cells" in shown
    assert shown.count(ABSENT) == 1
    assert shown.count("are needed") == 1
    assert "energy, power: no power meter" in shown
    assert "p99: 5 to 14 requests, 662 are needed" in shown


def test_a_search_is_not_counted_among_the_cells_without_a_p99() -> None:
    without = replace(searched(), measurement=cell(values=WITHOUT).measurement)
    section: Any = sections.maps(reported(run(cell(), without)))
    assert section.view["lacking"] == []


def test_the_table_shows_how_busy_the_machine_was_where_that_is_known() -> None:
    seen = Utilisation(looks=3, cpus={"0": 0.5, "1": 1.0}, temperatures_c={"soc": 61.5})
    view: Any = sections.cells(reported(run(cell(measurement={"utilisation": seen}), lost())))
    assert [column.name for column in view.view["busy"]] == ["cpus", "temperature"]
    assert '<td data-v="1.5">1.500</td>' in page([run(cell(measurement={"utilisation": seen}))])
    nothing: Any = sections.cells(reported(run(cell())))
    assert nothing.view["busy"] == []


def test_a_value_is_the_one_that_its_change_is_of() -> None:
    again = cell(Workload("m", 1, 1), 1.5, measurement={})
    judged = replace(again.verdicts["throughput"], now=500.0)
    one = replace(again, verdicts={"throughput": judged})
    assert sections.place(run(one), one, "throughput")[0] == "500.0 (!)"
    assert row_of(one)[1:3] == ["500.0 inf/s", ""], "the interval is of the first measurement"
    _, value, interval = row_of(cell(Workload("m", 1, 1)))[:3]
    assert (value, " to " in interval) == ("1234 inf/s", True)


@pytest.mark.parametrize(
    "other",
    [
        Workload("m", 1, 1, alone=True),
        Workload("m", 1, 1, deadline_s=0.05),
        Workload("m", 1, 1, streaming=True),
        Workload("m", 1, 1, sequence_length=(5, 5)),
    ],
)
def test_no_other_kind_of_load_takes_the_place_of_a_cell_in_its_map(other: Workload) -> None:
    plain = cell(Workload("m", 1, 1))
    for cells in ((plain, cell(other)), (cell(other), plain)):
        section: Any = sections.maps(reported(run(*cells)))
        shown = [
            one.id for group in section.view["groups"] for _, row in group["rows"] for one in row
        ]
        expected = [plain.id] if other.alone else [plain.id, other.id]
        assert sorted(shown) == sorted(expected)


def test_a_run_of_models_by_themselves_has_no_map() -> None:
    assert sections.maps(reported(run(cell(Workload("m", 1, 1, alone=True))))) is None
