from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.deadline import Worker
from pytest_gaitperf.host import gpu
from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.host.state import StateWatch, read_state, throttled

if TYPE_CHECKING:
    from collections.abc import Iterator

FAKE = Path(__file__).parents[1] / "power/fake_nvml"


@pytest.fixture
def fake_nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Put the fake pynvml first and give its ``state``; as the tests left it when they end."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    del sys.modules["pynvml"]
    monkeypatch.syspath_prepend(FAKE)
    monkeypatch.setenv("FAKE_NVML", "counter")
    gpu._nvml.cache_clear()
    import pynvml  # noqa: PLC0415 - the fake

    yield pynvml.state  # type: ignore[attr-defined, unused-ignore]
    gpu._nvml.cache_clear()


def test_a_gpu_at_rest(fake_nvml: Any) -> None:
    fake_nvml.held_ns = {0: 3_000_000_000, 1: 0}
    found = gpu.read_gpus()
    assert list(found) == ["gpu0", "gpu1"]
    assert found["gpu0"] == gpu.GpuState(
        name="Fake GPU 0",
        temperature_c=41.0,
        power_limit_w=700.0,
        reasons=(),
        held_s={"power": 3.0, "thermal": 0.0},
        slowdown_c=90.0,
    )
    assert read_state().hottest_c is not None


@pytest.mark.parametrize(
    ("bits", "says"),
    [
        (0x1, None),
        (0x2, None),
        (0x10, None),
        (0x100, None),
        (0x4, "slowed by the software power cap before"),
        (0x5, "the software power cap"),
        (0x8, "a hardware slowdown"),
        (0x20, "the software thermal slowdown"),
        (0x40, "the hardware thermal slowdown"),
        (0x80, "the hardware power brake"),
    ],
)
def test_what_slows_a_gpu_under_load_is_throttling_and_the_rest_is_not(
    fake_nvml: Any, bits: int, says: str | None
) -> None:
    fake_nvml.reasons = bits
    state = read_state()
    reason = throttled(state, state)
    assert (reason is None) if says is None else (says in str(reason))


@pytest.mark.parametrize(("held_s", "counts"), [(0.02, False), (0.2, True)])
def test_a_gpu_held_back_for_more_than_a_hundredth_of_the_time(
    fake_nvml: Any, held_s: float, counts: bool
) -> None:
    before = read_state()
    fake_nvml.held_ns = {0: round(held_s * 1e9), 1: 0}
    after = replace(read_state(), at_s=before.at_s + 10.0)
    reason = throttled(before, after)
    assert (reason is not None) == counts
    if counts:
        assert "gpu0 (Fake GPU 0) was held back by its power policy for 0.20 s of 10" in str(reason)


def test_a_power_limit_that_changed(fake_nvml: Any) -> None:
    before = read_state()
    fake_nvml.limit_mw = 350_000
    assert throttled(before, read_state()) == (
        "the power limit of gpu0 changed from 700.0 to 350.0 W"
    )


def test_a_power_limit_that_is_not_the_factory_s_is_another_kind_of_device(
    fake_nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_gaitperf.host.identity._gpu", lambda _root: "Fake GPU")
    usual = identify()
    assert "power_mode" not in usual.fields
    fake_nvml.limit_mw = 350_000
    limited = identify()
    assert limited.fields["power_mode"] == "350w-350w"
    assert limited.id == f"{usual.id}-350w-350w"


def test_what_was_seen_during_the_measurement(fake_nvml: Any) -> None:
    with StateWatch(period_s=0.005) as watch:
        time.sleep(0.05)
        assert watch.hindered() is None
        fake_nvml.reasons = 0x44
        time.sleep(0.1)
    said = str(watch.hindered())
    assert "gpu0: the software power cap (" in said
    assert "gpu0: the hardware thermal slowdown (" in said


def test_a_name_that_is_not_utf_8_costs_the_name(
    fake_nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_nvml, "odd_name", True)
    assert gpu.read_gpus()["gpu0"].name == "GPU"
    assert gpu.read_gpus()["gpu0"].temperature_c == 41.0


def test_with_a_broken_library_there_are_no_gpus(
    fake_nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_nvml, "broken", True)
    assert (gpu.read_gpus(), gpu.gpu_reasons(), gpu.gpu_use()) == ({}, {}, {})


def test_a_driver_that_hangs_costs_its_gpus_and_one_deadline(
    fake_nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_WORKER", Worker("hangs"))
    monkeypatch.setattr(gpu, "_ANSWER_S", 0.05)
    assert len(gpu.read_gpus()) == 2
    monkeypatch.setattr("pynvml.nvmlDeviceGetCount", lambda: time.sleep(30))
    assert (gpu.read_gpus(), gpu.gpu_reasons(), gpu.lowered_limits()) == ({}, {}, {})


def test_without_a_driver_there_are_no_gpus(fake_nvml: Any) -> None:
    fake_nvml.down = True
    assert (gpu.read_gpus(), gpu.gpu_reasons()) == ({}, {})


def test_without_the_package_there_are_no_gpus(
    fake_nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (gpu.read_gpus(), gpu.gpu_reasons()) == ({}, {})


CLIENTS = """\
CLIENT                        PROCESS      PID        SIZE
user                     tritonserver     4242     123456K
user                     gnome-shell      1201       5800K
user                     tritonserver     4242          2M
total                                               131304K
"""


def test_the_memory_of_a_process_is_that_on_all_gpus(fake_nvml: Any, tmp_path: Path) -> None:
    """One that draws, too, is in both lists of its GPU, and counts once."""
    fake_nvml.computing = {(0, 7): 300, (1, 7): 20, (0, 8): None}
    fake_nvml.drawing = {(0, 7): 300, (0, 9): 5}
    try:
        assert gpu.process_memory(tmp_path / "none") == {7: 320, 9: 5}
    finally:
        fake_nvml.computing, fake_nvml.drawing = {}, {}


def test_where_nobody_tells_of_processes_nothing_is_known(fake_nvml: Any, tmp_path: Path) -> None:
    assert fake_nvml.computing == {}
    assert gpu.process_memory(tmp_path / "none") is None


def test_a_jetsons_driver_lists_its_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is a fake of nvmap's in debugfs, which root may read."""
    monkeypatch.setattr(gpu, "_gpus", lambda: iter(()))
    (tmp_path / "clients").write_text(CLIENTS)
    assert gpu.process_memory(tmp_path / "clients") == {
        4242: (123456 << 10) + (2 << 20),
        1201: 5800 << 10,
    }
