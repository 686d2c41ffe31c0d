"""One suite over every kind of model and way in that a Triton user has, on real parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import VerdictKind
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.campaigns.real_models import import_models
from tests.load.proxies import HEADER, PREFIX, in_front
from tests.triton.models import write_decoupled_model, write_model, write_stateful_model
from tests.triton.test_ensembles import CHAIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

REAL = ("det", "rec", "cls")
"""ONNX files of rapidocr-onnxruntime, which leave sizes open."""


def write_repository(repository: Path) -> None:
    write_model(repository, "first", sleep_s=0.005)
    write_model(repository, "second", sleep_s=0.005)
    (repository / "chain" / "1").mkdir(parents=True)
    (repository / "chain" / "config.pbtxt").write_text(CHAIN % "second")
    write_stateful_model(repository, "remembering", sleep_s=0.005)
    write_decoupled_model(repository, "streaming", answers=3, first_s=0.01, gap_s=0.004)


@pytest.mark.slow
def test_ensemble_sequences_streams_and_real_files_through_tls_a_header_and_a_prefix(
    offline: Project, tmp_path: Path
) -> None:
    repository = offline.path / "model_repository"
    try:
        import_models(REAL, tmp_path, offline.path)
    except RuntimeError as error:
        pytest.skip(f"the wheels cannot be had: {error}")
    write_repository(repository)
    shapes = (offline.path / "grid.toml").read_text()
    (offline.path / "grid.toml").write_text(f"{shapes}\n")
    options = [one for one in offline.options if not one.startswith("--triton")]
    with (
        open_server(ServerOptions(mode="local", repository=repository)) as server,
        in_front("nginx", server, tmp_path) as proxy,
    ):
        arguments = (
            *options,
            f"--triton-url=https://127.0.0.1:{proxy.port}{PREFIX}",
            f"--triton-header={HEADER[0]}: {HEADER[1]}",
            f"--triton-ssl-ca={proxy.folder / 'ca.pem'}",
            *("--gaitperf-grid=grid.toml", "--gaitperf-json=results.json"),
            "--gaitperf-models=chain,remembering,streaming,det,rec,cls",
        )
        recorded = offline.pytester.runpytest_subprocess(*arguments, "--gaitperf-update=missing")
        assert recorded.ret == pytest.ExitCode.OK, recorded.stdout.str()
        cells = offline.cells()
        gated = offline.pytester.runpytest_subprocess(*arguments)
        # Which of them a busy machine makes slower is not asked here.
        assert gated.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), gated.stdout.str()
    assert {cell.workload.model for cell in cells.values()} == {
        *("chain", "remembering", "streaming"),
        *REAL,
    }
    assert all(cell.unmeasured is None for cell in cells.values())
    stream = cells["streaming-b1-c1-grpc-stream"].measurement
    assert stream is not None
    assert {"first_answer_p50", "answer_rate"} <= set(stream.metrics)
    assert "remembering-b1-c1-seq16..24" in cells
    chain = cells["chain-b1-c1"].measurement
    assert chain is not None
    assert chain.time_split_s["compute_infer"] >= 0.01
    after = offline.cells()
    assert {cell.unmeasured for cell in after.values()} == {None}
    judged = {verdict.kind for cell in after.values() for verdict in cell.verdicts.values()}
    assert not judged & {VerdictKind.MISSING, VerdictKind.INCOMPARABLE}
    assert {"answer_rate", "first_answer_p50"} <= set(after["streaming-b1-c1-grpc-stream"].verdicts)
    assert HEADER[1].split()[1] not in (offline.path / "results.json").read_text()
