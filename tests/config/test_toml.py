from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.config.toml import load_toml
from pytest_gaitperf.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "9" * 5000,  # more digits than Python reads
        "a = 0x" + "f" * 5000,  # as hexadecimal it reads them, and cannot write them
        "a = [{b = [9223372036854775808]}]",
        "a = " + "[" * 5000,
        "a = " + "{a=" * 5000,
        "a = 1\na = 2",
    ],
)
def test_what_is_no_toml_is_named_with_its_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"grid\.toml: not valid TOML: .+"):
        load_toml(path)


def test_integers_of_64_bits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text("a = [9223372036854775807, -9223372036854775808]")
    assert load_toml(path) == {"a": [(1 << 63) - 1, -(1 << 63)]}
