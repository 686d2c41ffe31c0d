"""The TOML and Python examples of the pages are run, on a real Triton where they need one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf import read_results
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.docs.documents import PAGES, ROOT, blocks, python_blocks
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docs.conftest import Shell

DOCS = ROOT / "docs"
JSON = "--gaitperf-json=results.json"

RUN_IN = {
    "README.md": "test_documents_run.py",
    "tutorial.md": "test_documents_run.py",
    "accuracy.md": "test_answers.py",
    "api.md": "test_api_page.py",
    "from-perf-analyzer.md": "test_from_perf_analyzer.py",
    "fixtures.md": "test_fixtures_documented.py",
    "grid.md": "test_shapes.py",
    "neighbours.md": "test_neighbours_of_grids.py",
    "power-logs.md": "test_imports.py",
    "write-a-meter.md": "test_conformance.py",
    "write-an-exporter.md": "test_conformance.py",
    **dict.fromkeys(
        ("own-models.md", "policy.md", "subjects.md"),
        Path(__file__).name,
    ),
}
"""The page with examples, and the file whose tests run them."""


def test_every_page_with_an_example_is_run() -> None:
    pages = {
        page.name
        for page in PAGES
        if any(block.language in ("toml", "python") for block in blocks(page))
    }
    assert pages == set(RUN_IN)
    names = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    for page, test in RUN_IN.items():
        name = page.removesuffix(".md")
        assert re.search(rf"\b{name}\b", names[test]) or name.upper() in names[test], page


def tomls(page: str) -> list[str]:
    return [block.text for block in blocks(DOCS / page) if block.language == "toml"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The options for a running server with models of the examples' names and shapes."""
    repository = tmp_path_factory.mktemp("examples")
    image = [Tensor("INPUT", "FP32", (3, -1, -1))]
    write_model(repository, "resnet50", inputs=image, outputs=[Tensor("OUTPUT", "FP32", (4,))])
    write_model(repository, "3D_small", sleep_s=0.001)
    tokens = [Tensor(name, "INT64", (-1,)) for name in ("input_ids", "attention_mask")]
    write_model(repository, "text_encoder", inputs=tokens, outputs=[Tensor("OUTPUT", "FP32", (4,))])
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield f"--triton-url={server.url} --triton-grpc-port={server.grpc_port}"


@pytest.mark.slow
def test_tolerances_and_limits_of_tables_and_a_marker_hold(empty: Shell, served: str) -> None:
    (empty.directory / "pyproject.toml").write_text("".join(tomls("policy.md")))
    (empty.directory / "grid.toml").write_text("batch_sizes = [1]\nconcurrencies = [1]\n")
    shape = "@pytest.mark.gaitperf(shapes={'resnet50': {'INPUT': [3, 8, 8]}})\n@pytest.mark"
    (source,) = python_blocks(DOCS / "policy.md")
    (empty.directory / "test_example.py").write_text(source.replace("@pytest.mark", shape, 1))
    addopts = f"{served} --gaitperf-grid=grid.toml --gaitperf-update=missing"
    done = empty.run("pytest", addopts=f"{addopts} {JSON} --gaitperf-profile=here")
    # Whether the limits are kept is the machine's affair.
    assert done.returncode in (1, 10), done.stdout
    (cell,) = read_results(empty.directory / "results.json").cells
    assert {"latency_p50 <= 20 ms", "server_cpu_per_inference <= 2 ms"} <= {
        check.limit for check in cell.limits
    }


@pytest.mark.slow
def test_the_search_of_the_subjects_page_is_made(empty: Shell, served: str) -> None:
    (source,) = python_blocks(DOCS / "subjects.md")
    (empty.directory / "test_example.py").write_text(source)
    addopts = f"{served} --gaitperf-update=missing --gaitperf-profile=here {JSON}"
    done = empty.run("pytest", addopts=addopts)
    # How many are served is the machine's affair.
    assert done.returncode in (0, 1, 10), done.stdout
    (cell,) = read_results(empty.directory / "results.json").cells
    assert cell.workload.most_subjects
    assert cell.workload.deadline_s == 0.02
    assert [check.limit for check in cell.limits] == ["subjects >= 42"]


def test_the_hook_prepares_what_is_not_there(tmp_path: Path) -> None:
    (source,) = python_blocks(DOCS / "own-models.md")
    defined: dict[str, object] = {}
    exec(source, defined)  # noqa: S102 - our own page's
    hook = defined["pytest_gaitperf_prepare_models"]
    assert callable(hook)
    said: list[str] = []
    hook(repository=tmp_path, models=(), say=said.append, update=True)
    assert said == ["mymodel: exporting"]
