"""Files from outside are read with a limit, files of ours are written whole."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path

import pytest

from pytest_gaitperf.errors import ConfigurationError, GaitperfError
from pytest_gaitperf.files import (
    PartlyReplacedError,
    check_writable,
    load_toml,
    parse_json,
    read_bytes,
    replace_files,
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'"\\ud800"', "."),
        (b'"\xff"', "."),
        (b"NaN", "."),
        (b"1e999", "."),
        (b"9" * 5000, "."),
        (b"", "."),
        ('"\ud800"', "."),
    ],
)
def test_what_cannot_be_computed_with_or_written_again_is_no_json(
    content: bytes | str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(content)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_is_read_as_it_stands(mark: bytes) -> None:
    assert parse_json(mark + b'{"a": [1, 2.5, null, true, "\\ud83d\\ude00"]}') == {
        "a": [1, 2.5, None, True, "\N{GRINNING FACE}"]
    }


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


def test_toml_with_integers_of_64_bits_a_mark_and_foreign_line_ends_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "grid.toml"
    text = "\ufeffa = [9223372036854775807,\r\n -9223372036854775808]\r\n"
    path.write_bytes(text.encode())
    assert load_toml(path) == {"a": [(1 << 63) - 1, -(1 << 63)]}


def test_a_toml_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"grid\.toml: no such file"):
        load_toml(tmp_path / "grid.toml")


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    pipe, device = tmp_path / "pipe", tmp_path / "device"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with pytest.raises(OSError, match="not a regular file"):
            read_bytes(path)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(100))
    assert read_bytes(path, limit=100) == bytes(100)
    with pytest.raises(OSError, match="larger than") as caught:
        read_bytes(path, limit=99)
    assert caught.value.errno == errno.EFBIG


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"small")
    tracemalloc.start()
    try:
        assert read_bytes(path) == b"small"
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_name_that_is_too_long_is_said_to_be_one_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(GaitperfError, match=r"xxx cannot be written .*: File name too long"):
        check_writable(tmp_path / ("x" * 300))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "a"
    victim.write_bytes(b"precious")
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / f".a.{os.getpid()}-guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        replace_files({path: b"new"})
    assert victim.read_bytes() == b"precious"
    assert not path.exists()


def test_temporary_names_differ_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    rename = Path.replace

    def noted(self: Path, target: Path) -> Path:
        names.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    for content in (b"1", b"2"):
        replace_files({tmp_path / "a": content})
    assert len(set(names)) == 2


def test_a_failure_between_two_renames_counts_what_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def second_fails(self: Path, target: Path) -> Path:
        if target.name == "b":
            raise OSError(errno.EIO, "Input/output error", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(PartlyReplacedError, match="after 1 of 2 files were replaced"):
        replace_files({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
