"""Whether models still answer the same: test_accuracy of the suite, on a real Triton."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.results import Outcome, VerdictKind
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.plugin.conftest import _QUICKLY, Project
from tests.triton.models import write_decoupled_model, write_model, write_stateful_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.accuracy import Accuracy
    from pytest_gaitperf.results import Cell
    from pytest_gaitperf.triton.server import TritonServer

ROOT = Path(__file__).parents[2]

_CODE = """\
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils

DLPACK = int(np.__version__.partition(".")[0]) >= 2


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            x = np.array(np.from_dlpack(given) if DLPACK else given.as_numpy())
            told = Path(__file__).with_name("told")
            scale = np.float32(told.read_text()) if told.exists() else np.float32(1)
            make = pb_utils.Tensor.from_dlpack if DLPACK else pb_utils.Tensor
            y = {outputs}
            tensors = [y] if isinstance(y, pb_utils.Tensor) else [make("OUTPUT0", y)]
            answers.append(pb_utils.InferenceResponse(tensors))
        return answers
"""
_CONFIG = """\
backend: "python"
max_batch_size: 4
input {{ name: "INPUT0" data_type: TYPE_FP32 dims: [{size}] }}
output {{ name: "{output}" data_type: TYPE_{kind} dims: [-1] }}
instance_group [ {{ kind: KIND_CPU }} ]
version_policy: {{ all {{ }} }}
"""
_ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 4
input { name: "INPUT0" data_type: TYPE_FP32 dims: [8] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [-1] }
ensemble_scheduling { step [ {
  model_name: "fp32" model_version: -1
  input_map { key: "INPUT0" value: "INPUT0" } output_map { key: "OUTPUT0" value: "OUTPUT0" }
} ] }
"""
_TEXT = 'pb_utils.Tensor("OUTPUT0", np.full(x.shape, b"a", np.object_))'


def write(repository: Path, name: str, outputs: str, kind: str = "FP32", **more: object) -> Path:
    """Write a model whose output is an expression of its input x, and of the scale it is told."""
    config = {"size": 8, "output": "OUTPUT0", "kind": kind, **more}
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(_CONFIG.format(**config))
    (repository / name / "1" / "model.py").write_text(_CODE.format(outputs=outputs))
    return repository / name / "1"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers")
    write(path, "fp32", "x * 2")
    write(path, "other", "x * 3")
    write(path, "told", "x * 2 * scale")
    write(path, "spoilt", "np.where(x[:, :1] < 0.05, np.float32(np.nan), x * 2)")
    write(path, "wider", "np.repeat(x, 2, axis=1)")
    write(path, "class", "x.argmax(axis=1).reshape(-1, 1)", "INT64")
    write(path, "class2", "(x * scale).argmax(axis=1).reshape(-1, 1)", "INT64")
    write(path, "words", _TEXT, "STRING")
    write(path, "words2", _TEXT, "STRING")
    write(path, "narrow", "x * 2", size=4)
    renamed = write(path, "renamed", "x * 2", output="LOGITS")
    code = renamed / "model.py"
    code.write_text(code.read_text().replace('make("OUTPUT0"', 'make("LOGITS"'))
    shutil.copytree(path / "other" / "1", write(path, "two", "x * 2").parent / "2")
    write_model(path, "unloadable", initialize_error="no weights here")
    (path / "ensemble" / "1").mkdir(parents=True)
    (path / "ensemble" / "config.pbtxt").write_text(_ENSEMBLE)
    write_decoupled_model(path, "streaming", answers=1)
    write_stateful_model(path, "sequence")
    return path


@pytest.fixture(scope="module")
def served_here(repository: Path) -> Iterator[TritonServer]:
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server


@pytest.fixture
def suite(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, served_here: TritonServer
) -> Project:
    monkeypatch.setenv("COLUMNS", "100")
    shutil.copy(ROOT / "suites" / "test_models.py", pytester.path)
    attach = ("--triton=attach", f"--triton-url={served_here.url}", "--gaitperf-json=results.json")
    return Project(
        pytester,
        (
            *attach,
            *_QUICKLY,
            "--gaitperf-tolerance=5%",
        ),
    )


def grid(project: Project, models: str, tables: str) -> str:
    path = project.path / "grid.toml"
    path.write_text(f"models = {models}\nbatch_sizes = [1]\nconcurrencies = [1]\n{tables}")
    return "--gaitperf-grid=grid.toml"


def beside(project: Project, model: str, reference: str, more: str = "") -> str:
    return grid(project, f'["{model}"]', f'[accuracy.{model}]\nreference = "{reference}"\n{more}')


def cell(project: Project, model: str) -> Cell:
    return project.cells()[f"{model}-model"]


def answered(project: Project, model: str) -> Accuracy:
    measurement = cell(project, model).measurement
    assert measurement is not None
    assert measurement.accuracy is not None
    return measurement.accuracy


def told(repository: Path, model: str, scale: float) -> None:
    (repository / model / "1" / "told").write_text(str(scale))


def test_a_model_that_answers_otherwise_than_its_baseline_is_red_and_one_that_does_not_is_green(
    suite: Project, repository: Path
) -> None:
    told(repository, "told", 1.01)
    option = beside(suite, "told", "fp32")
    assert suite.run(option, "--gaitperf-update=missing").ret == 0
    found = answered(suite, "told")
    assert found.error == pytest.approx(0.01, rel=0.001)
    assert (found.samples, found.reference) == (64, "fp32@1")
    assert suite.run(option).ret == 0
    told(repository, "told", 1.05)
    shown = suite.run(option)
    assert shown.ret == 1
    said = shown.stdout.str()
    assert "output error regressed: +4" in said
    assert "lowest cosine 1" in said, "what else was seen of each output"
    assert "once more" not in said, "it would answer the same"
    told(repository, "told", 1.0)
    shown = suite.run(option)
    assert shown.ret == 0
    assert cell(suite, "told").verdicts["output_error"].kind is VerdictKind.IMPROVED


def test_not_a_number_is_red_without_any_baseline_and_says_where(suite: Project) -> None:
    shown = suite.run(beside(suite, "spoilt", "fp32"), "--gaitperf-update=missing")
    assert shown.ret == 1
    assert "samples have NaN in OUTPUT0, and the reference has none there" in shown.stdout.str()
    assert not cell(suite, "spoilt").recorded


@pytest.mark.parametrize(
    ("model", "reference", "why"),
    [
        ("wider", "fp32", "its OUTPUT0 of sample 1 has the shape [16], and its reference's [8]"),
        ("renamed", "fp32", "it has no output OUTPUT0, which its reference has"),
        ("class", "fp32", "its OUTPUT0 is of the type int64, and its reference's of float32"),
        ("words", "words2", "its outputs hold strings, which are not compared"),
        ("fp32", "narrow", "takes FP32 [-1, 4] as 'INPUT0', and 'fp32' is sent FP32 [1, 8]"),
        ("two", "two@2", "the version that is measured"),
        ("fp32", "other@7", "has no version '7'"),
        ("fp32", "sequence", "'sequence' answers a sequence"),
        ("fp32", "unloadable", "its reference 'unloadable' is not loaded: "),
        ("streaming", "fp32", "'streaming' answers a stream"),
    ],
)
def test_what_cannot_be_compared_is_unmeasured_with_the_reason(
    suite: Project, model: str, reference: str, why: str
) -> None:
    shown = suite.run(beside(suite, model, reference))
    assert shown.ret == Outcome.UNMEASURED.exit_code
    (found,) = suite.cells().values()
    assert why in found.lacking["accuracy"]
    assert "Traceback" not in shown.stdout.str()


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('reference = "told"', "its reference is the model itself"),
        ('reference = "fp23"', "there is no model 'fp23' (did you mean 'fp32'?)"),
        ('reference = "gone.npz"', "there is no gone.npz"),
        ('labels = "grid.toml"', "grid.toml is of samples, and this run sends random ones"),
    ],
)
def test_what_cannot_be_had_is_a_usage_error(suite: Project, table: str, why: str) -> None:
    shown = suite.run(grid(suite, '["told"]', f"[accuracy.told]\n{table}\n"))
    assert shown.ret == pytest.ExitCode.USAGE_ERROR
    assert why in " ".join((shown.stdout.str() + shown.stderr.str()).split())


def test_a_named_model_that_is_not_loaded_is_missed_in_its_own_cell_too(suite: Project) -> None:
    shown = suite.run(grid(suite, '["fp32", "unloadable"]', ""))
    assert shown.ret == Outcome.UNMEASURED.exit_code
    assert "no weights here" in (cell(suite, "unloadable").error or "")


def test_answers_that_no_test_asks_for_are_not_measured(suite: Project) -> None:
    suite.run(beside(suite, "told", "fp32"), "-k", "memory", "--gaitperf-update=missing")
    measurement = cell(suite, "told").measurement
    assert measurement is not None
    assert measurement.accuracy is None


def test_an_older_version_and_whole_numbers_can_be_references(
    suite: Project, repository: Path
) -> None:
    told(repository, "class2", -1.0)
    tables = '[accuracy.two]\nreference = "two@1"\n[accuracy.class2]\nreference = "class"\n'
    suite.run(grid(suite, '["two", "class2"]', tables), "--gaitperf-update=missing")
    assert answered(suite, "two").error == pytest.approx(0.5)
    assert answered(suite, "class2").error == pytest.approx(1.0), "the least is never the largest"


def test_another_reference_makes_the_baseline_incomparable(suite: Project) -> None:
    assert suite.run(beside(suite, "told", "fp32"), "--gaitperf-update=missing").ret == 0
    shown = suite.run(beside(suite, "told", "other"))
    assert shown.ret == Outcome.UNMEASURED.exit_code
    verdict = cell(suite, "told").verdicts["output_error"]
    assert verdict.kind is VerdictKind.INCOMPARABLE
    assert "fp32@1, samples: 64" in verdict.reason
    fewer = suite.run(beside(suite, "told", "fp32", "samples = 8\n"))
    assert fewer.ret == Outcome.UNMEASURED.exit_code, "other samples have another error"


def test_a_reference_that_is_gone_from_the_grid_is_missed(suite: Project) -> None:
    option = beside(suite, "told", "fp32")
    assert suite.run(option, "--gaitperf-update=missing").ret == 0
    none = grid(suite, '["told", "other"]', "")
    shown = suite.run(none, "-rs")
    assert shown.ret == Outcome.UNMEASURED.exit_code
    assert "the baseline has it, and this run not" in cell(suite, "told").lacking["accuracy"]
    assert "the grid's table [accuracy] gives no reference for it" in shown.stdout.str()
    assert shown.parseoutcomes()["failed"] == 1


def test_labels_and_stored_outputs_are_of_the_samples_of_a_file(suite: Project) -> None:
    x = np.random.default_rng(0).random((20, 8), np.float32)
    np.savez(suite.path / "data.npz", INPUT0=x)
    right = x.argmax(axis=1)
    np.savez(suite.path / "labels.npz", labels=np.where(np.arange(20) < 5, (right + 1) % 8, right))
    np.savez(suite.path / "stored.npz", OUTPUT0=x * 2.5)
    tables = '[accuracy."*"]\nreference = "stored.npz"\nlabels = "labels.npz"\n'
    tables += '[accuracy.class]\nlabels = "labels.npz"\n'
    option = grid(suite, '["fp32", "class"]', tables)
    shown = suite.run(option, "--gaitperf-data=data.npz", "--gaitperf-update=missing")
    assert shown.ret == 0
    (_, fp32), (_, of_class) = sorted(
        ((cell.workload.model, cell.measurement) for cell in suite.cells().values()), reverse=True
    )
    assert fp32 is not None
    assert of_class is not None
    assert fp32.metrics["label_accuracy"].value == 0.75
    assert fp32.metrics["output_error"].value == pytest.approx(0.2)
    assert of_class.metrics["label_accuracy"].value == 0.75
    assert "output_error" not in of_class.metrics
    np.savez(suite.path / "labels.npz", labels=right[:19])
    shown = suite.run(option, "--gaitperf-data=data.npz")
    assert shown.ret == Outcome.UNMEASURED.exit_code
    assert "has 19 labels, and the data 20 samples" in " ".join(shown.stdout.str().split())


@pytest.mark.parametrize("reference", ["fp32", "ensemble"])
def test_a_reference_that_is_not_loaded_is_loaded_for_the_comparison_only(
    suite: Project, repository: Path, reference: str
) -> None:
    options = ServerOptions(mode="local", repository=repository, models=("told",))
    with open_server(options) as server:
        url = f"--triton-url={server.url}"
        shown = suite.run(url, beside(suite, "told", reference), "--gaitperf-update=missing")
        assert shown.ret == 0
        assert answered(suite, "told").reference == f"{reference}@1"
        assert server.models() == ("told",), "an ensemble took its step along"
