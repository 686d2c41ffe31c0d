"""Keras files, written with h5py as Keras writes them; test_import_against_keras.py has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pytest_gaitperf.cli import main
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo import keras_file
from pytest_gaitperf.zoo.importing import import_keras
from pytest_gaitperf.zoo.networks import NETWORKS, Variant
from pytest_gaitperf.zoo.onnx_graph import seeded_weights
from pytest_gaitperf.zoo.repository import State, inspect
from tests.zoo.keras_files import Arrays, chain, keras_layers, write, write_keras_3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = {"3D": "3D_fp32_97_batchd", "2D": "2D_fp32_97_batchd"}


@pytest.fixture(autouse=True)
def _no_trial(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the process that tries a file first: ``test_import_trial.py`` tests that."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(keras_file, "check_readable", lambda _path: None)


def imported(path: Path, repository: Path, *arguments: str) -> int:
    return main(["models", "import", str(path), "--repository", str(repository), *arguments])


def weights_in(repository: Path, name: str) -> list[Any]:
    model = onnx.load(repository / name / "1" / "model.onnx")
    return [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]


def assert_weights(repository: Path, name: str) -> None:
    network = NETWORKS[name[:2]].pruned(int(name.split("_")[2]))
    expected = [array for layer in seeded_weights(network, 3) for array in layer]
    found = weights_in(repository, name)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("network", ["3D", "2D"])
@pytest.mark.parametrize("layout", ["flat", "within", "keras 3"])
def test_each_layout_gives_the_same_weights_and_the_variants_name(
    tmp_path: Path, network: str, layout: str
) -> None:
    layers = keras_layers(SMALL[network])
    layers["probs"] = {"kernel": np.ones((7, 4), "f4"), "bias": np.ones(4, "f4")}
    file = tmp_path / "own.h5"
    if layout == "keras 3":
        write_keras_3(file, layers)
    else:
        write(file, layers, within="convBranch" if layout == "within" else "")
    assert imported(file, tmp_path / "models", "--network", network) == 0
    assert_weights(tmp_path / "models", SMALL[network])
    status = inspect(tmp_path / "models", Variant.parse(SMALL[network]))
    assert status.state is State.FOREIGN
    assert status.edited == ()


def test_dense_weights_after_channels_last_are_put_into_order(tmp_path: Path) -> None:
    file = write(tmp_path / "own.h5", keras_layers(SMALL["2D"], channels_first=False))
    command = (file, tmp_path / "models", "--network", "2D")
    assert imported(*command, "--data-format", "channels_last") == 0
    assert_weights(tmp_path / "models", SMALL["2D"])


def test_what_pruning_while_training_keeps_is_left_out(tmp_path: Path) -> None:
    layers = keras_layers(SMALL["3D"])
    wrapped = {
        f"prune_low_magnitude_{name}": {
            **arrays,
            "mask": np.ones_like(arrays["kernel"]),
            "threshold": np.float32(0.1),
            "pruning_step": np.int64(7),
        }
        for name, arrays in layers.items()
    }
    file = write(tmp_path / "own.h5", wrapped)
    assert imported(file, tmp_path / "models", "--network", "3D") == 0
    assert_weights(tmp_path / "models", SMALL["3D"])


def test_widths_of_no_percentage_need_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = keras_layers(SMALL["3D"])
    layers["conv3d_5"]["kernel"] = layers["conv3d_5"]["kernel"][..., :-1]
    layers["conv3d_5"]["bias"] = layers["conv3d_5"]["bias"][:-1]
    layers["conv3d_6"]["kernel"] = layers["conv3d_6"]["kernel"][..., :-1, :]
    file = write(tmp_path / "own.h5", layers)
    assert imported(file, tmp_path / "models", "--network", "3D") == 1
    assert "no percentage of pruning of 3D: give the model a name" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
    assert imported(file, tmp_path / "models", "--network", "3D", "--name", "mine") == 0
    config = (tmp_path / "models" / "mine" / "config.pbtxt").read_text()
    assert 'name: "mine"' in config
    assert len(weights_in(tmp_path / "models", "mine")) == 14


def test_an_existing_model_is_replaced_only_when_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "build", SMALL["3D"], "--repository", str(tmp_path)]) == 0
    before = (tmp_path / SMALL["3D"] / "1" / "model.onnx").read_bytes()
    file = write(tmp_path / "own.h5", keras_layers(SMALL["3D"]))
    assert imported(file, tmp_path, "--network", "3D") == 1
    assert "replace it with --force" in capsys.readouterr().err
    assert (tmp_path / SMALL["3D"] / "1" / "model.onnx").read_bytes() == before
    assert imported(file, tmp_path, "--network", "3D", "--force") == 0
    assert_weights(tmp_path, SMALL["3D"])
    # And what builds the reference weights leaves it alone from now on.
    assert main(["models", "build", SMALL["3D"], "--repository", str(tmp_path)]) == 0
    assert_weights(tmp_path, SMALL["3D"])
    assert main(["models", "build", "--force", SMALL["3D"], "--repository", str(tmp_path)]) == 1


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_weights_are_converted_to_the_precision_asked_for(tmp_path: Path, precision: str) -> None:
    file = write(tmp_path / "own.h5", keras_layers(SMALL["3D"]))
    command = (file, tmp_path / "models", "--network", "3D", "--precision", precision)
    assert imported(*command) == 0
    name = SMALL["3D"].replace("fp32", precision)
    assert inspect(tmp_path / "models", Variant.parse(name)).state is State.FOREIGN
    dtype = {"fp16": np.float16, "int8": np.int8}[precision]
    assert sum(array.dtype == dtype for array in weights_in(tmp_path / "models", name)) >= 7


def drop(layers: Arrays) -> None:
    del layers["conv3d_6"]


def transpose(layers: Arrays) -> None:
    layers["conv3d_2"]["kernel"] = layers["conv3d_2"]["kernel"].swapaxes(-1, -2)
    layers["conv3d_2"]["bias"] = layers["conv3d_2"]["bias"][:4]


def wrong_bias(layers: Arrays) -> None:
    layers["conv3d_1"]["bias"] = np.zeros(99, "f4")


def normalise(layers: Arrays) -> None:
    layers["conv3d_1"] = {"gamma": np.ones(4, "f4"), "beta": np.ones(4, "f4")}


def not_a_number(layers: Arrays) -> None:
    layers["conv3d_3"]["kernel"][0] = np.nan


def no_filters(layers: Arrays) -> None:
    layers["conv3d_3"] = {"kernel": layers["conv3d_3"]["kernel"][..., :0]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, r"has 7 layers with weights, the file has 6: conv3d kernel (3, 5, 5, 2, 2)"),
        (transpose, "layer conv3d_2 has a kernel of shape (3, 3, 3, 8, 4); layer 3 of the 3D"),
        (wrong_bias, "layer conv3d_1 has a bias of shape (99,), expected (4,)"),
        (normalise, "layer conv3d_1 has gamma (4,) beta (4,); layer 2 of the 3D network is a"),
        (not_a_number, "layer conv3d_3: its kernel holds NaN or infinity"),
        (no_filters, "layer conv3d_3: its kernel is empty"),
    ],
)
def test_what_does_not_fit_is_named_with_its_layer(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Arrays], None],
    message: str,
) -> None:
    layers = keras_layers(SMALL["3D"])
    damage(layers)
    file = write(tmp_path / "own.h5", layers)
    assert imported(file, tmp_path / "models", "--network", "3D") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gaitperf: {file}: ")
    assert message in line
    assert not (tmp_path / "models").exists()


def test_a_program_after_the_code_does_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path / "own.h5", keras_layers(SMALL["2D"]), config=chain("2D"))
    assert imported(file, tmp_path / "models", "--network", "2D") == 0
    assert_weights(tmp_path / "models", SMALL["2D"])


def test_the_activation_in_the_file_is_the_one_that_is_served(tmp_path: Path) -> None:
    for activation, expected in (("relu", 5), ("linear", 4)):
        config = chain("2D", at=4, activation=activation)
        file = write(tmp_path / "own.h5", keras_layers(SMALL["2D"]), config=config)
        assert imported(file, tmp_path / activation, "--network", "2D") == 0
        model = onnx.load(tmp_path / activation / SMALL["2D"] / "1" / "model.onnx")
        assert sum(node.op_type == "Relu" for node in model.graph.node) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at": 1, "strides": [2, 2]}, "layer layer_1 has strides [2, 2]; the 2D network has"),
        ({"at": 0, "padding": "same"}, "layer layer_0 has padding same; the 2D network has valid"),
        ({"at": 3, "dilation_rate": [2, 2]}, "layer layer_3 has dilation_rate [2, 2]"),
        ({"at": 2, "activation": "elu"}, "layer layer_2 has the activation 'elu'; the 2D network"),
        ({"at": 2, "class_name": "Lambda"}, "layer_2 is a Lambda, which holds a program, and none"),
        ({"at": 2, "class_name": "BatchNormalization"}, "layer_2 is a BatchNormalization, which"),
    ],
)
def test_another_architecture_is_refused_by_its_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    config = chain("2D", **changes)
    file = write(tmp_path / "own.h5", keras_layers(SMALL["2D"]), config=config)
    assert imported(file, tmp_path / "models", "--network", "2D") == 1
    assert message in capsys.readouterr().err


def soft(file: Any, _: Path) -> None:
    kernel = file["conv3d/conv3d/kernel:0"][()]
    del file["conv3d/conv3d/kernel:0"]
    file["elsewhere"] = kernel
    file["conv3d/conv3d/kernel:0"] = h5py.SoftLink("/elsewhere")


def outside(file: Any, path: Path) -> None:
    del file["conv3d/conv3d/kernel:0"]
    file["conv3d/conv3d/kernel:0"] = h5py.ExternalLink(str(path.with_name("other.h5")), "/kernel")


def raw(file: Any, path: Path) -> None:
    path.with_name("raw").write_bytes(bytes(4 * 300))
    del file["conv3d/conv3d/kernel:0"]
    file.create_dataset(
        "conv3d/conv3d/kernel:0",
        (3, 5, 5, 2, 2),
        "f4",
        external=[(str(path.with_name("raw")), 0, 1200)],
    )


def huge(file: Any, _: Path) -> None:
    del file["conv3d/conv3d/kernel:0"]
    file.create_dataset("conv3d/conv3d/kernel:0", (1 << 20, 1 << 12), "f4", chunks=(1024, 1024))


def objects(file: Any, _: Path) -> None:
    file.attrs["layer_names"] = [1, 2]


def references(file: Any, _: Path) -> None:
    file.attrs["layer_names"] = np.array([file["conv3d"].ref], dtype=h5py.ref_dtype)


def gone(file: Any, _: Path) -> None:
    del file["conv3d/conv3d/kernel:0"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (soft, "is a link, which is not followed"),
        (outside, "is a link, which is not followed"),
        (raw, "keeps its numbers in another file"),
        (huge, "has the shape (1048576, 4096): an ONNX file cannot hold 2 GB"),
        (objects, "the attribute layer_names holds a int64 where Keras has texts"),
        (references, "where Keras has texts"),
        (gone, "is damaged: 'conv3d/kernel:0' is named in it and not there"),
    ],
)
def test_nothing_but_this_files_numbers_and_texts_is_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Any, Path], None],
    message: str,
) -> None:
    path = write(tmp_path / "own.h5", keras_layers(SMALL["3D"]))
    with h5py.File(path, "a") as file:
        damage(file, path)
    assert imported(path, tmp_path / "models", "--network", "3D") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
@pytest.mark.parametrize("layout", [write, write_keras_3])
def test_a_damaged_file_is_read_or_refused(
    tmp_path: Path, layout: Callable[[Path, Arrays], Path]
) -> None:
    content = layout(tmp_path / "own.h5", keras_layers(SMALL["3D"])).read_bytes()
    random = np.random.default_rng(3)
    refused = 0
    for _ in range(15):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 30):
            damaged[place] = random.integers(256)
        (tmp_path / "own.h5").write_bytes(damaged)
        try:
            # As the command does: damage can crash HDF5, 1.12 did.
            keras_file.check_readable(tmp_path / "own.h5")
            import_keras(tmp_path / "own.h5", "3D", "fp32", None)
        except ConfigurationError:
            refused += 1
    assert refused > 3


def test_a_relu_with_a_limit_is_not_taken_for_one_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = chain("2D", at=0, activation="linear")
    layers = config["config"]["layers"][0]["config"]["layers"]
    layers.insert(2, {"class_name": "ReLU", "config": {"name": "relu6", "max_value": 6.0}})
    file = write(tmp_path / "own.h5", keras_layers(SMALL["2D"]), config=config)
    assert imported(file, tmp_path / "models", "--network", "2D") == 1
    assert "layer relu6 has the activation 'a ReLU with a limit" in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, -2, 2.5, "x"])
def test_pooling_by_what_is_no_positive_whole_number_is_refused_by_its_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: object
) -> None:
    config = chain("2D")
    layers = config["config"]["layers"][0]["config"]["layers"]
    layers[2]["config"]["pool_size"] = [size, size]
    file = write(tmp_path / "own.h5", keras_layers(SMALL["2D"]), config=config)
    assert imported(file, tmp_path / "models", "--network", "2D") == 1
    assert f"layer pool_0 pools {[size, size]} by None" in capsys.readouterr().err


def test_a_number_that_is_too_long_to_be_one_belongs_to_the_layers_name() -> None:
    assert keras_file.numbered("conv2d_12") == ("conv2d", 12)
    long = f"conv2d_{'9' * 5000}"
    assert keras_file.numbered(long) == (long, 0)


def test_a_config_that_lacks_what_keras_writes_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = chain("2D")
    layers = config["config"]["layers"][0]["config"]["layers"]
    del layers[2]["config"]["pool_size"]
    file = write(tmp_path / "own.h5", keras_layers(SMALL["2D"]), config=config)
    assert imported(file, tmp_path / "models", "--network", "2D") == 1
    assert "model_config is not the one of a Keras model" in capsys.readouterr().err


def test_a_group_that_holds_itself_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_keras_3(tmp_path / "own.h5", keras_layers(SMALL["3D"]))
    with h5py.File(path, "a") as file:
        file["layers/conv3d/layers"] = file["layers"]
    assert imported(path, tmp_path / "models", "--network", "3D") == 1
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"", (), "--network with one of 3D, 2D, GaitSet"),
        (b"not HDF5", ("--network", "3D"), "as HDF5"),
        (b"", ("--network", "3D", "--name", "../up"), "is no name for a model"),
        (b"", ("--network", "3D", "--precision", "best"), "choose --target tensorrt"),
        (b"", ("--network", "3D", "--dla", "0"), "--dla is an option of --target tensorrt"),
    ],
)
def test_a_users_mistake_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "own.h5").write_bytes(content)
    assert imported(tmp_path / "own.h5", tmp_path / "models", *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "models").exists()


def test_an_hdf5_file_of_something_else_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["data"] = np.zeros(3)
    assert imported(tmp_path / "own.h5", tmp_path, "--network", "3D") == 1
    assert "holds no weights of a Keras model" in capsys.readouterr().err
