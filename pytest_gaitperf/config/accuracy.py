"""The user's table of accuracies: model -> accuracy, in CSV or TOML."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.files import load_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COLUMNS = 2


def read_accuracy(path: Path) -> dict[str, float]:
    """Return the accuracy of each model, a ratio from 0 to 1.

    A ``.toml`` file has one key a model: ``"3D_fp32_0_batchd" = 0.947``, or ``"94.7%"``; any other
    is CSV with the columns model and accuracy, and may have a line with their names.

    Raises
    ------
    ConfigurationError
        A file that cannot be read, a value that is no accuracy, a model named twice: with the line.
    """
    if path.suffix == ".toml":
        return _from_toml(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from error
    found: dict[str, float] = {}
    reader = csv.reader(io.StringIO(content), skipinitialspace=True)
    for row in _rows(reader, path):
        cells = [cell.strip() for cell in row]
        where = f"{path}:{reader.line_num}"
        if not any(cells) or cells[0].startswith("#"):
            continue
        if len(cells) != _COLUMNS:
            raise ConfigurationError(
                f"{where}: {len(cells)} columns; each line is a model and its accuracy, as in "
                "3D_fp32_0_batchd,94.7%"
            )
        model, accuracy = cells
        if not found and accuracy.lower() == "accuracy":
            continue
        if model in found:
            raise ConfigurationError(f"{where}: {model!r} is named twice: leave one of them out")
        found[model] = _accuracy(accuracy, where)
    return found


def _rows(reader: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ConfigurationError(f"{path}: cannot be read as CSV ({error})") from error


def _from_toml(path: Path) -> dict[str, float]:
    table = load_toml(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    found = {}
    for model, accuracy in table.items():
        # The parser knows no lines; the key stands at the start of one.
        number = next(
            (
                number
                for number, line in enumerate(lines, 1)
                if line.partition("=")[0].strip().strip("\"'[]") == model
            ),
            1,
        )
        found[model] = _accuracy(accuracy, f"{path}:{number}")
    return found


def _accuracy(given: object, where: str) -> float:
    text = str(given).strip()
    try:
        value = float(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if isinstance(given, bool) or not 0 <= value <= 1:
        raise ConfigurationError(
            f"{where}: {given!r} is neither a number from 0 to 1 nor a percentage such as 94.7%"
        )
    return value
