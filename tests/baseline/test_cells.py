from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_gaitperf.baseline.cells import Fingerprint, incomparable

NOW = Fingerprint(
    triton="2.51.0",
    signature="in FP32[8] -> out FP32[4]",
    protocol="http",
    transport="inline",
    rails={"energy_per_inference": "VDD_IN"},
    content="sha256:aa",
)


def test_the_same_fingerprints_are_comparable() -> None:
    assert incomparable(NOW, NOW) is None


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"triton": "2.42.0"}, "Triton version was 2.42.0, is 2.51.0"),
        ({"triton": ""}, "Triton version was unknown, is 2.51.0"),
        ({"signature": "x"}, "model signature was x, is in FP32[8] -> out FP32[4]"),
        ({"protocol": "grpc"}, "protocol was grpc, is http"),
        ({"transport": "shm"}, "tensor transport was shm, is inline"),
        ({"version": "2"}, "model version was 2, is latest"),
        ({"data": "zeros"}, "input data was zeros, is random"),
        ({"shapes": {"X": (3, 2)}}, "input shape was X [3, 2], is unknown"),
        (
            {"rails": {"energy_per_inference": "VDD_SOC"}},
            "rails of energy_per_inference was VDD_SOC, is VDD_IN",
        ),
        (
            {"triton": "2.42.0", "protocol": "grpc"},
            "Triton version was 2.42.0, is 2.51.0; protocol was grpc, is http",
        ),
    ],
)
def test_each_identity_fact_makes_it_incomparable(changed: dict[str, str], line: str) -> None:
    assert incomparable(replace(NOW, **changed), NOW) == line  # type: ignore[arg-type]


def test_rails_matter_to_their_metric_only() -> None:
    other = replace(NOW, rails={"energy_per_inference": "VDD_SOC"})
    assert incomparable(other, NOW, "throughput") is None
    assert incomparable(other, NOW, "energy_per_inference") is not None
    assert incomparable(replace(NOW, rails={}), NOW) is None


def test_a_new_engine_is_comparable_and_told() -> None:
    old = replace(NOW, content="sha256:bb")
    assert incomparable(old, NOW) is None


def test_data_is_known_by_its_hash() -> None:
    clips = replace(NOW, data="clips.npz, samples: 3, sha256:0123456789ab")
    assert (
        incomparable(clips, replace(clips, data="c.npz, samples: 3, sha256:0123456789ab")) is None
    )
    assert incomparable(clips, replace(clips, data="clips.npz, samples: 3, sha256:ba98")) == (
        "input data was clips.npz, samples: 3, sha256:0123456789ab, "
        "is clips.npz, samples: 3, sha256:ba98"
    )
    ranged = replace(NOW, data="random, seed 2026, X in [0, 1]")
    assert incomparable(NOW, ranged) is not None


def test_without_its_shapes_a_session_is_of_the_one_shape_that_a_model_has() -> None:
    asked = replace(NOW, shapes={"X": (3, 2)})
    assert incomparable(NOW, asked) is None
    assert incomparable(NOW, replace(asked, open_shapes=True)) == (
        "input shape was unknown, is X [3, 2]"
    )
    assert incomparable(asked, replace(asked, open_shapes=True)) is None


@pytest.mark.parametrize(
    ("recorded", "now", "comparable"),
    [
        ("b4-c4", "b4-c4", True),
        ("b4-c4", "b1-c4", False),
        ("b4-c4", "b1-c8", False),
        ("b1-c8+b4-c4", "b1-c8", False),
        ("b1-r50", "b1-r5", False),
    ],
)
def test_a_peak_of_memory_compares_with_one_of_the_same_loads(
    recorded: str, now: str, comparable: bool
) -> None:
    """Beside larger loads a model that takes twice as much would look like a smaller one."""
    metric = "server_memory_peak"
    old, new = (replace(NOW, rails={metric: loads}) for loads in (recorded, now))
    said = f"loads of {metric} was {recorded}, is {now}"
    assert incomparable(old, new, metric) == (None if comparable else said)
    assert incomparable(old, new, "model_load_time") is None
