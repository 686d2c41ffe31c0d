"""What is measured: one workload is one cell of the grid model x batch size x concurrency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["http"]
Transport = Literal["inline"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One cell: what is asked of the server, and how.

    ``version`` is the model's version, "" for the one the server chooses. ``concurrency`` is the
    number of requests in flight (closed loop), each of ``batch_size`` samples.
    """

    model: str
    batch_size: int
    concurrency: int
    version: str = ""
    protocol: Protocol = "http"
    transport: Transport = "inline"

    @property
    def key(self) -> str:
        """The cell's name within its model, e.g. ``b8-c4``."""
        return f"b{self.batch_size}-c{self.concurrency}"

    @property
    def id(self) -> str:
        """The cell's name in test ids and results, e.g. ``3D_fp32_0_batchd-b8-c4``."""
        return f"{self.model}-{self.key}"
