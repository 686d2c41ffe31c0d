from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gaitperf.errors import ConfigurationError, MeterError
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.metering import recording_of
from pytest_gaitperf.power.trace import SUFFIX, Trace, file_name, load, save
from pytest_gaitperf.testing import Square

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Literal

    import numpy.typing as npt

    from pytest_gaitperf.power.meter import Meter
    from tests.power.conftest import BoardMaker

S = 1_000_000_000
RAILS = ("VDD_IN", "VDD_CPU_GPU_CV")


class FakeMeter:
    """What a recording takes of a meter."""

    name, description, estimated = "ina3221", "a fake board", False
    total_rails, gpu_rails = ("VDD_IN",), ("VDD_CPU_GPU_CV",)


LABEL = "3D_fp16_0-b8-c4/http"


def swinging(kind: Literal["power", "energy"] = "power", seconds: float = 4.0) -> Trace:
    """Readings every 10 ms of a swinging power, or of the counter that sums it."""
    times = np.arange(int(seconds * 100), dtype=np.int64) * (S // 100) + 77 * S
    swing = 5.0 + np.sin(np.arange(times.size) / 3.0)
    values = np.stack([swing, swing / 3.0], axis=1)
    if kind == "energy":
        values = np.cumsum(values, axis=0) / 100.0
    return Trace(RAILS, times, values, kind)


def recorded(directory: Path, trace: Trace, number: int = 1) -> Path:
    """Record a trace as that of three windows."""
    meter = cast("Meter", FakeMeter)
    edges = trace.times_ns[[100, 200, 300]]
    return save(directory, recording_of(meter, trace, edges, LABEL), number)


@pytest.mark.parametrize("kind", ["power", "energy"])
def test_a_trace_is_read_back_to_the_same_joules(
    tmp_path: Path, kind: Literal["power", "energy"]
) -> None:
    kept = swinging(kind)
    path = recorded(tmp_path / "traces", kept)
    assert path.name == "3D_fp16_0-b8-c4_http" + SUFFIX
    back = load(path)
    start, end = int(back.edges_ns[0]), int(back.edges_ns[-1])
    assert integrate(back.trace, start, end) == integrate(kept, start, end)
    assert back.edges_ns.tolist() == kept.times_ns[[100, 200, 300]].tolist()
    assert (back.about.meter, back.about.label) == (FakeMeter.name, LABEL)
    for name in ("description", "total_rails", "gpu_rails", "estimated"):
        assert getattr(back.about, name) == getattr(FakeMeter, name)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["power", "energy"])
def test_the_same_window_after_start_gives_the_same_joules(
    tmp_path: Path, kind: Literal["power", "energy"]
) -> None:
    kept = swinging(kind)
    found = open_meter(f"replay:{recorded(tmp_path, kept)}").meter
    assert found is not None
    with closing(found) as meter:
        assert meter.estimated
        assert "ESTIMATED" in meter.description
        assert (meter.total_rails, meter.gpu_rails) == (("VDD_IN",), ("VDD_CPU_GPU_CV",))
        before = time.monotonic_ns()
        meter.start()
        moved = meter.trace(time.monotonic_ns() + S, time.monotonic_ns() + 2 * S)
        shift = int(moved.times_ns[0] - kept.times_ns[0])
        assert moved.times_ns[0] - S <= before <= moved.times_ns[2]
        start, end = int(kept.times_ns[100]), int(kept.times_ns[300])
        again = integrate(moved, start + shift, end + shift)
    assert again.joules == pytest.approx(integrate(kept, start, end).joules, rel=1e-12)


def test_a_window_longer_than_the_recording_is_refused(tmp_path: Path) -> None:
    meter = open_meter(f"replay:{recorded(tmp_path, swinging())}").meter
    assert meter is not None
    with pytest.raises(MeterError, match="was not started"):
        meter.trace(0, 1)
    meter.start()
    now = time.monotonic_ns()
    with pytest.raises(MeterError, match=r"does not cover a window of 5\.00 s.*record a longer"):
        meter.trace(now, now + 5 * S)


def test_a_meter_s_own_trace_is_kept(hwmon_board: BoardMaker, tmp_path: Path) -> None:
    board = hwmon_board({"1-0040": ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")})
    board.drive({"VDD_IN": Square(1000, 3000, 0.2)})
    meter = open_meter("ina3221", sysfs_root=board.root).meter
    assert meter is not None
    with closing(meter):
        meter.start()
        start = time.monotonic_ns()
        time.sleep(0.6)
        end = time.monotonic_ns()
        trace = meter.trace(start, end)
        path = save(tmp_path / "kept", recording_of(meter, trace, np.array([start, end]), "cell"))
    back = load(path)
    assert back.about.meter == "ina3221"
    assert integrate(back.trace, start, end) == integrate(trace, start, end)


ABOUT = {
    "format": 1,
    "meter": "m",
    "description": "d",
    "rails": ["a"],
    "total_rails": ["a"],
    "gpu_rails": [],
    "kind": "power",
    "estimated": False,
    "label": "l",
}
ARRAYS = {
    "times_ns": np.array([1, 2, 3], dtype=np.int64),
    "values": np.array([[1.0], [2.0], [3.0]]),
    "edges_ns": np.array([1, 3], dtype=np.int64),
}


@pytest.mark.parametrize(
    ("arrays", "about", "says"),
    [
        ({"times_ns": None}, {}, "the array times_ns is missing"),
        ({"times_ns": np.array([1.0, 2.0, 3.0])}, {}, "times_ns is float64 with 1 dimensions"),
        ({"values": np.array([1.0, 2.0, 3.0])}, {}, "values is float64 with 1 dimensions"),
        ({"values": np.array([[1.0], [np.nan], [3.0]])}, {}, "a value is not finite"),
        ({"values": np.array([[1.0], [2e9], [3.0]])}, {}, r"larger than 1e\+09 W, which no sensor"),
        ({"values": np.array([[1.0], [2e17], [3e17]])}, {"kind": "energy"}, r"than 1e\+17 J"),
        (
            {"times_ns": np.array([1, 2, -(1 << 63)], dtype=np.int64)},
            {},
            "before the machine's start",
        ),
        ({"edges_ns": np.array([1, 1 << 62], dtype=np.int64)}, {}, "146 years and more after it"),
        ({"times_ns": np.array([7, 7, 7], dtype=np.int64)}, {}, "its readings span no time"),
        ({"times_ns": np.array([3, 2, 1], dtype=np.int64)}, {}, "times must not decrease"),
        ({"times_ns": np.array([1], dtype=np.int64)}, {}, "1 times and 1 rails"),
        ({"edges_ns": np.array([3, 1], dtype=np.int64)}, {}, "edges do not increase"),
        ({"about": np.array(3)}, {}, "the text about is missing"),
        ({"about": np.array("{")}, {}, "about: "),
        ({"about": np.array("[]")}, {}, "about: "),
        ({}, {"format": 2}, "its format is 2, this version reads 1"),
        ({}, {"meter": 3}, r"about: .*meter"),
        ({}, {"rails": "a"}, r"about: .*rails"),
        ({}, {"total_rails": ["b"]}, "about names b, which is no rail of it"),
        ({}, {"kind": "current"}, r"about: .*kind"),
        ({}, {"kind": []}, r"about: .*kind"),
        ({}, {"estimated": 0}, r"about: .*estimated"),
    ],
)
def test_a_damaged_recording_is_named_with_what_is_wrong(
    tmp_path: Path, arrays: dict[str, npt.NDArray[Any] | None], about: dict[str, object], says: str
) -> None:
    path = tmp_path / "trace.npz"
    content: dict[str, npt.NDArray[Any] | None] = {
        **ARRAYS,
        "about": np.array(json.dumps({**ABOUT, **about})),
        **arrays,
    }
    np.savez(path, **{name: array for name, array in content.items() if array is not None})
    with pytest.raises(ConfigurationError, match=rf"trace.npz is not a power trace.*{says}"):
        load(path)


def test_nothing_in_a_recording_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, **{**ARRAYS, "about": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ConfigurationError, match="or holds pickled objects"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04half"])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"trace\.npz"):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the power trace "):
        open_meter(f"replay:{tmp_path / 'gone.npz'}")


def test_replay_and_estimate_want_an_argument_and_the_others_none(tmp_path: Path) -> None:
    for choice, says in (
        ("replay", "needs a file that --power-trace recorded"),
        ("estimate", "needs the watts"),
        ("estimate:much", "'much' is not between"),
        ("estimate:-5", "'-5' is not between"),
        ("nvml:0", "nvml takes nothing after its name"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            open_meter(choice, sysfs_root=tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"--power-trace: cannot write .*choose a dir"):
        recorded(tmp_path / "file", swinging())


@settings(max_examples=50)
@given(st.text(min_size=1))
def test_every_label_gives_a_safe_file_name(label: str) -> None:
    name = file_name(label)
    assert name.endswith(SUFFIX)
    assert "/" not in name
    assert name.isascii()


def test_the_recordings_of_a_cell_that_is_measured_again_are_all_kept(tmp_path: Path) -> None:
    first, second = (recorded(tmp_path, swinging(), number) for number in (1, 2))
    assert first != second
    assert load(first).about == load(second).about
