"""Cells of one model and load that differ in what is sent: every output tells them apart."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from pytest_gaitperf.report.exporters import FORMATS, exporter
from pytest_gaitperf.report.html import figures, sections
from pytest_gaitperf.report.html.data import ReportData
from pytest_gaitperf.report.markdown import summary
from pytest_gaitperf.report.table import table
from pytest_gaitperf.workload import Workload
from tests.report.runs import cell, run

TOKENS = ("attention_mask", "input_ids", "token_type_ids")
PLAIN = Workload("encoder", 1, 4)
SHORT, LONG = (
    replace(PLAIN, shapes=tuple((name, (size,)) for name in TOKENS)) for size in (16, 128)
)
HASHED = replace(PLAIN, shapes=(("onnx::Gather-0", (3, 224, 224)), ("y" * 60, (7,))))
ZEROS = replace(PLAIN, data="zeros")
CELLS = (PLAIN, SHORT, LONG, HASHED, ZEROS)
RUN = run(*map(cell, CELLS))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_has_a_heading_for_what_is_sent(width: int) -> None:
    lines = table(RUN, width=width, colour=False).splitlines()
    assert max(map(len, lines)) <= width
    headings = [line.rstrip() for line in lines if line.startswith("encoder")]
    assert len(headings) == len(CELLS)
    assert headings[0] == "encoder"
    assert headings[1] == "encoder attention_mask+input_ids+token_type_ids=16"
    assert headings[3].startswith("encoder shapes=h")
    assert "onnx::Gather-0 [3, 224, 22" in headings[3]
    assert headings[4] == "encoder zeros"
    assert sum(line.startswith(" b1-c4 ") for line in lines) == len(CELLS)


def test_summary_and_page_name_each_cell() -> None:
    text = unescape(summary(RUN))
    data = ReportData((RUN,), {})
    section: Any = sections.maps(data)
    names = [group["name"] for group in section.view["groups"]]
    for one in CELLS:
        assert one.key in text
        assert ", ".join(filter(None, ("encoder", one.content))) in names
    paths: Any = figures.throughput_latency(data)
    lines = {path["name"] for path in paths.figures[0].spec["data"]}
    assert len(lines) == len(CELLS), "no line joins cells of two shapes"
    assert {"batch 1", "batch 1, zeros"} < lines


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_exports_tell_them_apart(name: str) -> None:
    text = exporter(name).export([RUN], "")
    for one in CELLS:
        assert one.key in text, one.key
