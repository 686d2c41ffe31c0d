from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo import networks as recipes
from pytest_gaitperf.zoo.networks import REFERENCE_VARIANTS, Variant
from pytest_gaitperf.zoo.repository import (
    State,
    ensure_built,
    inspect,
    pytest_gaitperf_prepare_models,
)
from pytest_gaitperf.zoo.targets import LOCAL, Target, served_network

if TYPE_CHECKING:
    from collections.abc import Iterator

TINY = Variant.parse("3D_fp32_97_batchd")
ROOT = Path(__file__).parents[2]


def build(repository: Path, *, force: bool = False) -> bool:
    """Return whether the weights were built."""
    return ensure_built(repository, [TINY], lambda _: None, force=force) == [TINY]


def served_files(variant: Variant) -> dict[str, str]:
    return LOCAL.texts(served_network(variant.name, variant.describe(), LOCAL.max_batch_size))


def weights(repository: Path) -> Path:
    return repository / TINY.name / "1" / "model.onnx"


def files(repository: Path) -> set[str]:
    return {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}


WHOLE = {
    f"{TINY.name}/{name}"
    for name in ("config.pbtxt", "1/model.py", "1/model.onnx", "1/recipe.json")
}


@pytest.mark.parametrize("variant", REFERENCE_VARIANTS, ids=lambda variant: variant.name)
def test_the_committed_files_are_what_the_writer_writes(variant: Variant) -> None:
    """After a change of what is written: gaitperf models build --force."""
    config = ROOT / "model_repository" / variant.name / "config.pbtxt"
    assert config.read_text("utf-8") == served_files(variant)["config.pbtxt"]


def test_the_config_has_the_networks_shapes() -> None:
    config = served_files(Variant.parse("2D_fp32_40_batchd"))["config.pbtxt"]
    assert 'name: "2D_fp32_40_batchd"' in config
    assert re.findall(r"dims: \[ (.*) \]", config) == ["50, 60, 60", "1024"]
    assert "$" not in config


def test_a_build_writes_all_files_and_nothing_else(tmp_path: Path) -> None:
    lines: list[str] = []
    built = ensure_built(tmp_path / "new" / "repository", [TINY], lines.append)
    assert files(tmp_path / "new" / "repository") == WHOLE
    assert built == [TINY]
    assert [line.split(":")[0] for line in lines] == [TINY.name, TINY.name]
    session = onnxruntime.InferenceSession(weights(tmp_path / "new" / "repository"))
    assert session.get_inputs()[0].shape == ["batch", 25, 60, 60, 2]


def test_weights_can_be_read_by_others_as_any_new_file(tmp_path: Path) -> None:
    """A server in a container runs as another user."""
    build(tmp_path)
    (tmp_path / "plain").touch()
    assert weights(tmp_path).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_second_call_builds_nothing(tmp_path: Path) -> None:
    build(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not build(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_two_repositories_get_the_same_bytes(tmp_path: Path) -> None:
    build(tmp_path / "a")
    build(tmp_path / "b")
    for name in WHOLE:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeroed", "empty", "no recipe", "bad recipe"])
def test_damage_is_seen_and_repaired(tmp_path: Path, damage: str) -> None:
    build(tmp_path)
    file, record = weights(tmp_path), weights(tmp_path).with_name("recipe.json")
    good = file.read_bytes()
    if damage == "cut":
        file.write_bytes(good[: len(good) // 2])
    elif damage == "flipped":
        file.write_bytes(good[:-100] + bytes([good[-100] ^ 1]) + good[-99:])
    elif damage == "zeroed":
        file.write_bytes(bytes(len(good)))
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "no recipe":
        record.unlink()
    else:
        record.write_text('{"schema": 1}')
    assert inspect(tmp_path, TINY).state is State.DAMAGED
    assert build(tmp_path)
    assert file.read_bytes() == good
    assert inspect(tmp_path, TINY).state is State.BUILT


@pytest.mark.parametrize("constant", ["SEED", "GRAPH_DEFINITION"])
def test_a_changed_recipe_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    build(tmp_path)
    monkeypatch.setattr(recipes, constant, getattr(recipes, constant) + 1)
    assert inspect(tmp_path, TINY).state is State.STALE
    assert build(tmp_path)
    assert not build(tmp_path)


def test_a_changed_conversion_outdates_converted_weights_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variants = [Variant("3D", precision, 90) for precision in ("fp32", "fp16", "int8")]
    before = [recipes.recipe(variant) for variant in variants]
    monkeypatch.setattr(recipes, "CONVERSION", recipes.CONVERSION + 1)
    monkeypatch.setattr(recipes, "CALIBRATION_SAMPLES", recipes.CALIBRATION_SAMPLES + 1)
    same = [recipes.recipe(variant) == old for variant, old in zip(variants, before, strict=True)]
    assert same == [True, False, False]


def test_other_widths_are_another_recipe(tmp_path: Path) -> None:
    """The files of one variant under the name of another are not taken for it."""
    build(tmp_path)
    other = Variant.parse("3D_fp32_96_batchd")
    (tmp_path / TINY.name).rename(tmp_path / other.name)
    assert inspect(tmp_path, other).state is State.STALE


def test_force_builds_again_and_undoes_edits(tmp_path: Path) -> None:
    build(tmp_path)
    model = tmp_path / TINY.name / "1" / "model.py"
    model.write_text("# mine\n")
    assert inspect(tmp_path, TINY).edited == ("1/model.py",)
    assert not build(tmp_path)
    assert model.read_text() == "# mine\n"
    assert build(tmp_path, force=True)
    assert model.read_text() == served_files(TINY)["1/model.py"]


def test_a_file_that_nobody_edited_follows_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time, and without building the weights again."""
    build(tmp_path)
    config, model = (tmp_path / TINY.name / name for name in ("config.pbtxt", "1/model.py"))
    model.write_text("# mine\n")
    texts = Target.texts
    for number in range(2):
        monkeypatch.setattr(
            Target,
            "texts",
            lambda target, served, number=number: {
                name: f"{text}# {number}\n" for name, text in texts(target, served).items()
            },
        )
        assert not build(tmp_path)
        assert config.read_text().endswith(f"# {number}\n")
        assert model.read_text() == "# mine\n"


def test_without_update_only_what_is_missing_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models to compare with stay as they are."""
    build(tmp_path)
    (tmp_path / TINY.name / "1" / "model.py").unlink()
    before = weights(tmp_path).read_bytes()
    monkeypatch.setattr(recipes, "SEED", recipes.SEED + 1)
    lines: list[str] = []
    assert ensure_built(tmp_path, [TINY], lines.append, update=False) == []
    assert lines == []
    assert files(tmp_path) == WHOLE
    assert weights(tmp_path).read_bytes() == before
    weights(tmp_path).unlink()
    assert ensure_built(tmp_path, [TINY], lines.append, update=False) == [TINY]


def test_a_run_prepares_the_reference_networks_that_the_repository_has(tmp_path: Path) -> None:
    for name in ("3D_fp32_40_batchd", "2D_fp32_0_batchd", "resnet50"):
        (tmp_path / name).mkdir()
    lines: list[str] = []
    models = ("3D_fp32_40_batchd", "GaitSet_fp32_0_batchd", "resnet50")
    pytest_gaitperf_prepare_models(tmp_path, models, lines.append, update=True)
    assert (tmp_path / "3D_fp32_40_batchd" / "1" / "model.onnx").is_file()
    assert {path.parts[len(tmp_path.parts)] for path in tmp_path.rglob("*") if path.is_file()} == {
        "3D_fp32_40_batchd"
    }
    assert not (tmp_path / "GaitSet_fp32_0_batchd").exists()


def test_the_users_own_weights_are_never_replaced(tmp_path: Path) -> None:
    build(tmp_path)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    onnx.save(helper.make_model(graph, producer_name="tf2onnx"), weights(tmp_path))
    own = weights(tmp_path).read_bytes()
    status = inspect(tmp_path, TINY)
    assert status.state is State.FOREIGN
    assert "tf2onnx" in status.reason
    assert not build(tmp_path)
    with pytest.raises(ConfigurationError, match="move it away"):
        build(tmp_path, force=True)
    assert weights(tmp_path).read_bytes() == own


@pytest.mark.parametrize("written", [0, 1])
def test_an_interrupted_build_leaves_no_half_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Ctrl-C after the temporary file is written, for the weights (0) and for the recipe (1)."""
    renamed = 0
    replace = Path.replace

    def interrupt(path: Path, target: Path) -> Path:
        nonlocal renamed
        if renamed == written:
            raise KeyboardInterrupt
        renamed += 1
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path)
    assert files(tmp_path) == ({f"{TINY.name}/1/model.onnx"} if written else set())
    assert inspect(tmp_path, TINY).state is not State.BUILT
    assert build(tmp_path)
    assert files(tmp_path) == WHOLE


def test_an_interrupted_rebuild_keeps_the_old_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path)
    old = weights(tmp_path).read_bytes()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, force=True)
    assert weights(tmp_path).read_bytes() == old
    assert files(tmp_path) == WHOLE


def test_only_abandoned_temporary_files_are_swept(tmp_path: Path) -> None:
    build(tmp_path)
    version = weights(tmp_path).parent
    killed, live = version / ".model.onnx.1-aa.tmp", version / ".model.onnx.2-bb.tmp"
    killed.touch()
    live.touch()
    two_hours_ago = time.time() - 7200
    os.utime(killed, (two_hours_ago, two_hours_ago))
    build(tmp_path, force=True)
    assert not killed.exists()
    assert live.exists()


def test_processes_building_at_once_all_leave_whole_files(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest_gaitperf.cli",
        *("models", "build", "--force", "--repository", str(tmp_path), TINY.name),
    ]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)  # our own
        for _ in range(3)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert files(tmp_path) == WHOLE
    assert inspect(tmp_path, TINY).state is State.BUILT


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """Give a directory that this process may not write, also when it runs as root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        directory = Path(name) / "repository"
        directory.mkdir(mode=0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield directory
        finally:
            os.seteuid(user)


def test_an_unwritable_repository_is_named(unwritable: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(unwritable)
    assert str(unwritable / TINY.name) in str(caught.value)
    assert "choose another" in str(caught.value)


def test_a_repository_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "repository").touch()
    with pytest.raises(ConfigurationError, match="repository"):
        build(tmp_path / "repository")


def test_weights_that_do_not_fit_say_how_much_room_they_need(tmp_path: Path) -> None:
    """A limit on the size of a file fails inside write(), as a full disk does."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"need 0\.\d MB: make room"):
            build(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert files(tmp_path) == set()


def test_no_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 50_000_000
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(ConfigurationError, match=r"4 models need about 114 MB .* 50 MB are free"):
        ensure_built(tmp_path / "new", REFERENCE_VARIANTS, print)
    assert list(tmp_path.iterdir()) == []
    ensure_built(tmp_path, [TINY], print)
    free = 0
    assert not ensure_built(tmp_path, [TINY], print), "what is there needs no room"


def test_without_onnx_the_extra_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "pytest_gaitperf.zoo.onnx_graph", raising=False)
    monkeypatch.delattr("pytest_gaitperf.zoo.onnx_graph", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'pytest-gaitperf\[local\]'"):
        build(tmp_path)


def test_weights_that_are_built_need_no_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "pytest_gaitperf.zoo.onnx_graph", raising=False)
    assert not build(tmp_path)


def test_the_recipe_file_names_what_was_built(tmp_path: Path) -> None:
    build(tmp_path)
    record = json.loads(weights(tmp_path).with_name("recipe.json").read_text())
    assert record["variant"] == TINY.name
    assert record["weights"]["sha256"] == hashlib.sha256(weights(tmp_path).read_bytes()).hexdigest()
    assert record["recipe"] == recipes.recipe(TINY)
