"""What a sustained load says of the energy of its parts."""

from __future__ import annotations

import pytest

from pytest_gaitperf.load.record import LoadRecord
from pytest_gaitperf.measure.parts import Parts
from pytest_gaitperf.measure.sustained_result import Held, evaluate_sustained
from pytest_gaitperf.workload import Workload
from tests.load.synthetic import START_NS, steady
from tests.power.fake_meter import FakeMeter

S = 10**9


def held_of(*joules: dict[str, float]) -> Held:
    """A load that is over, of parts of a second with these joules, 400 requests in each."""
    workload = Workload("model", 1, 4, sustained_s=10)
    parts = Parts(
        start_ns=START_NS + S,
        window_ns=S,
        count=len(joules),
        windows=1,
        lag_ns=S // 4,
        batch_size=1,
        late_from_s=1e-3,
        asked=0.0,
        undisturbed=lambda _start, _end: True,
    )
    record = steady(4, 0.01, len(joules) + 2)
    parts.take(record, START_NS + S + S // 2)
    parts.take(record, START_NS + (len(joules) + 2) * S)
    for part, of_rails in zip(parts.done, joules, strict=True):
        part.joules = of_rails
    return Held(
        workload=workload,
        parts=parts,
        warm_up=LoadRecord(),
        data="zeros",
        meter=FakeMeter(),
        no_power="",
        record=record,
    )


def test_a_rail_has_the_joules_of_all_parts() -> None:
    found = evaluate_sustained(held_of(*({"IN": 10.0, "GPU": 2.5},) * 10))
    assert found.rails_j == pytest.approx({"IN": 100.0, "GPU": 25.0})
    assert not any("left out" in note for note in found.notes)


def test_a_rail_that_one_part_lacks_has_no_joules_and_a_note() -> None:
    whole, lacking = {"IN": 10.0, "GPU": 2.5}, {"IN": 10.0}
    found = evaluate_sustained(held_of(*(whole,) * 4, lacking, *(whole,) * 5))
    assert found.rails_j == pytest.approx({"IN": 100.0})
    assert found.metrics["power_mean"].value == pytest.approx(10.0)
    assert any(note.startswith("GPU, beside the total, could not be read") for note in found.notes)
