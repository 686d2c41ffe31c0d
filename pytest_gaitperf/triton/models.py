"""What Triton says of a model, and a repository on disk says: configurations and counters."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, text_format

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import read_bytes
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.model import ModelInfo, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_gaitperf.model import ModelState

SUFFIX = "--reference"
"""What a reference model's name has behind the candidate's."""

_OVERLAP = 0.1
"""Of a request's time in the server: by how much the parts of an ensemble's steps may be longer."""
_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
"""Of a successful request's time in the server."""


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Cumulative counters of one model version since it was loaded.

    ``inference_count`` counts samples (a batch of 8 is 8), ``execution_count`` runs of the backend,
    ``success_count`` and ``fail_count`` requests. The durations are summed over successful
    requests, in ns; ``success_ns`` is their whole time in the server, the others are its parts.
    ``absent`` says why there are none, which then are all 0.
    """

    inference_count: int
    execution_count: int
    success_count: int
    fail_count: int
    success_ns: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    absent: str = field(default="", kw_only=True)

    def minus(self, earlier: ModelStatistics) -> ModelStatistics:
        """Return what was counted since ``earlier``."""
        return self._with(earlier, int.__sub__)

    def plus(self, other: ModelStatistics) -> ModelStatistics:
        """Return what was counted here and there together."""
        return self._with(other, int.__add__)

    def _with(self, other: ModelStatistics, made: Callable[[int, int], int]) -> ModelStatistics:
        *mine, absent = astuple(self)
        *others, as_absent = astuple(other)
        counts = (made(*pair) for pair in zip(mine, others, strict=True))
        return ModelStatistics(*counts, absent=absent or as_absent)

    def with_steps(self, steps: Iterable[ModelStatistics]) -> ModelStatistics:
        """Return an ensemble's counters with the time of what it is made of in its parts.

        Triton 2.51 adds up the computing of the steps itself, but not their queues; older ones
        neither.
        """
        steps = list(steps)
        parts = _PARTS[:1] if self.compute_infer_ns or not self.success_count else _PARTS
        sums = {f"{part}_ns": sum(getattr(one, f"{part}_ns") for one in steps) for part in parts}
        return replace(self, **sums)

    def parts_s(self) -> dict[str, float]:
        """Return the seconds of each part of a successful request's time in the server.

        ``server_other`` is what is in none of them. The steps of an ensemble overlap a little: its
        parts are shortened by as much. Where they are far longer than that time, as of steps that
        run at once or for others too, they cannot be told apart: ``server`` is all of it.
        """
        per = 1e9 * max(self.success_count, 1)
        parts_ns = {part: getattr(self, f"{part}_ns") for part in _PARTS}
        whole_ns, known_ns = self.success_ns, sum(parts_ns.values())
        if whole_ns and known_ns > (1 + _OVERLAP) * whole_ns:
            return {"server": whole_ns / per}
        if whole_ns and known_ns > whole_ns:
            per *= known_ns / whole_ns
        parts = {part: of_part_ns / per for part, of_part_ns in parts_ns.items()}
        other_ns = whole_ns - known_ns
        return parts | {"server_other": other_ns / per} if other_ns > 0 else parts


def no_statistics(absent: str) -> ModelStatistics:
    """Return the counters of a server that gives none."""
    return ModelStatistics(*(0,) * (len(fields(ModelStatistics)) - 1), absent=absent)


def sorted_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """Sort version names as the numbers they are."""
    return tuple(sorted(versions, key=lambda version: (len(version), version)))


def model_from(config: Mapping[str, Any], versions: Iterable[str]) -> ModelInfo:
    """Read Triton's JSON of a model configuration; KeyError, TypeError, ValueError for none."""
    return ModelInfo(
        name=str(config["name"]),
        versions=sorted_versions(versions),
        max_batch_size=_size(config.get("max_batch_size", 0), 0),
        inputs=tuple(_tensor(entry) for entry in config.get("input", ())),
        outputs=tuple(_tensor(entry) for entry in config.get("output", ())),
        backend=str(config.get("backend") or config.get("platform") or ""),
        decoupled=bool((config.get("model_transaction_policy") or {}).get("decoupled", False)),
        stateful="sequence_batching" in config,
        steps=tuple(dict.fromkeys(_step(entry) for entry in _steps(config))),
    )


def _steps(config: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (config.get("ensemble_scheduling") or {}).get("step", ())  # type: ignore[no-any-return]


def _step(entry: Mapping[str, Any]) -> tuple[str, str]:
    version = int(entry.get("model_version", -1))
    return str(entry["model_name"]), "" if version < 0 else str(version)


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


def statistics_from(entry: dict[str, Any]) -> ModelStatistics:
    """Read one entry of ``model_stats``; what an older server leaves out counts as 0."""
    inference: dict[str, Any] = entry.get("inference_stats") or {}

    def part(name: str, field: str) -> int:
        return _counted((inference.get(name) or {}).get(field, 0))

    return ModelStatistics(
        *(_counted(entry.get(f"{what}_count", 0)) for what in ("inference", "execution")),
        *(part(name, "count") for name in ("success", "fail")),
        *(part(name, "ns") for name in ("success", *_PARTS)),
    )


def _counted(value: Any) -> int:
    """Return a counter, which JSON may hold as a text: its own numbers end at 2^53."""
    count = int(value)
    if not 0 <= count < 1 << 64:
        raise ValueError(f"{count} is no counter")
    return count


def why_not_ready(entries: Sequence[ModelState]) -> str:
    """Say why the newest of a model's versions is not served, "" where it is."""
    ready = [_number(entry) for entry in entries if entry.state == "READY"]
    newer = [entry for entry in entries if _number(entry) > max(ready, default=-1)]
    tried = [entry for entry in newer if entry.reason not in ("", "unloaded")]
    if ready:
        failed = [f"version {one.version} could not be loaded: {one.reason}" for one in tried]
        return f"{failed[-1]} (an older one still answers)" if failed else ""
    if not tried and all(entry.state in ("", "UNAVAILABLE") for entry in newer):
        return f"not loaded: give --triton-load={entries[0].name}, or load it there yourself"
    last = (tried or newer)[-1]
    return ": ".join(filter(None, (last.state, last.reason)))


def _number(entry: ModelState) -> int:
    return int(entry.version) if entry.version.isdecimal() else 0


def repository_models(repository: Path) -> dict[str, ModelInfo | None]:
    """Read what a repository says of its models, without a server: a first word, not the last.

    None for a model whose config is not whole, or cannot be read: the server may complete it, or
    say what is wrong with it. Raises ConfigurationError when the repository is missing.
    """
    found: dict[str, ModelInfo | None] = {}
    for folder in model_folders(repository):
        try:
            info = read_config(folder / "config.pbtxt")
        except ConfigurationError:
            info = None
        found[folder.name] = info if info is not None and info.inputs and info.outputs else None
    return found


def model_folders(repository: Path) -> list[Path]:
    """Return the folders of a repository that Triton takes for models, sorted by name.

    Raises ConfigurationError when the repository is missing.
    """
    if not repository.is_dir():
        raise ConfigurationError(
            f"model repository {repository} is not a directory: build the models with "
            "'gaitperf models build', or name another with --triton-repository"
        )
    return sorted(
        entry for entry in repository.iterdir() if entry.is_dir() and entry.name[0] != "."
    )


def check_repository(repository: Path, names: Iterable[str]) -> None:
    """Raise ConfigurationError when a repository has nothing to serve, or not these models."""
    present = [folder.name for folder in model_folders(repository)]
    if not present:
        raise ConfigurationError(
            f"model repository {repository} is empty: build the models with "
            "'gaitperf models build', or name another with --triton-repository"
        )
    if missing := [name for name in names if name not in present]:
        raise ConfigurationError(
            f"model repository {repository} has no {', '.join(missing)}: it has "
            f"{', '.join(present)}"
        )


def parse_config(path: Path) -> Any:
    """Parse one config.pbtxt as it stands; ConfigurationError, with the line, where it is none."""
    # Not at the top: it imports grpc, 0.4 s that a run without a repository need not pay.
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an escape that Python does not know, as \P
            return text_format.Parse(read_bytes(path).decode(), model_config_pb2.ModelConfig())
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
        return model_from(
            json_format.MessageToDict(config, preserving_proto_field_name=True),
            _policy_versions(config.version_policy, on_disk),
        )
    except KeyError as error:
        raise ConfigurationError(
            f"{path}: an input or output has no {error.args[0]}; add it"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}: correct its dims or max_batch_size") from error


def why_not_taken(config: Path) -> str:
    """Say why a server has not loaded the model of a config.pbtxt, of which it says nothing."""
    try:
        read_config(config)
    except ConfigurationError as error:
        missing = f"{config} is missing: write it, or move the folder elsewhere"
        return str(error) if config.is_file() else missing
    return "the server did not take it for a model"


def _policy_versions(policy: Any, on_disk: tuple[str, ...]) -> tuple[str, ...]:
    """Apply a version_policy as the server does: the latest one unless told otherwise."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return on_disk
    if choice == "specific":
        wanted = {str(version) for version in policy.specific.versions}
        return tuple(version for version in on_disk if version in wanted)
    return on_disk[-max(1, policy.latest.num_versions) :]


class SideBySide:
    """The merged repository: ``directory``, removed by ``close``.

    ``references`` are the candidate's models with a counterpart, which is served as NAME +
    ``SUFFIX``, ``gone`` those that only the reference has. ``origins`` are the directories that the
    links point into.
    """

    def __init__(self, candidate: Path, reference: Path) -> None:
        """Link the models of both; ConfigurationError where that cannot be done."""
        for repository in (candidate, reference):
            model_folders(repository)  # raises when it is no directory
        self.origins = (candidate.resolve(), reference.resolve())
        ours, theirs = _models(candidate), _models(reference)
        self.references = frozenset(ours) & frozenset(theirs)
        self.gone = tuple(name for name in theirs if name not in ours)
        if taken := sorted(name for name in ours if name.endswith(SUFFIX)):
            raise ConfigurationError(
                f"{ours[taken[0]]}: names that end in {SUFFIX!r} are taken by the models that "
                "--gaitperf-against compares with: rename it"
            )
        self._temporary = tempfile.TemporaryDirectory(prefix=prefix("beside"))
        self.directory = Path(self._temporary.name)
        try:
            for name, folder in ours.items():
                (self.directory / name).symlink_to(folder.resolve())
            for name, folder in theirs.items():
                _rename(folder, self.directory / f"{name}{SUFFIX}", theirs)
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"the models of {candidate} and {reference} cannot be linked in {self.directory} "
                f"({error.strerror}): free some space there, or set TMPDIR to another place"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the links; idempotent."""
        self._temporary.cleanup()


def _models(repository: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in model_folders(repository)}


def _rename(folder: Path, staged: Path, others: Iterable[str]) -> None:
    """Link a model's files under another name; an ensemble's steps become the reference's own."""
    staged.mkdir()
    for entry in folder.iterdir():
        if entry.name != "config.pbtxt":
            (staged / entry.name).symlink_to(entry.resolve())
    path = folder / "config.pbtxt"
    if not path.is_file():
        return
    config = parse_config(path)
    config.ClearField("name")
    for step in config.ensemble_scheduling.step:
        if step.model_name in others:
            step.model_name += SUFFIX
    (staged / path.name).write_text(text_format.MessageToString(config), encoding="utf-8")
