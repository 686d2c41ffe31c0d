"""What the server counted of a model, once it has counted what was sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gaitperf.triton.models import ModelStatistics
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

_STATISTICS_SETTLE_S = 2.0


def settled_statistics(server: TritonServer, workload: Workload, expected: int) -> ModelStatistics:
    """Return the statistics once they count what was sent: Triton books after it has answered."""
    deadline = time.monotonic() + _STATISTICS_SETTLE_S
    while True:
        statistics = server.statistics(workload.model, workload.version)
        settled = statistics.absent or statistics.inference_count >= expected
        if settled or time.monotonic() > deadline:
            return statistics
        time.sleep(0.01)
