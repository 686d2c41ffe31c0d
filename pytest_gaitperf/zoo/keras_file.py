"""The layers with weights of a Keras HDF5 file, in their order, and the architecture it declares.

Read are ``model.save("x.h5")``, the weights alone as Keras 2 wrote them (``layer_names`` and
``weight_names``), and Keras 3's ``x.weights.h5``. Numbers and texts are all that is taken from the
file: nothing in it is run, and nothing outside it is followed. Run as a program, this module reads
one file: see ``check_readable``.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest_gaitperf
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo import optional_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

WRAPPER = "time_distributed"
"""What Keras calls a layer that runs another one on each frame."""

_CONTAINERS = ("Sequential", "Functional", "Model")
# What pruning while training (tensorflow-model-optimization) keeps beside each kernel.
_BOOKKEEPING = ("mask", "threshold", "pruning_step")
_LARGEST_BYTES = 1 << 31
_SHRUNK = 1032  # how much smaller DEFLATE makes zeros

LIMIT_S = 60
"""The file may take so long to read, with its process' start: 2 GB, the most that is read, do."""


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """A layer with weights: its arrays by Keras' names for them, such as ``kernel``, ``bias``."""

    name: str
    arrays: dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class KerasConfig:
    """One layer of the architecture as the file declares it, containers and wrappers taken off."""

    kind: str
    name: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class KerasFile:
    """What a file holds. ``architecture`` is None where it has weights only."""

    layers: tuple[KerasLayer, ...]
    architecture: tuple[KerasConfig, ...] | None


def check_readable(path: Path) -> None:
    """Raise ConfigurationError where reading the file crashes, or does not end within LIMIT_S.

    Another process reads it first: damage can hang or crash HDF5's C code. Any other fault is left
    to ``read``, which says it better.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest_gaitperf.zoo.keras_file", str(path.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Where this very package is found, and no file of the user's shadows a module.
            cwd=Path(pytest_gaitperf.__file__).parents[1],
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode >= 0:
            return
        killed = signal.Signals(-done.returncode)
        cause = "memory ran out" if killed is signal.SIGKILL else "the file is damaged"
        why = f"a process that tried was killed by {killed.name}: {cause}"
    except subprocess.TimeoutExpired:
        why = (
            f"HDF5 came to no end with it within {LIMIT_S} s: the file is damaged, or its disk "
            "very slow"
        )
    raise ConfigurationError(
        f"{path} cannot be read: {why}; copy it here again, or save the model again"
    )


def read(path: Path) -> KerasFile:
    """Read the file; raise ConfigurationError where it is none of the three kinds or not safe."""
    with optional_packages(f"reading {path}", "import"):
        import h5py  # noqa: PLC0415  # optional, and only an import of weights needs it
    try:
        with h5py.File(path, "r") as file:
            return _Reader(h5py, file, path.stat().st_size).read()
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    # The kinds of error that h5py has for a damaged file.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"cannot read {path} as HDF5: {error}; give a file that Keras saved as .h5, .hdf5 or "
            ".weights.h5"
        ) from error


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads an open file of ``size`` bytes. Its errors leave out the file's name."""

    h5py: Any
    file: Any
    size: int

    def read(self) -> KerasFile:
        file = self.file
        if "model_weights" in file:
            layers = self._by_names(self._group(file, "model_weights"))
        elif self._texts(file, "layer_names") is not None:
            layers = self._by_names(file)
        elif "layers" in file or "_layer_checkpoint_dependencies" in file:
            layers = list(self._by_classes(file))
        else:
            raise ConfigurationError(
                "it holds no weights of a Keras model: neither layer_names, nor model_weights, nor "
                "layers; save it with model.save('x.h5') or model.save_weights('x.weights.h5')"
            )
        return KerasFile(tuple(layers), self._architecture())

    def _by_names(self, root: Any) -> list[KerasLayer]:
        """Read Keras 2's layout: a model within the model is one entry with all of its weights."""
        layers: dict[tuple[str, str], dict[str, Any]] = {}
        for entry in self._texts(root, "layer_names") or []:
            group = self._group(root, entry)
            for weight in self._texts(group, "weight_names") or []:
                parent, _, leaf = weight.rpartition("/")
                leaf = leaf.partition(":")[0]
                if leaf not in _BOOKKEEPING:
                    wrapped = entry.startswith(WRAPPER)
                    name = entry if wrapped else parent.rpartition("/")[2] or entry
                    name = name.removeprefix("prune_low_magnitude_")
                    # The parent's whole path: two models in one may name a layer alike.
                    key = (f"{entry}/{parent}", name)
                    layers.setdefault(key, {})[leaf] = self._array(group, weight)
        return [
            KerasLayer(name, arrays)
            for (_, name), values in layers.items()
            if (arrays := _floats(values))
        ]

    def _by_classes(self, group: Any) -> Iterator[KerasLayer]:
        """Read Keras 3's layout, where a layer is called after its class and its number in it.

        The order between classes is not in the file: models within come first, then convolutions.
        """
        for kind in ("layers", "_layer_checkpoint_dependencies"):
            if kind not in group:
                continue
            children = self._group(group, kind)
            order = {
                name: 0 if "layers" in child else 1 if name.startswith("conv") else 2
                for name, child in children.items()
            }
            for name in sorted(children, key=lambda name: (order[name], numbered(name))):
                child = self._group(children, name)
                yield from self._by_classes(child)
                while "layer" in child:  # a wrapper, such as TimeDistributed
                    child = self._group(child, "layer")
                if "vars" not in child:
                    continue
                variables = self._group(child, "vars")
                given = variables.attrs.get("name")
                keys = sorted(variables, key=lambda key: (len(key), key))  # 2 before 10
                values = {key: self._array(variables, key) for key in keys}
                # Conv and Dense keep their kernel first and their bias, if any, second.
                known = dict(zip(("kernel", "bias"), values.values(), strict=False))
                if arrays := _floats(known if len(values) <= len(known) else values):
                    named = isinstance(given, str) and not name.startswith(WRAPPER)
                    yield KerasLayer(given if named else name, arrays)

    def _group(self, parent: Any, name: str) -> Any:
        found = self._own(parent, name)
        if not isinstance(found, self.h5py.Group):
            raise ConfigurationError(f"it is damaged: {parent.name}/{name} is not a group")
        return found

    def _array(self, parent: Any, name: str) -> Any:
        found = self._own(parent, name)
        if not isinstance(found, self.h5py.Dataset) or found.dtype.kind not in "fiub":
            raise ConfigurationError(f"{parent.name}/{name} is not an array of numbers")
        if found.external or found.is_virtual:
            raise ConfigurationError(
                f"{parent.name}/{name} keeps its numbers in another file, which is not "
                "followed; save the model into one file"
            )
        if found.nbytes >= _LARGEST_BYTES:
            raise ConfigurationError(
                f"{parent.name}/{name} has the shape {found.shape}: an ONNX file cannot hold "
                "2 GB and more"
            )
        if found.nbytes > _SHRUNK * self.size:
            raise ConfigurationError(
                f"it is damaged: {parent.name}/{name} says that its shape is {found.shape}, for "
                "which the file is too small"
            )
        value = found[()]
        return value.astype("float32") if value.dtype.kind == "f" else value

    def _own(self, parent: Any, name: str) -> Any:
        """Return what ``name``, which may have slashes, stands for, if it is in this very file."""
        for part in filter(None, name.split("/")):
            if not isinstance(parent, self.h5py.Group) or part not in parent:
                raise ConfigurationError(
                    f"it is damaged: {name!r} is named in it and not there; save the model again"
                )
            if not isinstance(parent.get(part, getlink=True), self.h5py.HardLink):
                raise ConfigurationError(
                    f"{parent.name}/{part} is a link, which is not followed; save the model "
                    "into one file"
                )
            parent = parent[part]
        return parent

    def _texts(self, group: Any, name: str) -> list[str] | None:
        """Read an attribute that is a list of texts; a long one is cut into NAME0, NAME1, ..."""
        names = [name] if name in group.attrs else []
        while f"{name}{len(names)}" in group.attrs:
            names.append(f"{name}{len(names)}")
        if not names:
            return None
        texts: list[str] = []
        for part in names:
            value = group.attrs[part]
            for text in value if hasattr(value, "__len__") else [value]:
                if isinstance(text, bytes):
                    text = text.decode("utf-8", "replace")  # noqa: PLW2901  # the same text
                if not isinstance(text, str):
                    raise ConfigurationError(
                        f"the attribute {part} holds a {type(text).__name__} where Keras has "
                        "texts; it is not read"
                    )
                texts.append(text)
        return texts

    def _architecture(self) -> tuple[KerasConfig, ...] | None:
        if (stored := self.file.attrs.get("model_config")) is None:
            return None
        try:
            return tuple(_flattened(json.loads(stored)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise not_of_keras(error) from error


def not_of_keras(error: Exception) -> ConfigurationError:
    """Return the error of an architecture that cannot be read."""
    return ConfigurationError(
        f"the file's model_config is not the one of a Keras model ({error!r}); save the model "
        "again, or its weights alone with model.save_weights"
    )


def numbered(name: str) -> tuple[str, int]:
    """Split ``conv2d_12`` into what sorts: the text, and the number, 0 where there is none."""
    match = re.fullmatch(r"(.*?)(?:_(\d{1,18}))?", name, re.DOTALL)  # int() refuses far longer ones
    return (match[1], int(match[2] or 0)) if match else (name, 0)


def _floats(values: dict[str, Any]) -> dict[str, Any]:
    """Keep numbers with a fraction: the states of random generators are integers."""
    return {name: value for name, value in values.items() if value.dtype.kind == "f"}


def _flattened(node: dict[str, Any]) -> Iterator[KerasConfig]:
    kind, settings = node["class_name"], node["config"]
    if kind in _CONTAINERS:
        # Keras 2.2 and older: a Sequential's config is the list of its layers.
        for child in settings if isinstance(settings, list) else settings["layers"]:
            yield from _flattened(child)
    elif kind == "PruneLowMagnitude":
        yield from _flattened(settings["layer"])
    else:
        yield KerasConfig(kind, settings["name"], settings)


if __name__ == "__main__":
    signal.alarm(2 * LIMIT_S)  # a hang ends even where nobody is left to end it
    try:
        read(Path(sys.argv[1]))
    except ConfigurationError:
        sys.exit(1)
