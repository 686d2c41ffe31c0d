"""Recorded arrival times: what files hold them, and how they are replayed."""

from __future__ import annotations

import math
import tracemalloc
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.load.loops import open_load
from pytest_gaitperf.load.trace import Replay, Trace, read_trace
from pytest_gaitperf.workload import Workload
from tests.load.driving import counted_since, until

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer

SAME = [0, 1_500_000, 4_000_000]
"""0, 1.5 and 4 ms, as each of the files below has them."""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "0\n0.0015\n0.004\n"),
        ("a.csv", "timestamp\n17.5\n17.5015\n17.504\n"),
        ("a.csv", "model,timestamp_ms\nx,100\nx,101.5\nx,104\n"),
        ("a.csv", "Time_us,size\n4000,1\n0,9\n1500,2\n"),
        ("a.csv", "interval_us\n0\n1500\n2500\n"),
        ("a.csv", "interval_ns\n7\n1500000\n2500000\n"),
        (
            "a.csv",
            (
                "TIMESTAMP,n\n2023-11-16 18:17:03.0000000,4\n2023-11-16 18:17:03.0015000,5\n"
                "2023-11-16 18:17:03.0040000,5\n"
            ),
        ),
        ("a.csv", "\ufefftimestamp\r\n0\r\n# a remark\r\n0.0015\r\n\r\n0.004\r\n"),
        ("a.csv", "# of the gateway\n\ntimestamp_ms,n\n100,1\n101.5,2\n104,3\n"),
        ("a.jsonl", '{"timestamp": 5}\n{"timestamp": 5.0015, "n": 1}\n\n{"timestamp": 5.004}\n'),
        ("a.jsonl", "1\n1.0015\n1.004\n"),
        ("a.json", '{"arrival_ms": 0}\n{"arrival_ms": 1.5}\n{"arrival_ms": 4}\n'),
        (
            "a.jsonl",
            (
                '{"time": "2026-01-01T00:00:00Z"}\n{"time": "2026-01-01T00:00:00.001500Z"}\n'
                '{"time": "2026-01-01T00:00:00.004000+00:00"}\n'
            ),
        ),
        (  # through the night in which summer time ends, and without a zone
            "a.csv",
            (
                "2026-10-25T02:59:59.998500+02:00\n2026-10-25T02:00:00+01:00\n"
                "2026-10-25T01:00:00.002500\n"
            ),
        ),
    ],
)
def test_the_same_times_are_the_same_trace_in_every_file(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    trace = read_trace(tmp_path / name)
    assert trace.offsets_ns.tolist() == pytest.approx(SAME, abs=1000)
    assert trace.rate == pytest.approx(500, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "has 0 arrivals: a trace needs at least two"),
        ("a.csv", "0\n", "has 1 arrivals"),
        ("a.csv", "3\n3\n3\n", "has 3 arrivals, all at once"),
        ("a.csv", "size,id\n1,2\n", r"a.csv:1: has no times: one of size, id must be timestamp"),
        ("a.csv", "timestamp\n1\nsoon\n", r"a.csv:3: 'soon' is no time"),
        ("a.csv", "id,timestamp\n1,1\n2\n", r"a.csv:3: has no column 'timestamp'"),
        ("a.csv", "timestamp\n1\nnan\n", r"a.csv:3: 'nan' is no time"),
        ("a.csv", "timestamp\n1\n1e400\n", r"a.csv:3: '1e400' is no time"),
        ("a.csv", "interval\n1\n-1\n", "an interval of -1 s: time runs forward"),
        ("a.jsonl", "{]\n", r"a.jsonl:1: is not JSON"),
        ("a.jsonl", '{"at": 1}\n', r"a.jsonl:1: has no times: one of at must be"),
        ("a.jsonl", '{"time": [1]}\n{"time": 2}\n', r"a.jsonl:1: \[1\] is no time"),
        ("a.jsonl", '{"time": true}\n{"time": 2}\n', r"a.jsonl:1: True is no time"),
        ("a.csv", "timestamp\n0\n1e300\n", "a trace needs at least two"),
        ("a.csv", "timestamp\n-1e308\n1e308\n", "a trace needs at least two"),
        ("a.csv", "interval\n1e308\n1e308\n", "a trace needs at least two"),
        ("a.csv", "timestamp_ns\n0\n0.1\n0.3\n", "has 3 arrivals, all at once"),
        ("a.csv", "# of the gateway\nsize,id\n1,2\n", r"a.csv:2: has no times"),
        ("a.csv", "timestamp\r1\r2\r", r"a.csv: cannot be read as CSV: new-line character"),
        pytest.param(
            "a.csv",
            '0\n"1\n' + "2\n" * 70_000,
            r"a.csv: cannot be read as CSV: field larger than",
            id="a stray quote",
        ),
    ],
)
def test_what_is_no_trace_is_named_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_trace(tmp_path / name)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="trace cannot be read: No such file"):
        read_trace(tmp_path / "gone.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="trace cannot be read: it is no text"):
        read_trace(tmp_path / "a.csv")


def test_a_replay_keeps_the_rate_and_begins_anew_behind_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0\n0.1\n0.4\n")
    trace = read_trace(tmp_path / "a.csv")
    replay = Replay(trace, 2 * trace.rate)
    assert list(islice(replay, 7)) == [
        *(0, 50_000_000, 200_000_000),
        *(300_000_000, 350_000_000, 500_000_000),
        600_000_000,
    ]
    assert list(islice(replay, 2)) == [0, 50_000_000], "each iteration begins anew"
    assert replay.seconds == pytest.approx(0.3)


def test_a_long_trace_is_replayed_in_pieces() -> None:
    trace = Trace(np.arange(100_000, dtype=np.int64) * 1_000_000)
    tracemalloc.start()
    try:
        times = iter(Replay(trace, 2 * trace.rate))
        first = next(times)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, "all of its times take six"
    assert [first, *islice(times, 120_000)] == list(range(0, 120_001 * 500_000, 500_000))


def test_each_load_sends_by_the_trace_from_its_beginning(
    loaded: TritonServer, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    times = [0, 0.02, 0.025, 0.1, 0.11, 0.2]
    path.write_text("\n".join(f'{{"timestamp": {time}}}' for time in times))
    trace = read_trace(path)
    workload = Workload(
        "identity",
        1,
        request_rate=trace.rate,
        arrival="trace",
        trace=trace.digest,
        trace_file=str(path),
    )
    model = loaded.model("identity")
    given = input_data(model, workload)
    before = loaded.statistics("identity").inference_count
    with open_load(loaded, model, workload, given) as load:
        records = [load.run(until(6), 0.001) for _ in range(2)]
    requests = sum(record.requests for record in records)
    for record in records:
        assert record.failures == 0
        scheduled = sorted(start - record.first_send_ns for start in record.starts_ns)
        assert scheduled[:6] == pytest.approx([time * 1e9 for time in times], abs=1)
    assert counted_since(loaded, "identity", before, requests) == requests

    path.write_text(path.read_text().replace("0.11", "0.12"))
    with (
        pytest.raises(ConfigurationError, match=r"had sha256.* when the run began"),
        open_load(loaded, model, workload, given),
    ):
        pass


def test_a_trace_is_a_part_of_the_cells_name() -> None:
    def key(trace: str, rate: float) -> str:
        return Workload("m", 1, request_rate=rate, arrival="trace", trace=trace).key

    assert key("sha256:0123456789ab", 96.5) == "b1-r96.5-trace=h01234567"
    assert key("sha256:0123456789ab", 193.0) == "b1-r193-trace=h01234567"
    with pytest.raises(ConfigurationError, match="arrival 'trace' and the hash of one go together"):
        Workload("m", 1, request_rate=math.pi, arrival="trace")
