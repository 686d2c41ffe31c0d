"""Stateful and decoupled models, goodput and replayed traces, from the grid to the verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import Outcome, VerdictKind
from tests.plugin.baselines import baseline_files

if TYPE_CHECKING:
    from pytest_gaitperf.triton.server import TritonServer
    from tests.plugin.conftest import Project

JSON, RECORD = "--gaitperf-json=results.json", "--gaitperf-update=missing"


@pytest.fixture
def grpc(project: Project, server: TritonServer) -> Project:
    """The project, which knows the server's gRPC port."""
    (project.path / "grid.toml").write_text("batch_sizes = [1]\nconcurrencies = [2]\n")
    project.pytester.makeini(
        f"[pytest]\naddopts = --triton-grpc-port={server.grpc_port} --gaitperf-grid=grid.toml"
    )
    return project


def worse(project: Project, metric: str, factor: float) -> None:
    """Make the baseline of one metric better, so that what is measured is worse."""
    (path,) = baseline_files(project)
    document = json.loads(path.read_text())
    for cell in document["cells"].values():
        for session in cell["sessions"].values():
            session[metric][0] *= factor
    path.write_text(json.dumps(document))


def test_a_decoupled_model_has_its_own_quantities_gated(grpc: Project) -> None:
    named = ("--gaitperf-models=streaming", JSON)
    shown = grpc.run(*named, RECORD)
    shown.assert_outcomes(passed=5, skipped=1)
    shown.stdout.fnmatch_lines([" *answers /s*first ms*", " b1-c2-grpc-stream *missing, recorded"])
    (cell,) = grpc.cells().values()
    assert cell.id == "streaming-b1-c2-grpc-stream"
    assert cell.workload.streaming
    metrics = grpc.measured(cell.id).metrics
    assert metrics["answer_rate"].value == pytest.approx(3 * metrics["throughput"].value, rel=0.25)
    assert 0.01 < metrics["first_answer_p50"].value < metrics["latency_p50"].value

    worse(grpc, "first_answer_p50", 0.1)
    shown = grpc.run(*named, "-k", "first_answer or latency")
    shown.assert_outcomes(passed=1, failed=1, deselected=4)
    shown.stdout.fnmatch_lines(["*first answer p50*regressed*"])
    (cell,) = grpc.cells().values()
    assert cell.verdicts["first_answer_p50"].kind is VerdictKind.REGRESSED
    assert cell.verdicts["latency_p50"].kind is VerdictKind.PASS


@pytest.mark.slow
def test_a_stateful_model_is_loaded_with_sequences_of_the_grid(grpc: Project) -> None:
    with (grpc.path / "grid.toml").open("a") as file:
        file.write("sequence_length = [2, 5]\nrequest_rates = [40]\nsequences = 3\n")
    shown = grpc.run("--gaitperf-models=remembering", "-k", "throughput", JSON, RECORD)
    shown.assert_outcomes(passed=2, deselected=6)
    cells = grpc.cells()
    assert list(cells) == ["remembering-b1-c2-seq2..5", "remembering-b1-r40-seq2..5x3"]
    assert [cell.workload.sequence_length for cell in cells.values()] == [(2, 5), (2, 5)]
    (path,) = baseline_files(grpc)
    assert '"b1-r40-seq2..5x3"' in path.read_text()

    # Other sequences are other work: it is never compared with this.
    text = (grpc.path / "grid.toml").read_text().replace("[2, 5]", "[2, 6]")
    (grpc.path / "grid.toml").write_text(text)
    shown = grpc.run("--gaitperf-models=remembering", "-k", "throughput", JSON)
    assert shown.ret == Outcome.UNMEASURED.exit_code
    kinds = {cell.verdicts["throughput"].kind for cell in grpc.cells().values()}
    assert kinds == {VerdictKind.MISSING}


def test_goodput_is_gated_and_nothing_within_the_deadline_is_a_regression(
    grpc: Project,
) -> None:
    """The model sleeps 20 ms, one request at a time: two in flight take 40."""
    grid = grpc.path / "grid.toml"
    grid.write_text('batch_sizes = [1]\nconcurrencies = [1, 2]\ndeadline = "35 ms"\n')
    named = ("--gaitperf-models=steady", "-k", "goodput", JSON)
    grpc.run(*named, RECORD)
    cells = grpc.cells()
    one, two = (cells[f"steady-b1-c{count}-35ms"] for count in (1, 2))
    assert one.measurement is not None
    assert two.measurement is not None
    rate = one.measurement.metrics["throughput"].value
    assert one.measurement.metrics["goodput"].value == pytest.approx(rate, rel=0.3)
    assert two.measurement.metrics["goodput"].value < 0.3 * rate
    if "b1-c2-35ms" in baseline_files(grpc)[0].read_text():
        return  # some of the second cell's requests were in time
    (path,) = baseline_files(grpc)
    path.write_text(path.read_text().replace("b1-c1-35ms", "b1-c2-35ms"))
    shown = grpc.run(*named, "-k", "goodput and c2")
    shown.assert_outcomes(failed=1, deselected=9)
    assert grpc.cells()["steady-b1-c2-35ms"].verdicts["goodput"].kind is VerdictKind.REGRESSED


@pytest.mark.slow
def test_a_recorded_trace_is_replayed_and_is_part_of_the_cell(grpc: Project) -> None:
    times = [0.0, 0.01, 0.02, 0.2, 0.4, 0.5, 0.51, 0.9]
    trace = grpc.path / "arrivals.jsonl"
    trace.write_text("\n".join(json.dumps({"timestamp": 100 + time}) for time in times))
    (grpc.path / "grid.toml").write_text('batch_sizes = [1]\ntrace = "arrivals.jsonl"\nspeed = 2\n')
    named = ("--gaitperf-models=steady", "-k", "latency", JSON, "--gaitperf-budget=3")
    grpc.run(*named, RECORD)  # on a busy machine it may be too late for a valid measurement
    (cell,) = grpc.cells().values()
    assert cell.workload.trace_file == "arrivals.jsonl"
    assert cell.workload.request_rate == pytest.approx(2 * 7 / 0.9, rel=1e-4)
    measured = grpc.measured(cell.id)
    assert measured.metrics["throughput"].value == pytest.approx(2 * 7 / 0.9, rel=0.3)
    assert measured.send_error_p99_s is not None

    trace.write_text(trace.read_text().replace("100.2}", "100.3}"))
    grpc.run(*named)
    (other,) = grpc.cells().values()
    assert other.id != cell.id
