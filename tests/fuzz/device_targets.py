"""What the machine tells: sysfs, /proc, nvpmodel, jtop, and recorded power traces."""

from __future__ import annotations

import io
import json
import math
import sys
import zipfile
from contextlib import closing, suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeterError
from pytest_gaitperf.host import modes
from pytest_gaitperf.host.identity import identify
from pytest_gaitperf.host.nvpmodel import mode_in, modes_in
from pytest_gaitperf.host.state import limiting_files, limits_raised, read_state, throttled
from pytest_gaitperf.power import ina3221, jtop, rapl, sysfs
from pytest_gaitperf.power.energy import integrate
from pytest_gaitperf.power.imports import imported
from pytest_gaitperf.power.sensor import Request
from pytest_gaitperf.power.sysfs import FileReader, RaplReader
from pytest_gaitperf.power.trace import load, open_replay, save
from tests.fuzz.mutating import BYTES, JSON, TEXT
from tests.fuzz.target import SEPARATOR, Target, as_file, parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_INA3221 = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
_IIO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
_RAPL = "sys/class/powercap/intel-rapl:0"
_CPU = "sys/devices/system/cpu/cpu0"
_THERMAL = "sys/class/thermal"
_HWMON = {
    f"{_INA3221}/in1_label": b"VDD_GPU\n",
    f"{_INA3221}/in1_input": b"5008\n",
    f"{_INA3221}/curr1_input": b"-312\n",
    f"{_INA3221}/in2_label": b"VIN_SYS_5V0\n",
    f"{_INA3221}/in2_input": b"5000\n",
    f"{_INA3221}/curr2_input": b"80\n",
    "sys/bus/i2c/drivers/ina238/1-0044/hwmon/hwmon4/power1_input": b"12000000\n",
}
_OLD = {
    f"{_IIO}/rail_name_0": b"POM_5V_IN\n",
    f"{_IIO}/in_voltage0_input": b"5008\n",
    f"{_IIO}/in_current0_input": b"312\n",
    f"{_IIO}/rail_name_1": b"NC\n",
}
_DOMAINS = {
    f"{_RAPL}/name": b"package-0\n",
    f"{_RAPL}/max_energy_range_uj": b"262143328850\n",
    f"{_RAPL}/energy_uj": b"262143328800\n",
    "sys/class/powercap/intel-rapl:0:0/name": b"core\n",
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": b"262143328850\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": b"100\n",
}
_STATE = {
    f"{_THERMAL}/thermal_zone0/type": b"cpu-thermal\n",
    f"{_THERMAL}/thermal_zone0/temp": b"48531\n",
    f"{_THERMAL}/cooling_device0/type": b"pwm-fan\n",
    f"{_THERMAL}/cooling_device0/cur_state": b"1\n",
    f"{_THERMAL}/cooling_device1/type": b"gpu-throttle-alert\n",
    f"{_THERMAL}/cooling_device1/cur_state": b"0\n",
    f"{_CPU}/cpufreq/scaling_cur_freq": b"729600\n",
    f"{_CPU}/cpufreq/scaling_min_freq": b"729600\n",
    f"{_CPU}/cpufreq/scaling_max_freq": b"1510400\n",
    f"{_CPU}/cpufreq/scaling_governor": b"schedutil\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": b"306000000\n",
    "sys/class/hwmon/hwmon2/name": b"soctherm_oc\n",
    "sys/class/hwmon/hwmon2/oc3_event_cnt": b"4\n",
    "sys/class/hwmon/hwmon2/curr1_max_alarm": b"0\n",
    "proc/loadavg": b"0.52 0.58 0.59 2/389 4711\n",
    "var/lib/nvpmodel/status": b"pmode:0002\n",
    "etc/nvpmodel.conf": b"< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=25W >\n",
}
_IDENTITY = {
    "proc/device-tree/model": b"NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": b"nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
    "proc/cpuinfo": b"processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n\n"
    b"model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\n",
    "proc/meminfo": b"MemTotal:        7802112 kB\nMemFree:  1 kB\n",
    "etc/nv_tegra_release": b"# R36 (release), REVISION: 3.0, GCID: 1, BOARD: generic\n",
    "etc/os-release": b'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n',
    "proc/driver/nvidia/version": b"NVRM version: NVIDIA UNIX Kernel Module  540.2.0 Release\n",
    "proc/driver/nvidia/gpus/0/information": b"Model: \t\t NVIDIA H200\nIRQ: 1\n",
    "proc/sys/kernel/arch": b"aarch64\n",
    f"{_CPU}/cpufreq/cpuinfo_max_freq": b"1510400\n",
    "var/lib/nvpmodel/status": b"pmode:0002\n",
}


_NVPMODEL = (_STATE["etc/nvpmodel.conf"], b"NV Power Mode: 15W\n2\n")


def _plant(name: str, files: Mapping[str, bytes], data: bytes, directory: Path) -> Path:
    """Write the parts of an input as the files of a fake machine, and return its root."""
    root = directory / name
    for path, content in zip(files, parts(data, len(files)), strict=True):
        file = root / path
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
        file.write_bytes(content)
    return root


def _seed(files: Mapping[str, bytes]) -> tuple[bytes, ...]:
    return (SEPARATOR.join(files.values()),)


def _monitors(name: str, files: Mapping[str, bytes], data: bytes, directory: Path) -> None:
    root = _plant(name, files, data, directory)
    sensor = ina3221.find(Request(sysfs_root=root))
    arguments: Any = sensor.arguments
    json.dumps([arguments, sensor.description, sensor.rails]).encode()
    assert set(sensor.total_rails) <= set(sensor.rails)
    with closing(FileReader(**arguments)) as reader:
        for _ in range(2):
            watts = reader.read()
            assert watts is not None
            assert all(map(math.isfinite, watts))
            reader.hasten()


class _Clock:
    """Time that passes only when somebody sleeps; the counters count with it."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._now = 0.0
        self._files = files

    def monotonic(self) -> float:
        self._now += 0.02
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        for file in self._files:
            text = file.read_bytes().strip()
            if text.isdigit() and len(text) < 30:
                file.write_bytes(b"%d" % (int(text) + 100))


def _rapl(data: bytes, directory: Path) -> None:
    root = _plant("rapl", _DOMAINS, data, directory)
    clock = _Clock([root / path for path in _DOMAINS if path.endswith("energy_uj")])
    with mock.patch.object(rapl, "time", clock), mock.patch.object(sysfs, "time", clock):
        sensor = rapl.find(Request(sysfs_root=root))
        json.dumps(sensor.rails).encode()
        arguments: Any = sensor.arguments
        reader = RaplReader(**arguments)
        for _ in range(2):
            joules = reader.read()
            assert joules is not None
            assert all(map(math.isfinite, joules))
            clock.sleep(0.1)


def _state(data: bytes, directory: Path) -> None:
    root = _plant("state", _STATE, data, directory)
    state = read_state(root=root)
    figures = [*state.temperatures_c.values(), *(state.load_average or ())]
    figures += [one for pair in state.clock_limits_hz.values() for one in pair]
    assert all(map(math.isfinite, figures))
    assert throttled(state, state) is not None or max(state.limits.values(), default=0) <= 0
    " ".join(limits_raised(limiting_files(root))).encode()


def _identity(data: bytes, directory: Path) -> None:
    profile = identify(root=_plant("identity", _IDENTITY, data, directory))
    "".join([*profile.fields.values(), *profile.facts.values()]).encode()
    assert profile.id.isascii()
    assert "/" not in profile.id


def _modes(data: bytes, directory: Path) -> None:
    text = data.decode(errors="replace")
    for number, name in [*modes_in(text).items(), *filter(None, [mode_in(text)])]:
        assert number >= 0
        assert name


def _leftover(data: bytes, directory: Path) -> None:
    note = as_file("power-mode.json", data, directory)
    with mock.patch.object(modes, "note_path", return_value=note):
        modes.restore_leftover()


def _jtop(data: bytes, directory: Path) -> None:
    try:
        power = json.loads(data)
    except (ValueError, RecursionError):
        return  # the service sends Python's own objects: what is none of them cannot come
    client = SimpleNamespace(
        start=lambda: None, ok=lambda **_spin: True, close=lambda: None, power=power, uptime=1.0
    )
    module = SimpleNamespace(jtop=lambda **_interval: client, JtopException=OSError)
    sensor = jtop.sensor_of(jtop.watts_in(power), Request())
    json.dumps(sensor.rails)
    with mock.patch.dict(sys.modules, {"jtop": module}):
        watts = jtop.JtopReader(sensor.rails, sensor.total_rails).read()
    assert watts is not None
    assert all(map(math.isfinite, watts))


def _rails(*names: str) -> dict[str, dict[str, object]]:
    return {
        name: {"volt": 5000, "curr": 200, "power": 1000, "online": True, "avg": 1} for name in names
    }


def _jtop_seeds() -> tuple[bytes, ...]:
    nano = {
        "rail": _rails("VDD_CPU_GPU_CV", "VDD_SOC"),
        "tot": {"name": "VDD_IN", "volt": 5000, "power": 5000, "avg": 3},
    }
    agx = {"rail": _rails("VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0"), "tot": {"power": 1}}
    return tuple(json.dumps(power).encode() for power in (nano, agx))


_ABOUT = {
    "format": 1, "meter": "ina3221", "description": "Orin Nano", "rails": ["VDD_IN", "VDD_SOC"],
    "total_rails": ["VDD_IN"], "gpu_rails": [], "kind": "power", "estimated": False,
    "label": "3D_fp32_0_batchd-b8-c4",
}  # fmt: skip


def _trace_arrays(kind: str) -> dict[str, Any]:
    return {
        "times_ns": np.arange(8, dtype=np.int64) * 10_000_000 + 1_000,
        "values": np.arange(16, dtype=np.float64).reshape(8, 2),
        "edges_ns": np.array([1_000, 50_000_000], dtype=np.int64),
        "about": np.array(json.dumps({**_ABOUT, "kind": kind})),
    }


def _replay(data: bytes, directory: Path) -> None:
    path = as_file("cell.power.npz", data, directory)
    meter = open_replay(Request(argument=str(path)))
    meter.description.encode()
    assert 0 <= meter.update_period_s < math.inf
    meter.start()
    trace = meter._recording.trace
    first, last = int(trace.times_ns[0]), int(trace.times_ns[-1])
    with suppress(MeterError):  # it may not cover that
        assert not math.isnan(integrate(trace, first, last).total_j(trace.rails))


def _replay_members(data: bytes, directory: Path) -> None:
    """The same with whole archives: only what is in them is damaged, their sums are right."""
    _replay(archive_of(("times_ns", "values", "edges_ns", "about"), data), directory)


def archive_of(names: Sequence[str], data: bytes) -> bytes:
    """Pack the parts of an input as the members of an .npz file."""

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, parts(data, len(names)), strict=True):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content)
    return packed.getvalue()


def array_bytes(array: Any) -> bytes:
    """Return an array as the bytes of an .npy file."""
    packed = io.BytesIO()
    np.save(packed, array, allow_pickle=True)
    return packed.getvalue()


def _replay_seeds() -> tuple[bytes, ...]:
    found = []
    for kind in ("power", "energy"):
        packed = io.BytesIO()
        np.savez(packed, **_trace_arrays(kind))
        found.append(packed.getvalue())
    return tuple(found)


def _member_seeds() -> tuple[bytes, ...]:
    return tuple(
        SEPARATOR.join(array_bytes(array) for array in _trace_arrays(kind).values())
        for kind in ("power", "energy")
    )


def _log(data: bytes, directory: Path) -> None:
    """Import a power log; what comes of it can be kept, read again, and integrated."""
    log, detail = parts(data, 2)
    found = imported(
        log.decode("utf-8-sig", "replace"), "a log", detail=detail.decode("utf-8", "replace")
    )
    kept = load(save(directory, found))
    assert kept.about == found.about
    first, last = int(kept.edges_ns[0]), int(kept.edges_ns[-1])
    with suppress(MeterError):  # it may not cover that
        assert not math.isnan(integrate(kept.trace, first, last).total_j(kept.about.total_rails))


_LOGS = (
    b"""11-30-2026 10:00:00 RAM 1/7 CPU [1%@729] VDD_IN 3490mW/3490mW VDD_SOC 900mW/900mW
11-30-2026 10:00:02 RAM 1/7 CPU [1%@729] VDD_IN 3590mW/3500mW VDD_SOC 910mW/900mW
""",
    b"RAM 1/7 POM_5V_IN 3490/3490\nRAM 1/7 POM_5V_IN 3500/3490\n",
    b"""Time,08-25-2021 14:25:20.123,Watts,21.95,Volts,230.1,Amps,0.1
Time,08-25-2021 14:25:21.123,Watts,22.95,Volts,230.1,Amps,0.1
Time,08-25-2021 14:25:22.123,Watts,20.95,Volts,230.1,Amps,0.1

%%
:::MLLOG {"key": "power_begin", "value": "08-25-2021 14:25:20.500"}
:::MLLOG {"key": "power_end", "value": "08-25-2021 14:25:21.500"}
""",
    b"time,VDD_IN [mW],power_w\n0,3490,1.5\n1.5,3500,1.25\n3,3500,1e0\n",
    b"date,volts,amperes\n2026-11-30T10:00:00+01:00,5,1\n2026-11-30T10:00:01+01:00,5,1.5\n",
    b'time,Power VDD_IN,Power TOT\n"2026-11-30 10:00:00.5",1000,1\n"2026-11-30 10:00:01.5",2,3\n',
)

_METER = (MeterError, ConfigurationError)

TARGETS = (
    Target(
        "ina3221", partial(_monitors, "hwmon", _HWMON), partial(_seed, _HWMON), TEXT, weight=0.4
    ),
    Target("ina3221-iio", partial(_monitors, "iio", _OLD), partial(_seed, _OLD), TEXT, weight=0.4),
    Target("rapl", _rapl, partial(_seed, _DOMAINS), TEXT, errors=_METER, weight=0.4),
    Target("device-state", _state, partial(_seed, _STATE), TEXT, weight=0.25),
    Target("device-identity", _identity, partial(_seed, _IDENTITY), TEXT, weight=0.25),
    Target(
        "nvpmodel",
        _modes,
        lambda: (_STATE["etc/nvpmodel.conf"], b"NV Power Mode: 15W\n2\n"),
        TEXT,
        weight=0.5,
    ),
    Target(
        "nvpmodel-note",
        _leftover,
        lambda: (b'{"mode": 2, "name": "15W"}',),
        JSON,
        errors=(GaitperfError,),
        weight=0.5,
    ),
    Target("jtop", _jtop, _jtop_seeds, JSON, errors=_METER),
    Target("trace", _replay, _replay_seeds, BYTES, "cell.power.npz", _METER),
    Target("power-log", _log, lambda: _LOGS, TEXT, "a log", _METER),
    Target("trace-members", _replay_members, _member_seeds, BYTES, "cell.power.npz", _METER),
)
