"""The invariants hold of a good model, and each is broken by a model that breaks it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.engine.loading import Loaded
from pytest_gaitperf.model import ModelInfo, TensorSpec
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.models import ModelStatistics
from pytest_gaitperf.triton.server import open_server
from pytest_gaitperf.workload import Workload
from suites.test_invariants import difference, littles_law, rounding
from tests.load.synthetic import START_NS, closed_loop, open_loop
from tests.triton.infer import infer
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer

ROOT = Path(__file__).parents[2]

# Added to a test model's file: the model below is the one that is served.
GROWING = '''

class TritonPythonModel(TritonPythonModel):
    """Takes 5 ms for one sample and 300 ms for two: so much slower on a busy machine, too."""

    def answer(self, request):
        given = array_of(pb_utils.get_input_tensor_by_name(request, "INPUT0"), "TYPE_FP32")
        time.sleep(0.005 if len(given) == 1 else 0.3)
        return super().answer(request)
'''
MIXING = '''

class TritonPythonModel(TritonPythonModel):
    """Normalises with the mean of the batch, as a network does that was left in training mode."""

    def answer(self, request):
        given = array_of(pb_utils.get_input_tensor_by_name(request, "INPUT0"), "TYPE_FP32")
        return pb_utils.InferenceResponse([tensor_of("OUTPUT0", given - given.mean(axis=0))])
'''
WRONG_JOULES = """
from dataclasses import replace

from pytest_gaitperf.power import energy

integrate = energy.integrate


def wrong(trace, start_ns, end_ns):
    found = integrate(trace, start_ns, end_ns)
    return replace(found, joules={rail: joules + 0.001 for rail, joules in found.joules.items()})


energy.integrate = wrong
"""


@pytest.fixture(scope="module")
def invariants_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("invariants")
    write_model(repository, "good", sleep_s=0.004)
    write_model(repository, "shared", sleep_s=0.004)
    write_model(repository, "flaky", sleep_s=0.004, fail_every=20)
    write_model(repository, "unbatched", sleep_s=0.004, max_batch_size=0)
    for name, more, most in (("growing", GROWING, 2), ("mixing", MIXING, 4)):
        model = write_model(repository, name, max_batch_size=most)
        with (model / "1" / "model.py").open("a") as file:
            file.write(more)
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server


def run(pytester: pytest.Pytester, server: TritonServer, *arguments: str) -> pytest.RunResult:
    suite = (ROOT / "suites" / "test_invariants.py").read_text()
    for constant, shorter in (("LOAD_S = 0.6", "LOAD_S = 0.25"), ("EXAMPLES = 4", "EXAMPLES = 3")):
        assert constant in suite
        suite = suite.replace(constant, shorter)
    (pytester.path / "test_invariants.py").write_text(suite)
    return pytester.runpytest_subprocess(
        *("-p", "no:hypothesispytest", "--triton=attach", f"--triton-url={server.url}"),
        *(f"--triton-grpc-port={server.grpc_port}", "--power=estimate:5", *arguments),
    )


@pytest.mark.slow
def test_a_good_model_keeps_every_invariant(
    pytester: pytest.Pytester, invariants_server: TritonServer
) -> None:
    shown = run(pytester, invariants_server, "--gaitperf-models=good", "--gaitperf-json=r.json")
    shown.assert_outcomes(passed=5)
    assert "to measure" not in shown.stdout.str(), "loads for invariants are no cells of the grid"
    assert not (pytester.path / "r.json").exists()


@pytest.mark.slow
def test_each_invariant_is_broken_by_a_model_that_breaks_it(
    pytester: pytest.Pytester, invariants_server: TritonServer
) -> None:
    pytester.makeconftest(WRONG_JOULES)
    chosen = (
        "answered and (flaky or shared) or outputs and (mixing or unbatched)"
        " or slower and (growing or unbatched) or energy and good"
    )
    stop = threading.Event()

    def another_client() -> None:
        while not stop.is_set():
            infer(invariants_server.url, "shared")

    thread = threading.Thread(target=another_client)
    thread.start()
    try:
        shown = run(pytester, invariants_server, "-k", chosen)
    finally:
        stop.set()
        thread.join()
    shown.assert_outcomes(failed=5, skipped=2, deselected=23)
    shown.stdout.fnmatch_lines_random(
        [
            "Workload(model='flaky', *): * of * requests failed: *fails, as it was told to*",
            "Workload(model='shared', *): the server counted * inferences, sent: *",
            "Workload(model='mixing', *): output OUTPUT0 of sample 0 differs from that alone by *",
            "Workload(model='growing', *): * inferences/s, one by one *",
            "*AssertionError: Workload(model='good', *: cut at 10%",
        ]
    )
    assert "hypothesis" not in shown.stdout.str(), "one plain line for each"


def loaded(workload: Workload, record: LoadRecord, seconds: float) -> Loaded:
    nothing = ModelStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0)
    return Loaded(workload, record, nothing, START_NS + 10**8, START_NS + int(seconds * 1e9))


def test_littles_law_holds_where_every_slot_is_busy_and_not_where_half_of_them_stand_idle() -> None:
    record = closed_loop(np.full((4, 300), 0.01))
    for asked, holds in ((4, True), (8, False)):
        in_flight, product, tolerance = littles_law(loaded(Workload("m", 1, asked), record, 2.9))
        assert product == pytest.approx(4, rel=0.01)
        assert (abs(product / in_flight - 1) <= tolerance) is holds


def test_littles_law_holds_at_a_rate_that_is_kept_and_not_at_one_that_is_not() -> None:
    sent = np.arange(300) * 0.01
    record = open_loop(sent, np.full(300, 0.03))
    for rate, holds in ((100, True), (150, False)):
        workload = Workload("m", 2, request_rate=rate)
        in_flight, product, tolerance = littles_law(loaded(workload, record, 2.9))
        assert in_flight == pytest.approx(3, rel=0.01)
        assert (abs(product / in_flight - 1) <= tolerance) is holds


def test_rounding_is_no_difference_and_whole_numbers_must_be_equal() -> None:
    outputs = np.array([100.0, 1.0], np.float32)
    assert not difference(outputs, outputs + 0.1, 2e-3)
    assert difference(outputs, outputs + 0.3, 2e-3).startswith("differs from that alone by 0.3")
    assert not difference(np.array([np.nan]), np.array([np.nan]), 2e-3)
    assert difference(np.array([np.nan]), np.array([1.0]), 2e-3)
    labels = np.array([1, 2, 3])
    assert not difference(labels, labels, 2e-3)
    assert difference(labels, labels[::-1], 2e-3) == "differs in 2 of 3 values from that alone"
    assert "shape (3,) in the batch" in difference(labels, labels[:2], 2e-3)


@pytest.mark.parametrize(
    ("name", "datatype", "rough"),
    [
        ("3D_fp32_0_batchd", "FP32", False),
        ("3D_int8_0_batchd", "FP32", True),
        ("resnet-FP16", "FP32", True),
        ("bestseller", "FP32", False),
        ("m", "FP16", True),
    ],
)
def test_reduced_precision_rounds_more(name: str, datatype: str, *, rough: bool) -> None:
    output = TensorSpec("OUT", datatype, (4,), optional=False)
    model = ModelInfo(name, ("1",), 8, (), (output,), "python", decoupled=False)
    assert rounding(model) == (2e-2 if rough else 2e-3)
