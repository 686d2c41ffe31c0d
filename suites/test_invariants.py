"""What must hold of every model under every load, whatever its speed.

Hypothesis draws the loads, the same ones in every run; each is about a second on the real server.
Nothing here needs a baseline: a red test is a fault of the model, the server or the measurement.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

pytest.importorskip(
    "hypothesis", reason="Hypothesis draws the loads: pip install 'pytest-gaitperf[suite]'"
)

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pytest_gaitperf.measure.validity import IDLE_SLOTS
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from pytest_gaitperf.engine.loading import Loaded
    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.metrics import Estimate
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.perf import Loader
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Arrival

T = TypeVar("T")

pytestmark = pytest.mark.gaitperf(batch_sizes=[1], concurrencies=[1])  # one cell: one model

LOAD_S = 0.6
"""How long an example loads the server, in seconds; a slow model takes longer."""
ROUND_S = 0.4
"""What is in flight at once is so much that the model needs this long for it, in seconds."""
MOST_BATCH, MOST_CONCURRENCY = 32, 8
RATE_SHARE = (0.3, 0.5)
"""The share of the rate at which the model would be always busy that an open loop asks for."""
ROUNDING, ROUGH_ROUNDING = 2e-3, 2e-2
"""How far outputs of a batch may be from those one by one, as a share of the largest output: with
another batch size other kernels add up in another order. The second is for reduced precision."""
ROUGH = ("fp16", "int8", "best")
EXAMPLES = 4
NOISE = 0.1
"""By how much a larger batch may be slower than single samples, beyond the intervals of both."""


def hold(strategy: st.SearchStrategy[T], problem_of: Callable[[T], str]) -> None:
    """Fail with the first problem that a drawn example has.

    Every run draws the same examples, few of them. Hypothesis never sees the failure: it would run
    the example again, and others in search of a smaller one, and each costs a device's time.
    """
    problems: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(example: T) -> None:
        if problems:
            return
        try:
            problem = problem_of(example)
        except pytest.fail.Exception as error:
            problem = str(error)
        if problem:
            problems.append(f"{example}: {problem}")

    check()
    if problems:
        pytest.fail(problems[0], pytrace=False)


@pytest.fixture(scope="module")
def single_s(perf_cell: Workload, triton_load: Loader) -> float:
    """Return the latency of a single sample, in seconds: it bounds what the examples ask for."""
    triton_load(perf_cell, 0.1)  # the first requests after a start are slow
    return float(np.median(triton_load(perf_cell, 0.2).latencies_s))


def most_samples(single_s: float) -> int:
    """Return how many samples may be in flight at once."""
    return max(int(ROUND_S / single_s), 1)


def most_in_batch(model: ModelInfo, single_s: float) -> int:
    """Return the largest batch to try; skip the test where there is none."""
    most = min(model.max_batch_size, most_samples(single_s), MOST_BATCH)
    if most < 2:
        why = "takes no batches" if model.max_batch_size <= 1 else "is too slow for a batch"
        pytest.skip(f"model {model.name} {why}")
    return most


def answers_grpc(server: TritonServer) -> bool:
    """Whether something listens at the gRPC port; that of an attached server is a guess."""
    try:
        socket.create_connection((server.host, server.grpc_port), 2.0).close()
    except OSError:
        return False
    return True


@st.composite
def workloads(draw: st.DrawFn, cell: Workload, server: TritonServer, single_s: float) -> Workload:
    """Draw a load of the cell's model that this machine can bear."""
    model = server.model(cell.model)
    samples = most_samples(single_s)
    batch_size = draw(st.integers(1, min(max(model.max_batch_size, 1), samples, MOST_BATCH)))
    protocol = draw(st.sampled_from(["http", "grpc"] if answers_grpc(server) else ["http"]))
    fixed = all(tensor.datatype != "BYTES" for tensor in (*model.inputs, *model.outputs))
    here = server.host in ("127.0.0.1", "::1", "localhost")
    transport = draw(st.sampled_from(["inline", "shm"] if fixed and here else ["inline"]))
    how: dict[str, Any] = {"protocol": protocol, "transport": transport}
    how |= {"shapes": cell.shapes, "ranges": cell.ranges}
    if not draw(st.booleans()):
        most = min(max(samples // batch_size, 1), MOST_CONCURRENCY)
        return Workload(cell.model, batch_size, draw(st.integers(1, most)), **how)
    share = draw(st.floats(*RATE_SHARE))
    rate = float(f"{share / (single_s * batch_size):.3g}")
    arrival: Arrival = "poisson" if draw(st.booleans()) else "constant"
    return Workload(cell.model, batch_size, request_rate=rate, arrival=arrival, **how)


def test_every_request_is_answered_and_counted_once(
    perf_cell: Workload, triton_load: Loader, triton_server: TritonServer, single_s: float
) -> None:
    """No request fails, and the server has counted exactly the inferences that were sent.

    More are another client's, fewer a cache's or a proxy's.
    """

    def problem_of(workload: Workload) -> str:
        loaded = triton_load(workload, LOAD_S)
        if loaded.counted.absent:
            pytest.skip(loaded.counted.absent)
        record, counted = loaded.record, loaded.counted.inference_count
        if record.failures:
            asked, reasons = record.requests + record.failures, "; ".join(record.failure_reasons)
            return f"{record.failures} of {asked} requests failed: {reasons}"
        sent = record.requests * workload.batch_size
        return "" if counted == sent else f"the server counted {counted} inferences, sent: {sent}"

    hold(workloads(perf_cell, triton_server, single_s), problem_of)


def test_littles_law(
    perf_cell: Workload, triton_load: Loader, triton_server: TritonServer, single_s: float
) -> None:
    """The mean number in flight is the rate times the mean latency.

    One side is what was asked for (a closed loop's concurrency, an open loop's rate), the other
    what was measured. They may differ by a tenth, by the relative half-widths of the 95 % intervals
    of throughput and mean latency, and by the requests that the edges of the measured stretch cut.
    A load that seems to break the law is put on the server once more: on a machine that is busy
    with something else a model may be too slow for a rate for a while.
    """

    def problem_of(workload: Workload) -> str:
        for _ in range(2):
            in_flight, product, tolerance = littles_law(triton_load(workload, LOAD_S))
            off = abs(product / in_flight - 1)
            if off <= tolerance:
                return ""
        return (
            f"{in_flight:.3g} in flight, and rate x mean latency is {product:.3g}: {off:.0%} "
            f"apart, where {tolerance:.0%} could be chance"
        )

    hold(workloads(perf_cell, triton_server, single_s), problem_of)


def littles_law(loaded: Loaded) -> tuple[float, float, float]:
    """Return the mean number in flight, rate x mean latency, and how far apart they may be."""
    workload, throughput, latency = loaded.workload, loaded.throughput, loaded.latency_mean
    noise = sum(known.relative_half_width or 0.0 for known in (throughput, latency))
    if workload.concurrency:
        rate, in_flight = throughput.value / workload.batch_size, float(workload.concurrency)
    else:
        rate, in_flight = workload.sends_per_s, loaded.in_flight
    product = rate * latency.value
    # A request that is in flight at an edge counts in one side by a part, in the other whole or not
    # at all.
    starts, ends = loaded.record.times()
    edges = (loaded.start_ns, loaded.end_ns)
    cut = sum(int(((starts < edge) & (ends > edge)).sum()) for edge in edges)
    cut_share = cut * float(loaded.latencies_s.max()) / (in_flight * loaded.seconds)
    return in_flight, product, IDLE_SLOTS + noise + cut_share


def test_a_batch_gives_the_outputs_of_its_samples(
    perf_cell: Workload, triton_load: Loader, triton_server: TritonServer, single_s: float
) -> None:
    """The outputs of a batch are those of its samples one by one, up to rounding.

    Integers and text must be equal. Numbers may differ by 0.2 % of the largest output, by 2 % in
    models whose outputs or names say FP16, INT8 or best.
    """
    model = triton_server.model(perf_cell.model)

    def problem_of(workload: Workload) -> str:
        inputs = triton_load.inputs(workload)
        together = infer(triton_server, model, inputs)
        for index in range(workload.batch_size):
            alone = infer(
                triton_server,
                model,
                {name: array[index : index + 1] for name, array in inputs.items()},
            )
            for name, output in together.items():
                if problem := difference(output[index], alone[name][0], rounding(model)):
                    return f"output {name} of sample {index} {problem}"
        return ""

    sizes = st.integers(2, most_in_batch(model, single_s))
    hold(sizes.map(lambda size: replace(perf_cell, batch_size=size)), problem_of)


def infer(server: TritonServer, model: ModelInfo, inputs: Sample) -> dict[str, npt.NDArray[Any]]:
    """Send one request by tritonclient; return its outputs by name."""
    import tritonclient.http as triton_http  # noqa: PLC0415 - slow to import
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    datatypes = {spec.name: spec.datatype for spec in model.inputs}
    tensors = []
    for name, array in inputs.items():
        tensor = triton_http.InferInput(name, list(array.shape), datatypes[name])
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    with triton_http.InferenceServerClient(server.url, network_timeout=60.0) as client:
        try:
            answer = client.infer(model.name, tensors)
        except InferenceServerException as error:
            size = len(next(iter(inputs.values())))
            pytest.fail(f"model {model.name}, batch of {size}: {error}", pytrace=False)
    return {spec.name: answer.as_numpy(spec.name) for spec in model.outputs}


def rounding(model: ModelInfo) -> float:
    """Return by how much outputs may differ, as a share of the largest."""
    rough = any(tensor.datatype in ("FP16", "BF16") for tensor in model.outputs)
    rough = rough or not set(ROUGH).isdisjoint(model.name.lower().replace("-", "_").split("_"))
    return ROUGH_ROUNDING if rough else ROUNDING


def difference(batch: npt.NDArray[Any], alone: npt.NDArray[Any], tolerance: float) -> str:
    """Say how the outputs of one sample differ, "" where they do not."""
    if batch.shape != alone.shape:
        return f"has the shape {batch.shape} in the batch and {alone.shape} alone"
    if batch.dtype.kind != "f":
        unequal = int((batch != alone).sum())
        return f"differs in {unequal} of {batch.size} values from that alone" if unequal else ""
    largest = float(np.nanmax(np.abs(alone), initial=0.0))
    close = np.isclose(batch, alone, rtol=0.0, atol=tolerance * largest, equal_nan=True)
    if close.all():
        return ""
    off = np.abs(batch.astype(np.float64) - alone)[~close].max()  # NaN where only one is
    return f"differs from that alone by {off:.3g}, and the largest value is {largest:.3g}"


@pytest.mark.usefixtures("power_meter")  # skips where there is none, with the reason
def test_the_energy_of_two_parts_is_that_of_the_whole(
    perf_cell: Workload, triton_load: Loader
) -> None:
    """Joules add up: over a real load, cut anywhere, to a millionth of a percent."""
    loaded = triton_load(perf_cell, LOAD_S, power=True)
    reading = loaded.power
    assert reading is not None
    assert reading.trace is not None, f"{perf_cell}: the power meter failed: {reading.absent}"
    rails, first, last = reading.rails, loaded.start_ns, loaded.end_ns
    whole = integrate(reading.trace, first, last).total_j(rails)
    for share in (0.1, 1 / 3, 0.5, 0.9):
        cut = first + int((last - first) * share)
        parts = [
            integrate(reading.trace, *span).total_j(rails) for span in ((first, cut), (cut, last))
        ]
        assert sum(parts) == pytest.approx(whole, rel=1e-8), f"{perf_cell}: cut at {share:.0%}"


def test_batches_are_not_slower_than_single_samples(
    perf_cell: Workload, triton_load: Loader, triton_server: TritonServer, single_s: float
) -> None:
    """No batch size gives fewer inferences per second than batches of one.

    By more than a tenth and the 95 % intervals of both; who seems to is measured once more, after
    batches of one.
    """
    most = most_in_batch(triton_server.model(perf_cell.model), single_s)
    sizes = [size for size in (2, 4, 8, 16, 32) if size <= most]

    def fallen(batch_size: int, alone: Estimate) -> str:
        workload = replace(perf_cell, batch_size=batch_size)
        now = triton_load(workload, LOAD_S).throughput
        best = now.value if now.high is None else now.high
        least = alone.value if alone.low is None else alone.low
        if best >= least * (1 - NOISE):
            return ""
        return f"{workload}: {now.value:.4g} inferences/s, one by one {alone.value:.4g}"

    before = triton_load(perf_cell, LOAD_S).throughput
    suspects = [size for size in sizes if fallen(size, before)]
    if suspects:
        again = triton_load(perf_cell, LOAD_S).throughput
        confirmed = [problem for size in suspects if (problem := fallen(size, again))]
        if confirmed:
            pytest.fail("; ".join(confirmed), pytrace=False)
