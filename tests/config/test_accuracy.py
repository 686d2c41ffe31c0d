"""The user's table of accuracies, and every way to get it wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.settings import read_accuracy
from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "model,accuracy\n3D_fp32_0_batchd, 94.7%\n\n# pruned\nother,0.5\n"),
        ("a.csv", "\N{BYTE ORDER MARK}3D_fp32_0_batchd,0.947\r\nother,50 %\r\n"),
        ("a.txt", '"3D_fp32_0_batchd",0.947\n"other","0.5"\n'),
        ("a.toml", '"3D_fp32_0_batchd" = 0.947\nother = "50%"\n'),
    ],
)
def test_csv_and_toml_give_ratios(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    table = read_accuracy(tmp_path / name)
    assert table == {"3D_fp32_0_batchd": pytest.approx(0.947), "other": 0.5}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "model,accuracy\nm,high\n", "a.csv:2: 'high' is neither a number from 0 to 1"),
        ("a.csv", "m,94.7\n", "a.csv:1: '94.7' is neither"),
        ("a.csv", "m,-1%\n", "a.csv:1: "),
        ("a.csv", "m,nan\n", "a.csv:1: "),
        ("a.csv", "n,0.1\n\nm\n", "a.csv:3: 1 columns; each line is a model and its accuracy"),
        ("a.csv", "m,0.1,0.2\n", "a.csv:1: 3 columns"),
        ("a.csv", "m,0.1\nm,0.2\n", "a.csv:2: 'm' is named twice"),
        ("a.toml", "x = 0.1\nm = true\n", "a.toml:2: True is neither"),
        ("a.toml", "x = 0.1\n[m]\ny = 1\n", "a.toml:2: "),
        ("a.toml", "m = \n", "a.toml: not valid TOML: .*line 1"),
        ("a.csv", None, "a.csv: cannot be read"),
        ("a.toml", None, "a.toml: no such file"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        read_accuracy(tmp_path / name)
