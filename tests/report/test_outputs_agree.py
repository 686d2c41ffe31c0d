"""Whatever a run comes to, every output says the same of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_gaitperf.environment import Environment, Power, Profile, Triton
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import GATED, METRICS, Estimate
from pytest_gaitperf.outcomes import settled
from pytest_gaitperf.report.ci import Failed, annotate, properties_of_run, properties_of_test
from pytest_gaitperf.report.html.page import page
from pytest_gaitperf.report.markdown import summary
from pytest_gaitperf.report.terminal import summarize
from pytest_gaitperf.report.text import WORDS, cell_word
from pytest_gaitperf.results import (
    Cell,
    Finding,
    LimitCheck,
    LimitState,
    Outcome,
    Policy,
    Run,
    Verdict,
    VerdictKind,
)
from pytest_gaitperf.results_file import encode, results_of
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
CHANGE = st.none() | st.floats(-0.99, 9.0)
VALUE = st.floats(1e-6, 1e6)
METRIC = st.sampled_from(list(METRICS))
ESTIMATE = st.builds(Estimate, TEXT, VALUE, st.none() | VALUE, st.none() | VALUE)


def few(values: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=most).map(tuple)


WORKLOADS = st.one_of(
    st.builds(Workload, NAME, st.integers(1, 32), concurrency=st.integers(1, 32)),
    st.builds(Workload, NAME, st.just(1), request_rate=st.floats(0.5, 1e4)),
    st.builds(lambda name: Workload(name, 1, most_subjects=True), NAME),
)
VERDICTS = st.builds(
    Verdict,
    METRIC,
    st.sampled_from(VerdictKind),
    TEXT,
    baseline=st.none() | VALUE,
    now=st.none() | VALUE,
    change=CHANGE,
    low=CHANGE,
    high=CHANGE,
    limit=CHANGE,
    sessions=st.integers(0, 9),
    scope=st.sampled_from(["run", "model", "cell"]),
    blocks=st.integers(0, 9),
    anchor=st.none() | VALUE,
    sensitivity=st.none() | st.floats(0, 10),
    must_hear=st.none() | st.floats(0, 10),
    sharpen=TEXT,
    more_sessions=st.integers(0, 9),
)
LIMITS = st.builds(
    LimitCheck,
    limit=TEXT,
    metric=METRIC,
    bound=VALUE,
    state=st.sampled_from(LimitState),
    certain=st.booleans(),
    now=st.none() | ESTIMATE,
    absent=TEXT,
)
MEASUREMENTS = st.builds(
    Measurement,
    metrics=st.dictionaries(METRIC, ESTIMATE, max_size=5),
    absent=st.dictionaries(METRIC, TEXT, max_size=2),
    invalid=st.none() | NAME,
    windows=st.integers(0, 40),
    duration_s=st.floats(0, 100),
    requests=st.integers(0, 10**6),
    time_split_s=st.dictionaries(st.sampled_from(["queue", "network"]), VALUE),
    rails_j=st.dictionaries(TEXT, VALUE, max_size=2),
    energy_estimated=st.booleans(),
    notes=few(TEXT),
)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    workload = draw(WORKLOADS)
    error = draw(st.none() | NAME)
    return Cell(
        id=workload.id,
        workload=workload,
        error=error,
        measurement=None if error else draw(MEASUREMENTS),
        verdicts={} if error else {one.metric: one for one in draw(st.lists(VERDICTS, max_size=3))},
        limits=() if error else draw(few(LIMITS)),
        lacking=draw(st.dictionaries(st.sampled_from(["energy", "latency"]), NAME, max_size=1)),
        unconfirmed=draw(st.none() | NAME),
        recorded=draw(st.integers(0, 2)),
    )


FINDINGS = st.builds(
    Finding,
    scope=st.sampled_from(["run", "model"]),
    metric=st.sampled_from(GATED),
    worse=st.booleans(),
    change=CHANGE,
    limit=CHANGE,
    sessions=st.integers(0, 9),
    text=TEXT,
    model=TEXT,
    cause=TEXT,
)
RUNS = st.builds(
    Run,
    profile=st.builds(Profile, NAME, st.dictionaries(TEXT, TEXT, max_size=2)),
    environment=st.builds(
        Environment,
        time=st.just("2026-11-22T10:00:00Z"),
        commit=TEXT,
        triton=st.none() | st.builds(Triton, TEXT),
        power=st.builds(Power, meter=st.none() | NAME, estimated=st.booleans()),
    ),
    policy=st.builds(
        Policy,
        update=st.sampled_from(["none", "missing", "all"]),
        accept_regressions=st.booleans(),
        strict=st.booleans(),
        no_energy=st.booleans(),
    ),
    arguments=few(NAME),
    against=st.just("") | NAME,
    cells=st.lists(cells(), max_size=4, unique_by=lambda one: one.id).map(tuple),
    findings=few(FINDINGS),
    failed_tests=few(NAME, 1),
    unmeasured_tests=few(NAME, 1),
    unjudged=few(NAME, 1),
    orphans=st.dictionaries(NAME, st.just(("b1-c1",)), max_size=1),
    outputs=st.dictionaries(st.sampled_from(["json", "report"]), NAME),
    notes=few(TEXT),
    warnings=few(TEXT),
    problems=few(NAME, 1),
).map(settled)


def failures(run: Run) -> Iterator[Failed]:
    """What pytest reports of such a run: a test of each cell that is not green, and the others."""
    for cell in run.cells:
        if cell.outcome is not Outcome.GREEN:
            name = f"test_gate[{cell.id}]"
            yield Failed(f"a.py::{name}", name, "a.py", 1, "no", cell.unmeasured is None)
    for nodeid in (*run.failed_tests, *run.unmeasured_tests):
        yield Failed(nodeid, nodeid, "a.py", None, "no", is_call=True)


@settings(suppress_health_check=list(HealthCheck))
@given(run=RUNS, told=st.booleans(), width=st.integers(40, 120))
def test_every_output_has_the_outcome_of_the_run(run: Run, told: bool, width: int) -> None:
    outcome = run.outcome.value
    assert run.outcome.exit_code == {"green": 0, "red": 1, "unmeasured": 10}[outcome]

    document = json.loads(encode(run))
    assert document["outcome"] == results_of(document).outcome.value == outcome
    assert [cell["outcome"] for cell in document["cells"]] == [
        cell.outcome.value for cell in run.cells
    ]

    lines: list[str] = []
    summarize(run, lambda line, **_: lines.append(line), width=width, colour=False, every=True)
    assert re.match(rf"outcome: {outcome}( \(|$)", lines[-1])
    assert sum(line.startswith("outcome: ") for line in lines) == 1

    assert re.match(rf"## \S+ gaitperf: {outcome}: ", summary(run))

    html = page([run])
    assert re.findall(r'<html lang="en" data-outcome="(\w+)">', html) == [outcome]
    assert re.findall(r'<div class="banner (\w+)">', html) == [outcome]
    order = ["red", "unmeasured", "green"]
    assert re.findall(r'data-verdict="[^"]*" data-outcome="(\w+)"', html) == sorted(
        (cell.outcome.value for cell in run.cells), key=order.index
    )

    assert dict(properties_of_run(run))["gaitperf.outcome"] == outcome
    for cell in run.cells:
        properties = dict(properties_of_test(cell, list(cell.verdicts.values())))
        assert properties["gaitperf.outcome"] == cell.outcome.value

    failed = failures(run) if told else ()
    found = [line.split(" ")[0] for line in annotate(run, failed, Path("/a"), Path("/a"))]
    assert ("::error" in found) is (run.outcome is Outcome.RED)
    if run.outcome is Outcome.UNMEASURED:
        assert "::warning" in found
    if run.outcome is Outcome.GREEN:
        assert set(found) <= {"::notice"}


RED = {"regressed", "limit violated"}
UNMEASURED = {
    *("unmeasured", "invalid", "regressed, unconfirmed", "incomparable", "missing"),
    "inconclusive",
}


@settings(suppress_health_check=list(HealthCheck))
@given(run=RUNS)
def test_the_word_for_a_cell_is_one_of_its_outcome(run: Run) -> None:
    for cell in run.cells:
        word = cell_word(run, cell)
        assert word in WORDS
        if cell.outcome is Outcome.RED:
            assert word in RED
        elif cell.outcome is Outcome.UNMEASURED:
            assert word in UNMEASURED
        else:
            assert word not in {*RED, "unmeasured", "invalid", "regressed, unconfirmed"}
