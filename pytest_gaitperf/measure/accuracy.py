"""Whether a model still answers the same: its outputs beside a reference's, and beside labels."""

from __future__ import annotations

from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_gaitperf.accuracy import Accuracy
from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.files import parse_json
from pytest_gaitperf.load.data import single_samples
from pytest_gaitperf.load.encode import encode_http
from pytest_gaitperf.load.tensors import numpy_dtype
from pytest_gaitperf.measure.comparison import Comparison
from pytest_gaitperf.measure.labels import Labels, Stored, without_batch
from pytest_gaitperf.triton.control import Lent
from pytest_gaitperf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pytest_gaitperf.config.answers import Answers
    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.model import ModelInfo
    from pytest_gaitperf.triton.server import TritonServer

    Array = npt.NDArray[Any]
    Outputs = dict[str, Array | None]

SAMPLES = 64
"""How many samples are compared, where nobody says how many and there are no labels."""


def measure_accuracy(
    server: TritonServer,
    workload: Workload,
    asked: Answers,
    data: str,
    *,
    timeout_s: float,
    left_s: Callable[[], float],
) -> Accuracy:
    """Send the same samples to a model and to its reference, and compare what they answer.

    ``data`` is what ``--gaitperf-data`` says, ``timeout_s`` how long loading the reference may
    take, ``left_s`` gives what is left of the run's budget.

    Raises
    ------
    GaitperfError
        The two cannot be compared: with what to do.
    """
    model = server.model(workload.model, workload.version)
    _check_kind(model)
    labels = Labels(asked, model.name) if asked.labels else None
    most = asked.samples or (SAMPLES if labels is None else 0)
    samples, there = single_samples(model, workload, data, most or SAMPLES, whole=not most)
    if labels is not None:
        labels.check(there)
    version = workload.version or _newest(model)
    reference = _reference(server, asked, model, version, samples=there, timeout_s=timeout_s)
    with reference as (name, answer_of):
        comparison = Comparison()
        count = 0
        for sample in samples:
            if left_s() <= 0:
                raise MeasurementError("the run's budget is spent: raise --gaitperf-run-budget")
            given = answer(server, model, version, sample, count)
            if labels is not None:
                labels.add(given)
            if answer_of is not None:
                comparison.add(given, answer_of(count, sample))
            count += 1
    return Accuracy(
        reference=name,
        labels="" if labels is None else labels.description,
        samples=count,
        outputs=comparison.outputs(),
        error=comparison.error() if answer_of is not None else None,
        typical=comparison.typical() if answer_of is not None else None,
        score=None if labels is None else labels.score(),
        spoilt=comparison.spoilt,
        notes=comparison.notes,
    )


def _check_kind(model: ModelInfo) -> None:
    what = "a stream" if model.decoupled else "a sequence" if model.stateful else ""
    if what:
        raise MeasurementError(
            f"model {model.name!r} answers {what}: only answers to single requests are compared"
        )


@contextmanager
def _reference(
    server: TritonServer,
    asked: Answers,
    model: ModelInfo,
    measured: str,
    *,
    samples: int,
    timeout_s: float,
) -> Iterator[tuple[str, Callable[[int, Sample], Outputs] | None]]:
    """Give the name of a reference, and what answers for it: None where there is none."""
    if not asked.reference:
        yield "", None
        return
    if asked.file is not None:
        stored = Stored(asked.file, model, samples)
        yield stored.description, stored.answer
        return
    name, version = asked.model
    with _loaded(server, name, timeout_s):
        other = server.model(name, version)
        version = version or _newest(other)
        if (name, version) == (model.name, measured):
            raise MeasurementError(
                f"its reference {name}@{version} is the version that is measured: name an older one"
            )
        _check_kind(other)

        def answer_of(index: int, sample: Sample) -> Outputs:
            _check_inputs(model, other, sample)
            return answer(server, other, version, sample, index)

        yield f"{name}@{version}", answer_of


def _newest(model: ModelInfo) -> str:
    return model.versions[-1] if model.versions else ""


@contextmanager
def _loaded(server: TritonServer, name: str, timeout_s: float) -> Iterator[None]:
    """Have a model loaded; where it was not before, it is lent, so that no other cell has it.

    Raises MeasurementError where the server does not load it.
    """
    if name in server.models():
        yield
        return
    failed = server.unavailable().get(name, "it is not on this server")
    if not server.api.controls_models():
        raise MeasurementError(f"its reference {name!r} is not loaded: {failed}")
    with closing(Lent(server.api, [name], timeout_s)) as lent:
        if lent.failed:
            why = lent.failed[name]
            raise MeasurementError(f"its reference {name!r} cannot be loaded: {why}")
        yield


def _check_inputs(model: ModelInfo, other: ModelInfo, sample: Sample) -> None:
    """Raise MeasurementError where the reference does not take what the model is sent."""
    types = {spec.name: spec.datatype for spec in model.inputs}
    theirs = {spec.name: spec for spec in other.inputs}
    wrong = [f"has no input {name!r}" for name in sample if name not in theirs]
    for name, spec in theirs.items():
        if name not in sample:
            wrong += [] if spec.optional else [f"needs an input {name!r}"]
            continue
        shape = (-1, *spec.shape) if other.batched else spec.shape
        given = sample[name].shape
        fits = len(shape) == len(given) and all(
            size in (-1, there) for size, there in zip(shape, given, strict=True)
        )
        if spec.datatype != types[name] or not fits:
            wrong.append(
                f"takes {spec.datatype} {list(shape)} as {name!r}, and {model.name!r} is sent "
                f"{types[name]} {list(given)}"
            )
    if wrong:
        raise MeasurementError(f"its reference {other.name!r} {'; '.join(wrong)}")


def answer(
    server: TritonServer, model: ModelInfo, version: str, sample: Sample, index: int
) -> Outputs:
    """Return the outputs of a single sample by name, without a batch of one; None for strings.

    Raises MeasurementError where the server does not give them.
    """
    workload = Workload(model.name, 1, concurrency=1, version=version)
    request = encode_http(model, workload, server.api.authority, [sample], way=server.api.way)[0][0]
    try:
        status, length, content = server.api.infer(request)
        document = parse_json(content[:length])
        if status == HTTPStatus.OK:
            return dict(_outputs(document, content[length:]))
        reason = document.get("error", document)
    except (OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"an answer of an unknown form ({error})"
    raise MeasurementError(f"model {model.name!r} did not answer sample {index + 1}: {reason}")


def _outputs(document: Any, content: bytes) -> Iterator[tuple[str, Array | None]]:
    at = 0
    for output in document["outputs"]:
        size = int(output["parameters"]["binary_data_size"])
        raw, at = content[at : at + size], at + size
        name, datatype = str(output["name"]), str(output["datatype"])
        dtype = numpy_dtype(datatype)
        if dtype == np.object_:
            yield name, None
            continue
        if dtype is None:
            raise MeasurementError(f"output {name!r} is of the type {datatype}, which is not read")
        array = np.frombuffer(raw, dtype).reshape([int(size) for size in output["shape"]])
        yield name, without_batch(array)
