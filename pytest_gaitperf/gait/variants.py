"""Names of the models, ``NETWORK_PRECISION_PRUNED_BATCH``, e.g. ``3D_fp32_40_batchd``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.gait.networks import NETWORKS, Network

PRECISIONS = ("fp32", "fp16", "int8", "best")
"""``best`` leaves each layer's precision to TensorRT's builder."""
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
        f"PERCENT of the filters pruned, 0 to {MAX_PRUNED}"
    )


REFERENCE_VARIANTS: tuple[Variant, ...] = (
    Variant("3D", "fp32", 0),
    Variant("3D", "fp32", 40),
    Variant("2D", "fp32", 0),
    Variant("2D", "fp32", 40),
)
"""The models that the gait suite measures unless told otherwise."""
