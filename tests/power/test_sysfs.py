from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from pytest_gaitperf.errors import MeterError
from pytest_gaitperf.power.sysfs import DisabledError, FileReader, IntegerFile


@pytest.fixture
def fake_kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A fake driver's answers by file name: an error number that no plain file can give."""
    answers: dict[str, int] = {}
    real = os.open

    def fake_open(path: str, flags: int) -> int:
        number = answers.get(Path(path).name)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return real(path, flags)

    monkeypatch.setattr("pytest_gaitperf.power.sysfs.os.open", fake_open)
    return answers


@pytest.mark.parametrize(("text", "value"), [("5000\n", 5000), ("-12\n", -12), (" 7 \n", 7)])
def test_an_integer_may_be_negative(tmp_path: Path, text: str, value: int) -> None:
    file = tmp_path / "curr1_input"
    file.write_text(text)
    with closing(IntegerFile(str(file))) as integer:
        assert integer.read() == value


@pytest.mark.parametrize("text", ["", "nan\n", "1.5\n", "0x10\n"])
def test_anything_else_is_an_error_that_shows_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "curr1_input"
    file.write_text(text)
    with (
        closing(IntegerFile(str(file))) as integer,
        pytest.raises(MeterError, match=r"curr1_input holds b'.*' instead of an integer"),
    ):
        integer.read()


def test_a_file_is_read_anew_and_a_replaced_one_is_noticed(tmp_path: Path) -> None:
    file, other = tmp_path / "curr1_input", tmp_path / "new"
    file.write_text("1\n")
    with closing(FileReader([([str(file)], 1.0)])) as reader:
        assert reader.read() == (1.0,)
        file.write_text("2\n")
        assert reader.read() == (2.0,)
        other.write_text("3\n")
        other.rename(file)
        assert reader.read() == (3.0,)


def test_a_rail_is_the_product_of_its_factors_and_scale(tmp_path: Path) -> None:
    (tmp_path / "in1").write_text("19000\n")
    (tmp_path / "curr1").write_text("-200\n")
    (tmp_path / "power1").write_text("2500000\n")
    reader = FileReader(
        [
            ([str(tmp_path / "in1"), str(tmp_path / "curr1")], 1e-6),
            ([str(tmp_path / "power1")], 1e-6),
        ]
    )
    assert reader.read() == pytest.approx((-3.8, 2.5))


def test_a_hastened_reader_reads_the_total_s_current_each_time_and_the_others_in_turn(
    tmp_path: Path,
) -> None:
    paths = [[str(tmp_path / f"{kind}{rail}") for kind in ("in", "curr")] for rail in (1, 2)]

    def write(millivolts: int, milliamps: int) -> None:
        for voltage, current in paths:
            Path(voltage).write_text(f"{millivolts}\n")
            Path(current).write_text(f"{milliamps}\n")

    reader = FileReader([(channel, 1e-6) for channel in paths], total=[0])
    write(5000, 100)
    assert reader.read() == pytest.approx((0.5, 0.5))

    reader.hasten()
    write(6000, 200)

    assert reader.read() == pytest.approx((1.2, 0.5))  # its voltage had its turn
    assert reader.read() == pytest.approx((1.2, 0.6))  # the other's voltage
    assert reader.read() == pytest.approx((1.2, 1.2))  # the other's current
    write(6000, 300)
    assert reader.read() == pytest.approx((1.8, 1.2))


def test_a_reader_of_nothing_but_the_total_s_current_is_not_hastened(tmp_path: Path) -> None:
    (tmp_path / "power1").write_text("2500000\n")
    reader = FileReader([([str(tmp_path / "power1")], 1e-6)], total=[0])
    reader.hasten()
    assert reader.read() == pytest.approx((2.5,))


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT])
def test_a_busy_chip_gives_no_reading_and_no_error(
    tmp_path: Path, fake_kernel: dict[str, int], number: int
) -> None:
    (tmp_path / "in1").write_text("5000\n")
    fake_kernel["curr1"] = number
    paths = [str(tmp_path / "in1"), str(tmp_path / "curr1")]
    assert FileReader([(paths, 1e-6)]).read() is None


def test_a_disabled_channel_says_how_to_enable_it(fake_kernel: dict[str, int]) -> None:
    fake_kernel["curr1"] = errno.ENODATA
    with pytest.raises(DisabledError, match="write 1 to its in"):
        IntegerFile("curr1").read()


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EIO])
def test_a_driver_s_error_names_the_file(fake_kernel: dict[str, int], number: int) -> None:
    fake_kernel["curr1"] = number
    with pytest.raises(MeterError, match=f"curr1: {os.strerror(number)}; .*dmesg"):
        IntegerFile("curr1").read()


def test_a_file_that_this_user_may_not_read(tmp_path: Path) -> None:
    """The kernel's own refusal; root, who may read all, first becomes nobody in a child."""
    file = tmp_path / "energy"
    file.write_text("1\n")
    file.chmod(0)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _read_as_nobody(str(file), writing)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    os.waitpid(child, 0)
    assert "; let this user read it" in text


def _read_as_nobody(path: str, writing: int) -> NoReturn:
    try:
        # The path's parents stay open to us as long as we do not look them up: go there first.
        os.chdir(Path(path).parent)
        if os.geteuid() == 0:
            os.setuid(65534)
        IntegerFile(Path(path).name).read()
    except MeterError as error:
        os.write(writing, str(error).encode())
    finally:
        os._exit(0)
