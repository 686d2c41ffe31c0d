"""Input shapes and data as parts of a cell's identity, on models that leave their shapes open."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pytest_gaitperf import Outcome
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.docs.documents import ROOT, blocks, python_blocks
from tests.plugin.baselines import UNMEASURED, baseline_files
from tests.triton.models import Tensor, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.plugin.conftest import Project

JSON = "--gaitperf-json=results.json"
RECORD = "--gaitperf-update=missing"
TOKENS = ("attention_mask", "input_ids", "token_type_ids")


@pytest.fixture(scope="module")
def attach(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """The options for a server with models as importers leave them, and one of a fixed shape."""
    repository = tmp_path_factory.mktemp("shapes")
    tokens = [Tensor(name, "INT64", (-1,)) for name in TOKENS]
    open_, fixed = Tensor("INPUT", "FP32", (3, -1, -1)), Tensor("INPUT", "FP32", (3, 4))
    write_model(repository, "det", inputs=[open_], sleep_s=0.02)
    write_model(repository, "encoder", inputs=tokens)
    write_model(repository, "3D_fp32")
    write_model(repository, "my_encoder", inputs=tokens[:2], max_batch_size=4)
    write_model(repository, "resnet50", inputs=[open_])
    write_model(repository, "fixed", inputs=[fixed], sleep_s=0.02)
    write_model(repository, "lines", inputs=[Tensor("TEXT", "BYTES", (-1,))])
    write_model(repository, "whole", inputs=[Tensor("INPUT", "FP32", (-1, 2))], max_batch_size=0)
    folder = write_model(repository, "rate", inputs=[Tensor("sr", "INT64", (1,))])
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [1]", "dims: [1] reshape: { shape: [] }"))
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield (
            "--triton=attach",
            f"--triton-url={server.url}",
            f"--triton-grpc-port={server.grpc_port}",
        )


@pytest.fixture
def shaped(project: Project, attach: tuple[str, ...]) -> Project:
    """A project on that server."""
    options = [option for option in project.options if not option.startswith("--triton")]
    return replace(project, options=(*attach, *options))


def grid_of(project: Project, text: str) -> str:
    (project.path / "grid.toml").write_text(f"batch_sizes = [1]\nconcurrencies = [1]\n{text}\n")
    return "--gaitperf-grid=grid.toml"


def recorded(project: Project, model: str) -> dict[str, Any]:
    (path,) = (path for path in baseline_files(project) if path.stem == model)
    cells: dict[str, Any] = json.loads(path.read_text())["cells"]
    return cells


def plain(shown: pytest.RunResult) -> str:
    return " ".join((shown.stdout.str() + shown.stderr.str()).split())


TWO = """
import pytest

pytestmark = pytest.mark.gaitperf(models="det")


@pytest.mark.gaitperf(shapes=[[3, 8, 8]])
def test_small(perf, perf_cell):
    perf.gate(perf_cell, "throughput")


@pytest.mark.gaitperf(shapes={"d*": {"INPUT": [3, 16, 16]}})
def test_large(perf, perf_cell):
    perf.gate(perf_cell, "throughput")
"""


def test_two_tests_with_two_shapes_have_two_cells_and_baselines(shaped: Project) -> None:
    shaped.pytester.makepyfile(test_own=TWO)
    grid = grid_of(shaped, "")
    junit = ("--junitxml=junit.xml", "-o", "junit_family=xunit1")
    shown = shaped.run("test_own.py", grid, RECORD, JSON, *junit)
    shown.assert_outcomes(passed=2)
    ids = ["det-b1-c1-INPUT=3x8x8", "det-b1-c1-INPUT=3x16x16"]
    assert list(shaped.cells()) == ids
    cells = recorded(shaped, "det")
    assert [cell["workload"]["shapes"] for cell in cells.values()] == [
        {"INPUT": [3, 8, 8]},
        {"INPUT": [3, 16, 16]},
    ]
    lines = [line.rstrip() for line in shown.stdout.lines]
    start = lines.index("det INPUT=3x8x8")
    assert lines[start + 2] == "det INPUT=3x16x16"
    assert all(len(line) <= 80 and "recorded" in line for line in lines[start + 1 : start + 4 : 2])
    for key in ids:
        assert f"[{key}]" in (shaped.path / "junit.xml").read_text()

    shown = shaped.run("test_own.py", grid, JSON, "-k", "small")
    shown.assert_outcomes(passed=1, deselected=1)
    assert shown.ret == pytest.ExitCode.OK
    (cell,) = shaped.cells().values()
    assert (cell.id, cell.verdicts["throughput"].sessions) == (ids[0], 1)


def test_another_shape_than_the_recorded_one_is_not_green(shaped: Project) -> None:
    long, short = (
        f"shapes.encoder = {{{', '.join(f'{name} = [{size}]' for name in TOKENS)}}}"
        for size in (128, 16)
    )
    assert shaped.run(grid_of(shaped, long), "--gaitperf-models=encoder", RECORD).ret == 0
    assert list(recorded(shaped, "encoder")) == [f"b1-c1-{'+'.join(TOKENS)}=128"]
    shown = shaped.run(grid_of(shaped, short), "--gaitperf-models=encoder", JSON)
    assert shown.ret == UNMEASURED
    (cell,) = shaped.cells().values()
    assert cell.outcome is Outcome.UNMEASURED
    assert cell.verdicts["throughput"].kind.value == "missing"
    assert cell.workload.shapes == tuple((name, (16,)) for name in TOKENS)


@pytest.mark.slow
def test_shapes_are_an_axis_of_the_grid_by_model_and_tensor(shaped: Project) -> None:
    axis = """
models = ["det", "encoder", "lines", "rate", "whole"]
[shapes.d*]
INPUT = [[3, 4, 4], [3, 8, 4]]
[shapes.encoder]
attention_mask = [[8], [4]]
input_ids = [[8], [4]]
token_type_ids = [8]
[shapes.lines]
TEXT = [2]
[shapes.whole]
INPUT = [5, 2]
"""
    axis = axis.replace("shapes.d*", 'shapes."d*"')
    shown = shaped.run(grid_of(shaped, axis), "-k", "throughput", RECORD, JSON)
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    assert list(shaped.cells()) == [
        "det-b1-c1-INPUT=3x4x4",
        "det-b1-c1-INPUT=3x8x4",
        "encoder-b1-c1-attention_mask+input_ids+token_type_ids=8",
        "encoder-b1-c1-attention_mask+input_ids=4-token_type_ids=8",
        "lines-b1-c1-TEXT=2",
        "rate-b1-c1",
        "whole-b1-c1-INPUT=5x2",
    ]


@pytest.mark.slow
def test_the_examples_of_the_page_are_run_on_models_of_these_shapes(shaped: Project) -> None:
    page = ROOT / "docs" / "grid.md"
    grids = [block.text for block in blocks(page) if block.language == "toml"]
    (test,) = python_blocks(page)
    shaped.pytester.makepyfile(test_of_the_grids_page=test)
    (shaped.path / "arrivals.csv").write_text("time\n0\n0.05\n0.1\n")

    def measured(*arguments: str) -> list[str]:
        shown = shaped.run(*arguments, JSON)
        cells = shaped.cells()
        # Whether a busy machine keeps a rate up is not what is asked here.
        assert {cell.error for cell in cells.values()} == {None}, shown.stdout.str()
        return list(cells)

    of_file: list[str] = []
    for text in grids:
        (shaped.path / "grid.toml").write_text(text)
        one = ("-k", "b1-r50 and test_throughput or b1-c1 and test_throughput")
        only = () if "models" in text else ("--gaitperf-models=*encoder,!encoder",)
        of_file += measured("test_grid.py", "--gaitperf-grid=grid.toml", *only, *one)
    sizes = ("3x224x224", "3x320x320")
    assert of_file == [
        "3D_fp32-b1-c1-think20ms-40ms-grpc-stream",
        "3D_fp32-b1-r50-poisson-40ms-grpc-stream",
        *(
            f"resnet50-b1-{load}-40ms-grpc-stream-INPUT={size}-INPUT=-1..1"
            for size in sizes
            for load in ("c1-think20ms", "r50-poisson")
        ),
        *(f"my_encoder-b1-c1-attention_mask+input_ids={size}" for size in (128, 16)),
    ]
    of_marker = measured("test_of_the_grids_page.py", grid_of(shaped, ""))
    assert of_marker == [f"resnet50-b1-c1-INPUT={size}" for size in sizes]


@pytest.mark.parametrize(
    ("shapes", "messages"),
    [
        (
            "shapes.det = {INPTU = [3, 8, 8]}",
            ["model 'det' has no input tensor 'INPTU'", "(did you mean 'INPUT'?); its inputs are"],
        ),
        (
            "shapes.dett = {INPUT = [3, 8, 8]}",
            ["shapes.dett matches no model (did you mean 'det'?)"],
        ),
        ("ranges.dett = {INPUT = [0, 1]}", ["ranges.dett matches no model (did you mean 'det'?)"]),
        ("ranges.det = {INPTU = [0, 1]}", ["'INPTU', to which the grid gives a range (did you me"]),
        ("shapes.fixed = {INPUT = [3, 5]}", ["has the shape [3, 4], and the grid asks for [3, 5]"]),
        (
            "shapes.det = {INPUT = [4, 8, 8]}",
            ["the shape [3, -1, -1], and the grid asks for [4, 8"],
        ),
        (
            "shapes.det = {INPUT = [1, 3, 8, 8]}",
            ["asks for [1, 3, 8, 8], which must be without the batch dimension"],
        ),
        (
            "shapes.whole = {INPUT = [2]}",
            ["[-1, 2], and the grid asks for [2], which must be whole: the model takes no batches"],
        ),
        ("shapes.det = {INPUT = [3, -1, 8]}", ["shapes.det.INPUT must be a list of positive"]),
        (
            "shapes.encoder = {input_ids = [[8], [4]], attention_mask = [[8], [4], [2]]}",
            ["shapes.encoder: the tensors have 2 and 3 shapes, and go together"],
        ),
        (
            "shapes = [[8], [4]]\nmodels = 'encoder'",
            ["model 'encoder' has the inputs attention_mask, input_ids, token_type_ids: give its"],
        ),
        ("shapes = [[8], [4]]\nmodels = 'fixed'", ["model 'fixed': input tensor 'INPUT' has the"]),
    ],
)
def test_shapes_that_cannot_be_are_refused_before_measuring(
    shaped: Project, shapes: str, messages: list[str]
) -> None:
    shown = shaped.run(grid_of(shaped, shapes), JSON)
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    for message in ("grid.toml: ", *messages):
        assert message in plain(shown)
    assert not (shaped.path / "results.json").exists()


def test_shapes_alone_are_of_the_models_that_can_have_them(shaped: Project) -> None:
    shown = shaped.run(grid_of(shaped, "shapes = [[3, 4]]"), "-k", "throughput", RECORD, JSON)
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    assert list(shaped.cells()) == ["fixed-b1-c1-INPUT=3x4"]
    for name in ("3D_fp32", "det", "encoder", "lines", "rate", "resnet50", "whole"):
        assert f"not measured: {name}: model '{name}'" in plain(shown)


def test_a_shape_that_no_memory_holds_is_an_error_of_its_cell(shaped: Project) -> None:
    huge = "shapes.det = {INPUT = [[3, 1000000000, 1000000000], [3, 2, 2]]}"
    shown = shaped.run(grid_of(shaped, huge), "--gaitperf-models=det", "-k", "throughput", JSON)
    shown.assert_outcomes(errors=1, failed=1, deselected=6)
    assert "of the shape [1, 3, 1000000000, 1000000000] takes 48000000000.0 GB of the" in plain(
        shown
    )
    assert "Traceback" not in plain(shown)


def shapeless(project: Project, model: str) -> None:
    """Make of a model's baseline what a version without shapes wrote."""
    (path,) = (path for path in baseline_files(project) if path.stem == model)
    document = json.loads(path.read_text())
    (cell,) = document["cells"].values()
    del cell["workload"]["shapes"]
    document["cells"] = {"b1-c1": cell}
    path.write_text(json.dumps(document))


@pytest.mark.slow
def test_an_old_baseline_of_a_model_with_one_shape_is_adopted(shaped: Project) -> None:
    grid = grid_of(shaped, "models = 'fixed'\nshapes = [[3, 4]]")
    assert shaped.run(grid, RECORD).ret == pytest.ExitCode.OK
    shapeless(shaped, "fixed")
    shown = shaped.run(grid, JSON)
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    assert "prune" not in plain(shown)
    (cell,) = shaped.cells().values()
    assert cell.verdicts["throughput"].sessions == 1
    shown = shaped.run(grid, "--gaitperf-update=all", JSON)
    assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
    cells = recorded(shaped, "fixed")
    assert {key: len(cell["sessions"]) for key, cell in cells.items()} == {
        "b1-c1": 1,
        "b1-c1-INPUT=3x4": 2,
    }
    shown = shaped.run(grid, JSON)
    assert shaped.results()["orphans"] == {"fixed": ["b1-c1"]}


@pytest.mark.slow
def test_an_old_baseline_of_an_open_shape_is_incomparable(shaped: Project) -> None:
    grid = grid_of(shaped, "models = 'det'\nshapes = [[3, 4, 4]]")
    assert shaped.run(grid, RECORD).ret == pytest.ExitCode.OK
    shapeless(shaped, "det")
    shown = shaped.run(grid, JSON)
    assert shown.ret == UNMEASURED
    assert "input shape was unknown, is INPUT [3, 4, 4]" in plain(shown)
    assert "record this set-up anew with: pytest" in plain(shown)
    assert "--gaitperf-update=all" in plain(shown)
    assert shaped.run(grid, "--gaitperf-update=all").ret == pytest.ExitCode.OK
    assert len(recorded(shaped, "det")["b1-c1-INPUT=3x4x4"]["sessions"]) == 1
    assert shaped.run(grid).ret == pytest.ExitCode.OK


@pytest.mark.slow
def test_data_is_part_of_a_cell(shaped: Project) -> None:
    grid = (grid_of(shaped, "models = 'fixed'"), "-k", "throughput", JSON)

    def keys(*options: str) -> list[str]:
        shown = shaped.run(*grid, RECORD, *options)
        assert shown.ret == pytest.ExitCode.OK, shown.stdout.str()
        return list(recorded(shaped, "fixed"))

    def save(fill: float, name: str) -> str:
        np.save(shaped.path / name, np.full((3, 3, 4), fill))
        return f"--gaitperf-data={name}"

    assert keys() == ["b1-c1"]
    assert keys("--gaitperf-data=zeros") == ["b1-c1", "b1-c1-zeros"]
    of_ones = keys(save(1, "x.npy"))
    assert len(of_ones) == 3
    assert recorded(shaped, "fixed")[of_ones[1]]["workload"]["data"].startswith("x.npy, samples: 3")
    shown = shaped.run(*grid, save(2, "x.npy"))
    assert shown.ret == UNMEASURED
    assert "missing" in plain(shown)
    assert shaped.run(*grid, save(1, "renamed.npy")).ret == pytest.ExitCode.OK
    ranged = grid_of(shaped, "models = 'fixed'\nranges.fixed = {INPUT = [-1, 1]}")
    assert shaped.run(ranged, *grid[1:], RECORD).ret == pytest.ExitCode.OK
    assert "b1-c1-INPUT=-1..1" in recorded(shaped, "fixed")
    assert shaped.run(*grid, "--gaitperf-data=zeros").ret == pytest.ExitCode.OK


@pytest.mark.slow
def test_sessions_that_name_their_data_in_the_old_place_count_for_it(shaped: Project) -> None:
    grid = (grid_of(shaped, "models = 'fixed'"), "-k", "throughput")
    assert shaped.run(*grid, RECORD, "--gaitperf-data=zeros").ret == pytest.ExitCode.OK
    (path,) = baseline_files(shaped)
    document = json.loads(path.read_text())
    (cell,) = document["cells"].values()
    (session,) = document["sessions"].values()
    session["data"] = cell["workload"].pop("data")
    document["cells"] = {"b1-c1": cell}
    path.write_text(json.dumps(document))
    shown = shaped.run(*grid)
    assert shown.ret == UNMEASURED
    assert "input data was zeros, is random" in plain(shown)
    assert shaped.run(*grid, "--gaitperf-data=zeros").ret == pytest.ExitCode.OK


BY_HAND = """
from pytest_gaitperf import Workload


def test_any(perf):
    perf.gate(Workload("fixed", 1, 1), "throughput")


def test_zeros(perf, triton_load):
    zeros = Workload("fixed", 1, 1, data="zeros")
    perf.require(zeros, "throughput >= 1")
    assert not triton_load.inputs(zeros)["INPUT"].any()
    assert triton_load(zeros, 0.1).workload == zeros
"""


def test_a_workload_by_hand_sends_what_the_run_sends(shaped: Project) -> None:
    shaped.pytester.makepyfile(test_own=BY_HAND)
    shown = shaped.run("test_own.py", "--gaitperf-data=zeros", RECORD, JSON)
    shown.assert_outcomes(passed=2)
    assert list(shaped.cells()) == ["fixed-b1-c1-zeros"]
    shown = shaped.run("test_own.py", RECORD, JSON)
    shown.assert_outcomes(passed=1, failed=1)
    assert "it is to send zeros, and this run sends random data: give the data with" in plain(shown)


@pytest.mark.slow
def test_the_reference_of_a_pair_is_sent_the_same_file(offline: Project) -> None:
    repository = offline.path / "model_repository"
    repository.rename(offline.path / "before")
    write_model(repository, "steady", sleep_s=0.02)
    (offline.path / "inputs").mkdir()
    np.save(offline.path / "inputs" / "steady.npy", np.zeros((3, 16)))
    shown = offline.run(
        *(offline.grid("steady"), "-k", "latency", "--gaitperf-against=before"),
        *("--gaitperf-data=inputs", "--gaitperf-alpha=0.5", JSON),
    )
    (cell,) = offline.cells().values()
    assert cell.error is None, shown.stdout.str()
    assert cell.verdicts["latency_p50"].blocks > 0
