"""The page for perf_analyzer's users has each of its options, and a test for what it promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.grid import GRID_KEYS, load_grid
from pytest_gaitperf.config.options import OPTIONS
from tests.docs.documents import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

PATH = ROOT / "docs" / "from-perf-analyzer.md"
PAGE = PATH.read_text()
ROWS = [
    [cell.strip() for cell in line.split("|")]
    for line in PAGE.splitlines()
    if line.startswith("`") and "|" in line
]

# What perf_analyzer 2.41 --help and the last release's docs/cli.md name.
THEIRS = """
-? -h --help --version -m -x -v -b -p -s -r -l -u -i -H -a -f -t -c -d -z
--service-kind --bls-composing-models --model-signature-name --measurement-mode
--measurement-interval --measurement-request-count --stability-percentage
--percentile --warmup-request-count --request-count --max-trials --concurrency-range
--periodic-concurrency-range --request-period --request-parameter
--request-rate-range --request-distribution --latency-threshold --binary-search
--request-intervals --max-threads --num-of-sequences --sequence-length
--sequence-length-variation --sequence-id-range --serial-sequences --input-data
--shape --string-data --string-length --shared-memory --output-shared-memory-size
--input-tensor-format --output-tensor-format --async --sync --streaming
--grpc-compression-algorithm --ssl-grpc-use-ssl --ssl-grpc-root-certifications-file
--ssl-grpc-private-key-file --ssl-grpc-certificate-chain-file
--ssl-https-verify-peer --ssl-https-verify-host --ssl-https-ca-certificates-file
--ssl-https-client-certificate-file --ssl-https-client-certificate-type
--ssl-https-private-key-file --ssl-https-private-key-type --triton-server-directory
--model-repository --collect-metrics --metrics-url --metrics-interval
--profile-export-file --verbose-csv --trace-file --trace-level --trace-rate
--trace-count --log-frequency --data-directory
"""

# Each test that shows what stands for options, by the first option of their row.
SHOWN_BY = {
    "tests/load/test_closed_loop.py": "--concurrency-range -a",
    "tests/load/test_data.py": "-z --string-data",
    "tests/load/test_datafile.py": "--input-data",
    "tests/load/test_encode.py": "-x",
    "tests/load/test_grpc.py": "-i",
    "tests/load/test_open_loop.py": "--request-rate-range --request-distribution",
    "tests/load/test_sequences.py": "--num-of-sequences --sequence-length --sequence-id-range",
    "tests/load/test_shared_memory.py": "--shared-memory --output-shared-memory-size",
    "tests/load/test_streams.py": "--streaming",
    "tests/load/test_trace.py": "--request-intervals",
    "tests/load/test_warm_up.py": "--warmup-request-count",
    "tests/load/test_ways_in.py": (
        "--ssl-grpc-use-ssl --ssl-grpc-root-certifications-file --ssl-grpc-certificate-chain-file "
        "--ssl-grpc-private-key-file --ssl-https-verify-peer"
    ),
    "tests/measure/test_most_subjects.py": "-l --binary-search",
    "tests/plugin/test_option_gaitperf_budget.py": "-p -r",
    "tests/plugin/test_option_gaitperf_columns.py": "--percentile",
    "tests/plugin/test_option_gaitperf_export.py": "-f",
    "tests/plugin/test_option_gaitperf_grid.py": "-b",
    "tests/plugin/test_option_gaitperf_json.py": "--profile-export-file",
    "tests/plugin/test_option_gaitperf_models.py": "-m",
    "tests/plugin/test_option_gaitperf_precision.py": "-s",
    "tests/plugin/test_option_power.py": "--collect-metrics",
    "tests/plugin/test_option_triton_header.py": "-H",
    "tests/plugin/test_option_triton_url.py": "-u",
    "tests/plugin/test_shapes.py": "--shape",
    "tests/triton/test_ensembles.py": "--bls-composing-models",
}
TESTS = {option: path for path, options in SHOWN_BY.items() for option in options.split()}


def test_the_example_is_the_same_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [block.text for block in blocks(PATH) if block.language == "toml"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(example)
    grid = load_grid("grid.toml")
    assert (grid.models, grid.batch_sizes, grid.concurrencies) == (("resnet50",), (4,), (8,))
    assert (grid.protocol, grid.transport) == ("grpc", "shm")
    assert grid.shapes_of("resnet50") == [{"INPUT": (3, 224, 224)}]


def test_each_option_has_one_row() -> None:
    told = [name for row in ROWS for name in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(told) == sorted(THEIRS.split())


def test_every_test_is_of_an_option_on_the_page() -> None:
    assert set(TESTS) <= {row[0].split("`")[1] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_what_stands_for_an_option_is_there_and_tested(row: list[str]) -> None:
    theirs, ours = row
    path = TESTS.get(theirs.split("`")[1], "")
    assert path or ours.startswith("no") or "pytest's own" in ours
    assert not path or (ROOT / path).is_file()
    flags = {option.flag for option in OPTIONS}
    for name in re.findall(r"`(--(?:triton|gaitperf)[a-z-]*)", ours):
        assert name in flags
    for name in re.findall(r"`([a-z_]+)`", ours):
        assert name in {*GRID_KEYS, "version"}
