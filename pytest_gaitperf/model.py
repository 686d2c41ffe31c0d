"""What a model takes and gives, and whether a server has it ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_AS_IT_IS = "[](){}!$&'*+,;:=@^"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    ``datatype`` is KServe's name (``FP32``, ``BYTES``...). ``shape`` leaves the batch dimension
    out; -1 is a dynamic size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's metadata; ``versions`` are the ones served, or on disk, in ascending order.

    ``max_batch_size`` is 0 for a model that takes no batch dimension. ``backend`` is the backend's
    name, or the platform's where an older config names only that. ``stateful``: it takes sequences.
    ``steps`` are the names and versions ("" for the highest) of the models that an ensemble is made
    of, each once.
    """

    name: str
    versions: tuple[str, ...]
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    backend: str = ""
    decoupled: bool = False
    stateful: bool = False
    steps: tuple[tuple[str, str], ...] = ()

    @property
    def batched(self) -> bool:
        """Whether requests carry a batch dimension in front of each tensor's shape."""
        return self.max_batch_size > 0

    @property
    def text(self) -> str:
        """What it takes and gives, for people: ``max_batch_size 8; x FP32 [16]; y FP32 [4]``."""
        tensors = (
            f"{tensor.name} {tensor.datatype} {list(tensor.shape)}"
            for tensor in (*self.inputs, *self.outputs)
        )
        return "; ".join((f"max_batch_size {self.max_batch_size}", *tensors))

    @property
    def signature(self) -> str:
        """Stable text of names, datatypes and shapes: two models that differ in it do not compare.

        It does not depend on the order of the tensors in the config.
        """
        return f"{_side(self.inputs)} -> {_side(self.outputs)}"


class ModelState(NamedTuple):
    """One entry of a server's index.

    ``state`` is the server's word (``READY``, ``UNAVAILABLE``, ``LOADING``...), "" for a model that
    it never tried to load, as is ``version`` then. ``reason`` says why it is not ready, "" where
    the server does not.
    """

    name: str
    version: str
    state: str
    reason: str


def made_of(name: str, known: Callable[[str], object]) -> list[str]:
    """Return a model's name and, of an ensemble, those of all that it is made of.

    ``known`` returns what is known of a model: its ``ModelInfo``, or anything else.
    """
    found = [name]
    for one in found:  # it grows meanwhile: steps may be ensembles
        info = known(one)
        steps = info.steps if isinstance(info, ModelInfo) else ()
        found += [step for step in dict(steps) if step not in found]
    return found


def quoted(name: str) -> str:
    """Return a model's name as a part of a path in Triton's HTTP API.

    Triton takes a path as it comes and decodes nothing: only what ends a path is escaped.
    """
    return quote(name, safe=_AS_IT_IS)


def model_path(name: str, version: str) -> str:
    """Return the path of a model, or of one version, in Triton's HTTP API."""
    path = f"/v2/models/{quoted(name)}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _side(tensors: Iterable[TensorSpec]) -> str:
    return ", ".join(
        f"{tensor.name}:{tensor.datatype}[{','.join(map(str, tensor.shape))}]"
        + ("?" if tensor.optional else "")
        for tensor in sorted(tensors, key=lambda tensor: tensor.name)
    )
