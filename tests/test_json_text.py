from __future__ import annotations

import pytest

from pytest_gaitperf.json_text import parse_json


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'"\\ud800"', "."),
        (b'"\xff"', "utf-8"),
        (b"NaN", "invalid character"),
        (b"1e999", "out of range"),
        (b"9" * 5000, "out of range"),
        (b"", "truncated"),
        ('"\ud800"', "surrogates"),
    ],
)
def test_what_cannot_be_computed_with_or_written_again_is_no_json(
    content: bytes | str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(content)


def test_json_is_read_as_it_stands() -> None:
    assert parse_json(b'{"a": [1, 2.5, null, true, "\\ud83d\\ude00"]}') == {
        "a": [1, 2.5, None, True, "\N{GRINNING FACE}"]
    }
