"""Names of the models, ``NETWORK_PRECISION_PRUNED_BATCH``, e.g. ``3D_fp32_40_batchd``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.zoo.networks import NETWORKS, Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PRECISIONS = ("fp32", "fp16", "int8", "best")
LOCAL_PRECISIONS = ("fp32", "fp16", "int8")
"""What onnxruntime on a CPU serves; ``best`` lets TensorRT's builder choose for each layer."""
BATCHES = ("batchd",)
MAX_PRUNED = 99

_NAME = re.compile(r"([^_]+)_([^_]+)_(0|[1-9][0-9]?)_([^_]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of the gait family.

    ``pruned`` is the percentage of filters taken from each convolution, 0 to 99. ``batch`` is
    ``batchd``: the batch is a dynamic dimension. Raises ConfigurationError where a part does not
    exist.
    """

    network: str
    precision: str
    pruned: int
    batch: str = "batchd"

    def __post_init__(self) -> None:
        if (
            self.network not in NETWORKS
            or self.precision not in PRECISIONS
            or not 0 <= self.pruned <= MAX_PRUNED
            or self.batch not in BATCHES
        ):
            raise _unknown(self.name)

    @classmethod
    def parse(cls, name: str) -> Variant:
        """Return the variant of that name, or raise ConfigurationError saying what exists."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise _unknown(name)
        network, precision, pruned, batch = match.groups()
        return cls(network, precision, int(pruned), batch)

    @property
    def name(self) -> str:
        """The model's name in the repository, in test ids and in results."""
        return f"{self.network}_{self.precision}_{self.pruned}_{self.batch}"

    def describe(self) -> Network:
        """Return the network of this variant, with its pruned widths."""
        return NETWORKS[self.network].pruned(self.pruned)


def _unknown(name: str) -> ConfigurationError:
    reference = ", ".join(variant.name for variant in REFERENCE_VARIANTS)
    return ConfigurationError(
        f"no gait model is named {name!r}; the reference models are {reference}, and a name is "
        f"{{{'|'.join(NETWORKS)}}}_{{{'|'.join(PRECISIONS)}}}_PERCENT_{{{'|'.join(BATCHES)}}} with "
        f"PERCENT of the filters pruned, 0 to {MAX_PRUNED}; patterns are over steps of 10"
    )


REFERENCE_VARIANTS: tuple[Variant, ...] = (
    Variant("3D", "fp32", 0),
    Variant("3D", "fp32", 40),
    Variant("2D", "fp32", 0),
    Variant("GaitSet", "fp32", 0),
)
"""The models that the gait suite measures unless told otherwise: each network, and one pruned."""

ZOO: tuple[Variant, ...] = tuple(
    Variant(network, precision, pruned)
    for network in NETWORKS
    for precision in PRECISIONS
    for pruned in range(0, 100, 10)
)
"""Every network in every precision, pruned in steps of 10 %."""

GROUPS: dict[str, tuple[Variant, ...]] = {
    "reference": REFERENCE_VARIANTS,
    "local": tuple(
        variant
        for variant in ZOO
        if variant.precision in LOCAL_PRECISIONS and variant.pruned in {0, 40}
    ),
}
"""Names for sets of variants; ``local`` is what a CPU serves, whole and pruned by 40 %."""


def select(words: Iterable[str], among: Sequence[Variant]) -> list[Variant]:
    """Return the variants that the words name, each once: groups, patterns and variants' names.

    A pattern (``*``, ``?``, ``[...]``) stands for those of ``among`` that it matches. Raises
    ConfigurationError for a word that names nothing.
    """
    chosen: dict[Variant, None] = {}
    for word in words:
        if word in GROUPS:
            found: Iterable[Variant] = GROUPS[word]
        elif any(character in word for character in "*?["):
            found = [variant for variant in among if fnmatchcase(variant.name, word)]
            if not found:
                raise _unknown(word)
        else:
            found = [Variant.parse(word)]
        chosen |= dict.fromkeys(found)
    return list(chosen)
