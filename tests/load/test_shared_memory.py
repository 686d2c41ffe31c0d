from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pytest_gaitperf.errors import MeasurementError, ServerError
from pytest_gaitperf.lease import prefix
from pytest_gaitperf.load import shared_memory
from pytest_gaitperf.load.data import input_data, input_tensors
from pytest_gaitperf.load.encode import encode_grpc, encode_http, tensor_bytes
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.shared_memory import SharedTensors
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.workload import Workload
from tests.load.driving import counted_since
from tests.load.test_encode import ask_grpc, ask_http

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_gaitperf.load.data import Sample
    from pytest_gaitperf.load.record import LoadRecord
    from pytest_gaitperf.triton.server import TritonServer

FOLDER = Path("/dev/shm")  # noqa: S108 - the kernel's name


def api_of(server: TritonServer) -> Api:
    return Api(server.host, server.http_port)


def shared(
    server: TritonServer,
    model: str,
    *,
    batch_size: int = 1,
    slots: int = 1,
    samples: Sequence[Sample] = (),
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> SharedTensors:
    info = server.model(model)
    samples = samples or [input_tensors(info, batch_size, shapes or {})]
    return SharedTensors(api_of(server), info, Workload(model, batch_size, slots), samples, slots)


def ours(pid: int | None = None) -> list[Path]:
    """Return the names that this process, or another, has in the folder."""
    return list(FOLDER.glob(f"gaitperf-tensors-*-{pid or os.getpid()}-*"))


def output_bytes(tensors: SharedTensors, slot: int, name: str = "OUTPUT0") -> bytes:
    area = tensors.places.outputs[slot][name]
    return tensors.memory[area.offset : area.offset + area.size]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("model", "batch_size"), [("identity", 8), ("int64", 2), ("fp16", 1), ("unbatched", 1)]
)
def test_outputs_are_what_the_inputs_were(
    loaded: TritonServer, model: str, batch_size: int, protocol: str
) -> None:
    info, workload = loaded.model(model), Workload(model, batch_size, 3)
    samples = [input_tensors(info, batch_size, {}, seed) for seed in (1, 2)]
    with shared(loaded, model, batch_size=batch_size, slots=3, samples=samples) as tensors:
        if protocol == "http":
            requests = encode_http(info, workload, loaded.url, samples, tensors.places)
        else:
            requests = encode_grpc(info, workload, samples, tensors.places)
        ask = ask_http if protocol == "http" else ask_grpc
        assert [len(slot) for slot in requests] == [2, 2, 2]
        # Each slot asks for another sample: none of them writes where another does.
        for slot in range(3):
            assert not any(output_bytes(tensors, slot))
            shape, inline = _ask(ask, loaded, requests[slot][slot % 2])
            assert shape == list(samples[0]["INPUT0"].shape)
            assert inline == b""
        for slot in range(3):
            assert output_bytes(tensors, slot) == samples[slot % 2]["INPUT0"].tobytes()
    assert tensors.name not in api_of(loaded).regions()


def _ask(ask: Any, server: TritonServer, request: bytes) -> tuple[list[int], bytes]:
    shape, content, _version = ask(server, request)
    return shape, content


@pytest.mark.parametrize(
    ("model", "shapes"), [("dynamic", {"INPUT0": (5, 2)}), ("bytes", {}), ("two", {})]
)
def test_sizes_that_the_model_leaves_open_are_found_by_asking(
    loaded: TritonServer, model: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    if model == "bytes" and loaded.notes:
        pytest.skip("BYTES cannot pass this stub with NumPy 2")
    info, workload = loaded.model(model), Workload(model, 2, 1)
    sample = input_tensors(info, 2, shapes)
    counted = loaded.statistics(model).inference_count
    with shared(loaded, model, batch_size=2, samples=[sample]) as tensors:
        ((request,),) = encode_http(info, workload, loaded.url, [sample], tensors.places)
        assert loaded.statistics(model).inference_count - counted == (0 if model == "two" else 2)
        ask_http(loaded, request)
        name, expected = info.outputs[0].name, tensor_bytes(next(iter(sample.values())))
        assert output_bytes(tensors, 0, name) == (bytes(32) if model == "two" else expected)


def test_an_output_of_unknown_size_that_cannot_be_asked_for_says_why(
    loaded: TritonServer,
) -> None:
    sample = {"INPUT0": np.zeros((2, 5, 3), np.float32)}
    with pytest.raises(MeasurementError, match=r"sizes of the outputs are not fixed.*shape"):
        shared(loaded, "dynamic", batch_size=2, samples=[sample])
    assert ours() == []


def test_the_name_is_gone_while_the_memory_is_in_use(loaded: TritonServer) -> None:
    with shared(loaded, "identity") as tensors:
        assert ours() == []
        assert tensors.name in api_of(loaded).regions()


# What can go wrong


def test_a_server_that_cannot_see_our_memory_is_told_apart(
    loaded: TritonServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Our file is where the server does not look, as it is from inside a container.
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    with pytest.raises(MeasurementError, match=r"another host.*container without --ipc=host"):
        shared(loaded, "identity")
    assert list(tmp_path.iterdir()) == []


def test_memory_that_is_not_there_is_an_error_with_the_size_needed(loaded: TritonServer) -> None:
    state = os.statvfs(FOLDER)
    slots = state.f_blocks * state.f_frsize // 16_000_000 + 10
    needed = slots * 16_000_000 // 2**20
    with pytest.raises(MeasurementError) as info:
        shared(loaded, "large", batch_size=8, slots=slots)
    message = str(info.value)
    assert needed <= int(message.split(maxsplit=1)[0]) <= needed + 20
    assert "--shm-size" in message
    assert "inline tensors" in message
    assert (ours(), api_of(loaded).regions()) == ([], [])


def test_a_folder_that_is_not_there_is_an_error(
    loaded: TritonServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "none")
    with pytest.raises(MeasurementError, match=r"no shared memory can be made in .*none"):
        shared(loaded, "identity")


def test_a_server_that_refuses_for_another_reason_is_quoted(
    loaded: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(api: Api, name: str, key: str, size: int) -> None:
        raise ServerError("Triton refused (400): not supported")

    monkeypatch.setattr(Api, "register_region", refuse)
    with pytest.raises(MeasurementError, match=r"\(400\): not supported.*use inline tensors"):
        shared(loaded, "identity")
    assert ours() == []


@pytest.mark.parametrize("old", [False, True])
def test_a_region_is_not_taken_from_under_a_request(
    loaded: TritonServer, monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    if old:
        monkeypatch.setattr(Api, "metadata", lambda _api: ("triton", "2.42.0"))
    info = loaded.model("slow")
    samples = [input_tensors(info, 1, {})]
    answers: list[list[int]] = []
    tensors = shared(loaded, "slow", samples=samples)
    tensors.in_use = lambda: True
    ((request,),) = encode_http(info, Workload("slow", 1, 1), loaded.url, samples, tensors.places)
    asking = threading.Thread(target=lambda: answers.append(ask_http(loaded, request)[0]))
    with suppress(KeyboardInterrupt), tensors:
        asking.start()
        asking.join(0.2)  # the request is on its way; the model takes 0.5 s
        raise KeyboardInterrupt
    # An old server would unmap it at once and crash: it keeps it.
    assert (tensors.name in api_of(loaded).regions()) == old
    asking.join()
    assert answers == [[1, 16]]
    api_of(loaded).unregister_region(tensors.name)


@pytest.mark.parametrize("in_flight", [False, True])
def test_a_load_that_fails_leaves_its_region_to_an_old_server_only_if_it_has_not_drained(
    loaded: TritonServer, monkeypatch: pytest.MonkeyPatch, *, in_flight: bool
) -> None:
    monkeypatch.setattr(Api, "metadata", lambda _api: ("triton", "2.42.0"))
    api, workload = api_of(loaded), Workload("slow", 1, 1, transport="shm")
    model, before = loaded.model("slow"), loaded.statistics("slow").inference_count

    def observer(_record: LoadRecord, _now_ns: int) -> bool:
        if in_flight:  # the model takes 0.5 s
            raise KeyboardInterrupt
        return False

    given = input_data(model, workload)
    with suppress(KeyboardInterrupt), open_load(loaded, model, workload, given) as load:
        load.run(observer, 0.05)
        raise KeyboardInterrupt
    left = api.regions()
    counted_since(loaded, "slow", before, 1)  # an old one unmaps at once, in use or not
    for _ in range(100 * len(left)):
        with suppress(ServerError):
            api.unregister_region(left[0])
            break
        time.sleep(0.05)
    assert (len(left), api.regions()) == (in_flight, [])


def test_a_load_that_never_began_leaves_no_region_to_an_old_server(
    loaded: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "metadata", lambda _api: ("triton", "2.42.0"))

    def interrupted(*_asked: object, **_how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_gaitperf.load.loops.encode_http", interrupted)
    workload, model = Workload("identity", 1, 1, transport="shm"), loaded.model("identity")
    opened = open_load(loaded, model, workload, input_data(model, workload))
    with pytest.raises(KeyboardInterrupt), opened:
        pass
    assert api_of(loaded).regions() == []


def test_closing_twice_or_after_the_server_is_gone_is_no_error(
    loaded: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = shared(loaded, "identity")
    tensors.close()
    tensors.close()
    tensors = shared(loaded, "identity")
    monkeypatch.setattr(tensors._api, "port", 9)
    tensors.close()
    assert tensors.memory.closed
    api_of(loaded).unregister_region(tensors.name)


HOLDER = """
import signal, sys, time
from pytest_gaitperf.load.data import input_tensors
from pytest_gaitperf.load.shared_memory import SharedTensors
from pytest_gaitperf.triton.api import Api
from pytest_gaitperf.workload import Workload

api = Api("127.0.0.1", int(sys.argv[1]))
model = api.model("large", "")
samples = [input_tensors(model, 8, {})]
with SharedTensors(api, model, Workload("large", 8, 4), samples, 4) as tensors:
    print(tensors.name, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_dies_leaves_no_memory_behind(loaded: TritonServer, number: int) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(loaded.http_port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert holder.stdout is not None
    name = holder.stdout.readline().strip()
    assert f"-{holder.pid}-" in name
    try:
        # Another of our processes may not take it for abandoned while it lives.
        with shared(loaded, "identity"):
            assert name in api_of(loaded).regions()
    finally:
        holder.send_signal(number)
        holder.wait(30)
        holder.stdout.close()
    assert ours(holder.pid) == []
    assert (name in api_of(loaded).regions()) == (number == signal.SIGKILL)
    with shared(loaded, "identity") as tensors:
        assert api_of(loaded).regions() == [tensors.name]


def test_what_was_left_in_the_moment_before_the_name_is_gone_is_removed(
    loaded: TritonServer,
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    mine = prefix("tensors")
    left = FOLDER / f"{mine.replace(f'-{os.getpid()}-', f'-{gone.pid}-')}0123abcd"
    other = FOLDER / left.name.replace(f"-{namespace}-", "-1-")
    alive = FOLDER / f"{mine}0123abcd"
    for path in (left, other, alive):
        path.touch()
    try:
        with shared(loaded, "identity"):
            assert [path.exists() for path in (left, other, alive)] == [False, True, True]
    finally:
        for path in (left, other, alive):
            path.unlink(missing_ok=True)
