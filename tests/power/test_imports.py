"""Logs of other programs become recordings that a replay plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.errors import ConfigurationError
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.imports import imported
from pytest_gaitperf.power.meter import open_meter
from pytest_gaitperf.power.trace import save
from tests.docs.documents import ROOT, python_blocks

if TYPE_CHECKING:
    from pathlib import Path

SPL = "".join(
    f"Time,08-25-2021 14:25:{20 + second:02}.500,Watts,{watts},Volts,116.1,Amps,0.3,PF,0.5,Mark,x\n"
    for second, watts in enumerate((10.0, 20.0, 20.0, 20.0, 10.0))
)
DETAIL = "".join(
    f':::MLLOG {{"key": "power_{what}", "value": "08-25-2021 14:25:{at}", "metadata": {{}}}}\n'
    for what, at in (("begin", "21.500"), ("end", "23.500"))
)
OLD = "RAM 1/2MB CPU [0%@1] GR3D_FREQ 0%@114 POM_5V_IN {0}/1022 POM_5V_GPU 0/0 POM_5V_CPU 204/204\n"
NEW = (
    "07-14-2026 10:00:0{1} RAM 1/2MB (lfb 4x4MB) CPU [1%@729] cpu@48C "
    "VDD_IN {0}mW/4000mW VDD_CPU_GPU_CV 600mW/600mW VDD_SOC 1100mW/1100mW\n"
)
CASES = {
    "mlperf": (SPL, {"detail": DETAIL}, ("IN",), 20.0, 2.0),
    "tegrastats, JetPack 4": (
        "".join(OLD.format(milliwatts) for milliwatts in (2000, 3000, 2000)),
        {"interval_s": 0.5},
        ("POM_5V_IN",),
        2.5,
        1.0,
    ),
    "tegrastats, JetPack 6": (
        "".join(NEW.format(4000, second) for second in (0, 0, 1, 1, 2)),
        {},
        ("VDD_IN",),
        4.0,
        2.0,
    ),
    "tegrastats, release 39": (
        "".join(
            f"07-14-2026 10:00:0{second} RAM 1/2MB CPU [1%@729] cpu@50C/50C VDD_IN 4000mW/1mW/9mW "
            "VDD_CPU_GPU_CV 600mW/600mW/600mW VDD_SOC 1100mW/1100mW/1100mW\n"
            for second in (0, 1, 2)
        ),
        {},
        ("VDD_IN",),
        4.0,
        2.0,
    ),
    "tegrastats that was stopped for 50 s": (
        "".join(
            NEW.format(watts, 0).replace("10:00:00", f"10:00:{second:02}")
            for second, watts in ((0, 9000), (1, 9000), (51, 1000), (52, 1000))
        ),
        {},
        ("VDD_IN",),
        5.0,
        52.0,
    ),
    "tegrastats of a TX2": (
        (
            "RAM 1/2MB CPU [0%@2035] GR3D_FREQ 1%@1300 VDD_IN 3000/3624 VDD_CPU 696/696 "
            "VDD_GPU 371/371 VDD_SOC 650/650 VDD_WIFI 0/0 VDD_DDR 881/881\n"
        )
        * 3,
        {},
        ("VDD_IN",),
        3.0,
        2.0,
    ),
    "tegrastats of an AGX Orin": (
        (
            "RAM 1/2MB CPU [1%@732] CV0@-256C CPU@43.5C VDD_GPU_SOC 2400mW/2411mW "
            "VDD_CPU_CV 400mW/401mW VIN_SYS_5V0 3200mW/3528mW NC 0mW/0mW "
            "VDDQ_VDD2_1V8AO 704mW/704mW NC 0mW/0mW\n"
        )
        * 3,
        {},
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        6.0,
        2.0,
    ),
    "csv of seconds and milliwatts": (
        "time_s,VDD_IN [mW],VDD_SOC [mW]\n0,5000,1000\n2,7000,1000\n",
        {},
        ("VDD_IN",),
        6.0,
        2.0,
    ),
    "csv of volts and amperes": (
        "timestamp,volts,amps\n2026-01-01T00:00:00,12,1\n2026-01-01T00:00:03,12,2\n",
        {},
        ("IN",),
        18.0,
        3.0,
    ),
    "jtop": (
        (
            "time,uptime,GPU,Power VDD_CPU_GPU_CV,Power VDD_IN,Power TOT\n"
            "2026-01-01 00:00:00.0,1:00,0,500,4000,4000\n"
            "2026-01-01 00:00:01.5,1:00,0,500,4000,4000\n"
        ),
        {},
        ("VDD_IN",),
        4.0,
        1.5,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_log_has_the_power_that_it_says(case: str) -> None:
    text, options, total, watts, seconds = CASES[case]
    found = imported(text, "log", **options)  # type: ignore[arg-type]
    assert found.about.total_rails == total
    energy = integrate(found.trace, int(found.edges_ns[0]), int(found.edges_ns[-1]))
    assert energy.mean_power_w(total) == pytest.approx(watts)
    assert energy.duration_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no log of tegrastats, MLPerf or CSV"),
        ("a,b\n1,2\n", "no log of"),
        ("time,power_w\n0,5\n", "1 readings do not follow"),
        ("time,power_w\n1,5\n0,5\n", "2 readings do not follow"),
        ("time,power_w\n0,nan\n1,5\n", "a value is not finite"),
        ("time,power_w\nyesterday,1\ntoday,5\n", "'yesterday' is no date"),
        ("Time,99-99-2021 14:25:20.5,Watts,1,\n", "is no date"),
    ],
)
def test_what_is_no_log_is_a_plain_error(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        imported(text, "log")


def test_a_window_outside_the_log_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not within the power log"):
        imported(SPL, "log", detail=DETAIL.replace("14:25:21", "14:24:21"))


def test_the_command_writes_what_a_replay_plays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run 1.csv").write_text(
        "time,power_w\n" + "".join(f"{number / 10},{5 + number % 2}\n" for number in range(100))
    )
    assert main(["power", "import", str(tmp_path / "run 1.csv"), "--output", str(tmp_path)]) == 0
    assert "imported from CSV, 100 readings in 9.900 s; power 5.5000 W" in capsys.readouterr().out
    meter = open_meter(f"replay:{tmp_path / 'run_1.power.npz'}").meter
    assert meter is not None
    assert meter.total_rails == ("power",)
    assert main(["power", "import", str(tmp_path / "gone.csv")]) == 1


def test_the_page_s_example_reads_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = python_blocks(ROOT / "docs/power-logs.md")
    text, options = CASES["tegrastats, JetPack 6"][:2]
    save(tmp_path / "traces", imported(text, "net-b1-c1", **options))  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - the page's own
    assert names["watts"].tolist() == [4.0] * 5
