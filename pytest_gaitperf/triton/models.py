"""What a model takes and gives, from a running server or from its config.pbtxt."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    ``datatype`` is KServe's name (``FP32``, ``BYTES``...). ``shape`` leaves the batch dimension
    out; -1 is a dynamic size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's metadata; ``versions`` are the ones served, or on disk, in ascending order.

    ``max_batch_size`` is 0 for a model that takes no batch dimension. ``backend`` is the backend's
    name, or the platform's where an older config names only that.
    """

    name: str
    versions: tuple[str, ...]
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    backend: str
    decoupled: bool

    @property
    def batched(self) -> bool:
        """Whether requests carry a batch dimension in front of each tensor's shape."""
        return self.max_batch_size > 0

    @property
    def signature(self) -> str:
        """Stable text of names, datatypes and shapes: two models that differ in it do not compare.

        It does not depend on the order of the tensors in the config.
        """
        return f"{_side(self.inputs)} -> {_side(self.outputs)}"


def _side(tensors: Iterable[TensorSpec]) -> str:
    return ", ".join(
        f"{tensor.name}:{tensor.datatype}[{','.join(map(str, tensor.shape))}]"
        + ("?" if tensor.optional else "")
        for tensor in sorted(tensors, key=lambda tensor: tensor.name)
    )


def sorted_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """Sort version names as the numbers they are."""
    return tuple(sorted(versions, key=lambda version: (len(version), version)))


def from_config(config: Mapping[str, Any], versions: Iterable[str]) -> ModelInfo:
    """Read a model configuration in Triton's JSON form, as the server gives it.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is not one.
    """
    return ModelInfo(
        name=str(config["name"]),
        versions=sorted_versions(versions),
        max_batch_size=_size(config.get("max_batch_size", 0), 0),
        inputs=tuple(_tensor(entry) for entry in config.get("input", ())),
        outputs=tuple(_tensor(entry) for entry in config.get("output", ())),
        backend=str(config.get("backend") or config.get("platform") or ""),
        decoupled=bool((config.get("model_transaction_policy") or {}).get("decoupled", False)),
    )


def _tensor(entry: Mapping[str, Any]) -> TensorSpec:
    datatype = str(entry["data_type"]).removeprefix("TYPE_")
    return TensorSpec(
        name=str(entry["name"]),
        datatype="BYTES" if datatype == "STRING" else datatype,
        shape=tuple(_size(size, -1) for size in entry.get("dims", ())),
        optional=bool(entry.get("optional", False)),
    )


def _size(value: Any, lowest: int) -> int:
    size = int(value)
    if not lowest <= size < 1 << 63:
        raise ValueError(f"{size} is no size")
    return size


def repository_models(repository: Path) -> dict[str, ModelInfo]:
    """Read every model of a repository that has a config.pbtxt, without a server.

    A model whose config Triton would complete by itself (no config.pbtxt) is left out: only the
    server knows it. Raises ConfigurationError, with file and line, for a config that cannot be
    read, and when the repository is missing.
    """
    return {path.parent.name: read_config(path) for path in config_paths(repository)}


def config_paths(repository: Path) -> list[Path]:
    """Return the config.pbtxt files of a repository, sorted by model name."""
    if not repository.is_dir():
        raise ConfigurationError(
            f"model repository {repository} is not a directory: build the models with "
            "'gaitperf models build', or name another with --triton-repository"
        )
    return sorted(repository.glob("*/config.pbtxt"))


def parse_config(path: Path) -> Any:
    """Parse one config.pbtxt as Triton's ``ModelConfig``, as it stands there.

    Raises ConfigurationError, with file and line, for one that cannot be read.
    """
    # Not at the top: these import grpc, 0.4 s that a run without a repository need not pay.
    from google.protobuf import text_format  # noqa: PLC0415
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an escape that Python does not know, as \P
            return text_format.Parse(
                path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig()
            )
    except text_format.ParseError as error:
        line, message = error.GetLine(), str(error)
        # The parser repeats its "line:column : " in front of the message, and may add the text.
        message = message.split(" : ", 1)[-1].splitlines()[0]
        raise ConfigurationError(
            f"{path}:{line or 1}: not a valid model configuration: {message}; correct it, or move "
            "the folder out of the repository"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as text ({error})") from error
    except ValueError as error:  # an enum's number of more than 32 bits comes without its line
        raise ConfigurationError(
            f"{path}: not a valid model configuration: {error}; correct it, or move the folder out "
            "of the repository"
        ) from error


def read_config(path: Path) -> ModelInfo:
    """Read one config.pbtxt; tensors that it leaves to the server to complete are not there."""
    from google.protobuf import json_format  # noqa: PLC0415 - as above

    config = parse_config(path)
    folder = path.parent
    if config.name and config.name != folder.name:
        raise ConfigurationError(
            f"{path}: names the model {config.name!r}, but its folder is {folder.name!r}: Triton "
            "wants them equal; correct the name line or leave it out"
        )
    config.name = folder.name
    on_disk = sorted_versions(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal()
    )
    try:
        return from_config(
            json_format.MessageToDict(config, preserving_proto_field_name=True),
            _policy_versions(config.version_policy, on_disk),
        )
    except KeyError as error:
        raise ConfigurationError(
            f"{path}: an input or output has no {error.args[0]}; add it"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}: correct its dims or max_batch_size") from error


def _policy_versions(policy: Any, on_disk: tuple[str, ...]) -> tuple[str, ...]:
    """Apply a version_policy as the server does: the latest one unless told otherwise."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return on_disk
    if choice == "specific":
        wanted = {str(version) for version in policy.specific.versions}
        return tuple(version for version in on_disk if version in wanted)
    return on_disk[-max(1, policy.latest.num_versions) :]
