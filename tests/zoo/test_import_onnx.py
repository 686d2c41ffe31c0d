from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import tritonclient.http as triton_http
from onnx import TensorProto, helper, numpy_helper

from pytest_gaitperf.cli import main
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.zoo.networks import Variant
from pytest_gaitperf.zoo.repository import State, inspect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer

Value = tuple[str, int, list[Any] | None]
FLOAT, INT64, BOOL, TEXT = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.STRING,
)
TINY = "3D_fp32_97_batchd"


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[Value],
    outputs: list[Value],
    weights: dict[str, Any] | None = None,
    **external: Any,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(
        graph, producer_name="somebody", ir_version=8, opset_imports=[helper.make_opsetid("", 13)]
    )
    onnx.save_model(model, path, **external)
    return path


def node(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, outputs, **attributes)


def relu(path: Path, shape: list[Any] | None, datatype: int = FLOAT) -> Path:
    return save(
        path, [node("Relu", ["x"], ["y"])], [("x", datatype, shape)], [("y", datatype, shape)]
    )


def imported(path: Path, repository: Path, *arguments: str) -> int:
    return main(["models", "import", str(path), "--repository", str(repository), *arguments])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five models of kinds that differ, imported."""
    path = tmp_path_factory.mktemp("files")
    two = [
        node("MatMul", ["a", "w"], ["c"]),
        node("Add", ["c", "b"], ["sum"]),
        node("Less", ["c", "b"], ["less"]),
    ]
    (path / "weights").mkdir()
    save(
        path / "two.onnx",
        two,
        [("a", FLOAT, ["n", 3]), ("b", FLOAT, ["n", 2])],
        [("sum", FLOAT, ["n", 2]), ("less", BOOL, ["n", 2])],
        {"w": np.arange(6, dtype="f4").reshape(3, 2)},
        save_as_external_data=True,
        location="weights/two.bin",
        size_threshold=0,
    )
    relu(path / "fixed.onnx", [2, 3])
    save(
        path / "text.onnx",
        [node("Identity", ["words"], ["same"])],
        [("words", TEXT, ["n", 2])],
        [("same", TEXT, ["n", 2])],
    )
    save(
        path / "class.onnx",
        [node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0)],
        [("scores", FLOAT, ["n", "classes"])],
        [("best", INT64, ["n"])],
    )
    save(
        path / "scaled.onnx",
        [node("Mul", ["x", "by"], ["y"]), node("Identity", ["by"], ["same"])],
        [("x", FLOAT, ["n", 2]), ("by", FLOAT, [])],
        [("y", FLOAT, ["n", 2]), ("same", FLOAT, [])],
    )
    repository = tmp_path_factory.mktemp("models")
    for file in sorted(path.glob("*.onnx")):
        assert imported(file, repository) == 0
    return repository


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server


def ask(server: TritonServer, model: str, inputs: dict[str, Any]) -> dict[str, Any]:
    client = triton_http.InferenceServerClient(server.url)
    try:
        tensors = []
        for name, value in inputs.items():
            kinds = {"f": "FP32", "i": "INT64", "O": "BYTES"}
            tensor = triton_http.InferInput(name, list(value.shape), kinds[value.dtype.kind])
            tensor.set_data_from_numpy(value)
            tensors.append(tensor)
        answer = client.infer(model, tensors)
        names = [output["name"] for output in answer.get_response()["outputs"]]
        return {name: answer.as_numpy(name) for name in names}
    finally:
        client.close()


def test_two_inputs_two_outputs_and_external_weights(
    server: TritonServer, repository: Path
) -> None:
    assert (repository / "two" / "1" / "weights" / "two.bin").stat().st_size == 24
    a = np.array([[1, 2, 3], [4, 5, 6]], "f4")
    b = np.array([[100, 0], [0, 100]], "f4")
    answer = ask(server, "two", {"a": a, "b": b})
    product = a @ np.arange(6, dtype="f4").reshape(3, 2)
    np.testing.assert_allclose(answer["sum"], product + b)
    np.testing.assert_array_equal(answer["less"], product < b)
    assert server.model("two").max_batch_size == 32


def test_a_first_dimension_that_is_a_number_is_no_batch(server: TritonServer) -> None:
    assert server.model("fixed").max_batch_size == 0
    answer = ask(server, "fixed", {"x": np.array([[-1, 2, -3], [4, -5, 6]], "f4")})
    np.testing.assert_array_equal(answer["y"], [[0, 2, 0], [4, 0, 6]])


def test_texts_pass(server: TritonServer) -> None:
    words = np.array([["a", "bc"], ["", "d"], ["ef", "g"]], object)
    answer = ask(server, "text", {"words": words})
    assert [[text.decode() for text in row] for row in answer["same"]] == words.tolist()


def test_an_output_that_is_nothing_but_the_batch_is_served_without_batches(
    server: TritonServer,
) -> None:
    assert server.model("class").max_batch_size == 0
    answer = ask(server, "class", {"scores": np.array([[1, 5, 2], [9, 5, 2]], "f4")})
    assert answer["best"].tolist() == [1, 0]


def test_a_number_without_dimensions_passes(server: TritonServer) -> None:
    assert server.model("scaled").max_batch_size == 0
    inputs = {"x": np.array([[1, 2], [3, 4]], "f4"), "by": np.array([10], "f4")}
    answer = ask(server, "scaled", inputs)
    assert answer["y"].tolist() == [[10, 20], [30, 40]]
    assert answer["same"].tolist() == [10]


def test_the_file_is_copied_as_it_is(tmp_path: Path) -> None:
    file = relu(tmp_path / "mine.onnx", ["n", 3])
    assert imported(file, tmp_path / "models") == 0
    copy = tmp_path / "models" / "mine" / "1" / "model.onnx"
    assert copy.read_bytes() == file.read_bytes()
    assert not list(copy.parent.glob(".*"))


def test_a_model_that_was_built_here_becomes_the_users_own(tmp_path: Path) -> None:
    built = tmp_path / "built"
    assert main(["models", "build", TINY, "--repository", str(built)]) == 0
    file = built / TINY / "1" / "model.onnx"
    assert imported(file, tmp_path / "models", "--name", TINY) == 0
    assert inspect(tmp_path / "models", Variant.parse(TINY)).state is State.FOREIGN
    before, after = onnx.load(file), onnx.load(tmp_path / "models" / TINY / "1" / "model.onnx")
    assert before.graph == after.graph


def test_weights_listed_among_the_inputs_are_none(tmp_path: Path) -> None:
    file = save(
        tmp_path / "old.onnx",
        [node("Add", ["x", "w"], ["y"])],
        [("x", FLOAT, ["n", 3]), ("w", FLOAT, [3])],
        [("y", FLOAT, ["n", 3])],
        {"w": np.ones(3, "f4")},
    )
    assert imported(file, tmp_path / "models") == 0
    config = (tmp_path / "models" / "old" / "config.pbtxt").read_text()
    assert re.findall(r'name: "(.*)"', config) == ["old", "x", "y"]


def test_an_existing_model_is_kept_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = relu(tmp_path / "one.onnx", ["n", 3]), relu(tmp_path / "other.onnx", ["n", 4])
    models = tmp_path / "models"
    assert imported(one, models, "--name", "same") == 0
    assert imported(other, models, "--name", "same") == 1
    assert "there is a model same already" in capsys.readouterr().err
    assert (models / "same" / "1" / "model.onnx").read_bytes() == one.read_bytes()
    assert imported(other, models, "--name", "same", "--force") == 0
    assert (models / "same" / "1" / "model.onnx").read_bytes() == other.read_bytes()
    assert "dims: [ 4 ]" in (models / "same" / "config.pbtxt").read_text()


def cut(path: Path) -> None:
    content = relu(path, ["n", 3]).read_bytes()
    path.write_bytes(content[:-7])


def too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 31)  # without a block on the disk


def weights_elsewhere(path: Path) -> None:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../up.bin")
    graph = helper.make_graph(
        [node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 3])],
        [tensor],
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())


def weights_in(path: Path, location: str) -> None:
    (path.parent / location).parent.mkdir(exist_ok=True)
    save(
        path,
        [node("Add", ["x", "w"], ["y"])],
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 3])],
        {"w": np.ones(3, "f4")},
        save_as_external_data=True,
        location=location,
        size_threshold=0,
    )


def weights_gone(path: Path) -> None:
    weights_in(path, "gone.bin")
    path.with_name("gone.bin").unlink()


def sequence(path: Path) -> None:
    graph = helper.make_graph(
        [node("SequenceConstruct", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3])],
        [helper.make_tensor_sequence_value_info("y", FLOAT, ["n", 3])],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(content.SerializeToString())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (cut, "is not a valid ONNX model"),
        (too_large, "has 2.1 GB, and protobuf reads no file of 2 GB and more"),
        (weights_elsewhere, "weights w are in '../up.bin', which is not beside the model"),
        (weights_gone, "weights w are in gone.bin, which is not there"),
        (sequence, "y is a sequence; Triton serves tensors"),
        (lambda path: relu(path, ["n", 3], TensorProto.BFLOAT16), "x is of type BFLOAT16; served"),
        (
            lambda path: save(
                path,
                [helper.make_node("Magic", ["x"], ["y"], domain="nowhere")],
                [("x", FLOAT, ["n", 3])],
                [("y", FLOAT, ["n", 3])],
            ),
            "",
        ),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, message: str
) -> None:
    make(tmp_path / "bad.onnx")
    assert imported(tmp_path / "bad.onnx", tmp_path / "models") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gaitperf: ")
    assert message in line
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("location", "taken_for"),
    [
        ("model.py", "code and run"),
        ("__init__.py", "code and run"),
        ("model/__init__.py", "code and run"),
        ("numpy.so", "code and run"),
        ("libtriton_python.so", "code and run"),
        ("numpy.pyc", "code and run"),
        ("__pycache__/model.bin", "code and run"),
        ("model.onnx", "the model itself"),
        ("model.plan", "the model itself"),
    ],
)
def test_weights_that_would_be_what_triton_runs_are_refused_even_when_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], location: str, taken_for: str
) -> None:
    weights_in(tmp_path / "bad.onnx", location)
    assert imported(tmp_path / "bad.onnx", tmp_path / "models", "--force") == 1
    said = f"are in {location!r}, which Triton would take for {taken_for}: save the model again"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_script_of_somebody_else_is_a_model_that_is_there_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = relu(tmp_path / "mine.onnx", ["n", 3])
    script = tmp_path / "models" / "mine" / "1" / "model.py"
    script.parent.mkdir(parents=True)
    script.write_text("raise SystemExit\n")
    assert imported(file, tmp_path / "models") == 1
    assert f"there is a model mine already ({script}): replace it" in capsys.readouterr().err
    assert imported(file, tmp_path / "models", "--force") == 0
    assert "class TritonPythonModel" in script.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--network", "3D"), "--network is for Keras weights"),
        (("--data-format", "channels_last"), "--data-format is for Keras weights"),
        (("--precision", "fp16"), "--precision converts no ONNX file"),
    ],
)
def test_what_is_for_keras_weights_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    file = relu(tmp_path / "mine.onnx", ["n", 3])
    assert imported(file, tmp_path / "models", *arguments) == 1
    assert message in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(tmp_path / "none.onnx", tmp_path / "models") == 1
    assert f"cannot read {tmp_path / 'none.onnx'}: " in capsys.readouterr().err


def test_other_targets_take_no_number_without_dimensions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = relu(tmp_path / "mine.onnx", [])
    assert imported(file, tmp_path / "models", "--target=onnxruntime") == 1
    assert "x is a single number without dimensions" in capsys.readouterr().err
