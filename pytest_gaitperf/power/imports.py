"""Power logs of other programs, as recordings: ``gaitperf power import``.

- tegrastats: ``... VDD_IN 3490mW/3490mW`` (release 39: three values) or, before JetPack 5,
  ``VDD_IN 3490/3490``, each line a reading, in milliwatts; newer ones begin with a date of whole
  seconds.
- MLPerf's power log ``spl.txt``: ``Time,08-25-2021 14:25:20.123,Watts,21.95,Volts,...``; the detail
  log's ``power_begin`` and ``power_end`` give the measured window.
- CSV with a line of names: a time (seconds, or a date), and for each rail watts or milliwatts
  (``VDD_IN [mW]``, ``power_w``), or volts and amperes; jtop's log with its ``Power VDD_IN`` in mW.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import datetime, timezone

import numpy as np

from pytest_gaitperf.errors import ConfigurationError, GaitperfError, MeterError
from pytest_gaitperf.power.sensor import chosen_rails, module_rails
from pytest_gaitperf.power.trace import About, Recording, Trace, check

_DATE = r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d(?:\.\d{1,6})?"
_TEGRA_RAIL = re.compile(  # NC is a channel that nothing is connected to
    r"\b(?!NC )([A-Z][A-Z0-9_]*) (\d{1,7})(?:mW)?(?:/\d{1,7}(?:mW)?){1,2}(?= |$)"
)
_SPL = re.compile(rf"Time,({_DATE}),Watts,(-?[\d.]{{1,20}}),")
_MARK = re.compile(r'"key": "power_(begin|end)", "value": "([^"]+)"')
_UNITS = {"mw": 1e-3, "w": 1.0, "watts": 1.0, "watt": 1.0, "milliwatts": 1e-3}
_VOLTS, _AMPERES = ("v", "volts", "voltage"), ("a", "amps", "amperes", "current")
_FEWEST = 2
_ROUNDED_S = 1.5
"""Dates of whole seconds, and readings that are not quite regular, are off by so much."""
_LATEST_S = 4e9
"""Seconds since 1970 until 2096; differences of them fit 64 bits in nanoseconds."""

Rows = tuple[list[float], dict[str, list[float]]]


def imported(
    text: str, label: str, rails: tuple[str, ...] = (), *, detail: str = "", interval_s: float = 1.0
) -> Recording:
    """Turn a log into a recording that begins at 0.

    ``rails`` are the total's instead of the module's rule. ``detail`` is MLPerf's detail log.
    ``interval_s`` is the time between two readings of a log that has no dates.

    Raises ConfigurationError: the log is of no known format, has too few readings, lacks a rail, or
    has a value that no sensor gives.
    """
    try:
        recording = _recording(text, label, rails, detail, interval_s)
        check(recording)
    except (ValueError, csv.Error, GaitperfError) as error:
        why = str(error).replace("--power-rails", "--rails")
        raise ConfigurationError(f"{label}: {why}") from error
    return recording


def _recording(
    text: str, label: str, rails: tuple[str, ...], detail: str, interval_s: float
) -> Recording:
    kinds = {"MLPerf's power log": _spl, "tegrastats": _tegrastats, "CSV": _csv}
    read = ((kind, rows) for kind, one in kinds.items() if (rows := one(text, interval_s)))
    kind, found = next(read, ("", None))
    if found is None:
        raise ValueError("it is no log of tegrastats, MLPerf or CSV with a time")
    times_s, watts = np.array(found[0]), found[1]
    if not np.all(np.abs(times_s) < _LATEST_S):  # infinite ones, and nan, are not
        raise ValueError(f"a time is no number of seconds below {_LATEST_S:g}")
    if times_s.size < _FEWEST or times_s[0] >= times_s[-1]:
        raise ValueError(f"its {times_s.size} readings do not follow each other")
    names = tuple(watts)
    try:
        total, gpu = module_rails(names, rails)[1:3]
    except MeterError:
        if len(names) > 1:
            raise
        total, gpu = chosen_rails(rails, names) or names, ()
    edges = [_seconds(date) for _, date in _MARK.findall(detail)] or [times_s[0], times_s[-1]]
    if len(edges) < _FEWEST or not times_s[0] <= min(edges) <= max(edges) <= times_s[-1]:
        raise ValueError("the detail log's window is not within the power log")

    times_ns, edges_ns = (
        np.round((np.array(seconds) - times_s[0]) * 1e9).astype(np.int64)
        for seconds in (times_s, edges)
    )
    about = About(
        meter="import",
        description=f"imported from {kind}",
        rails=names,
        total_rails=total,
        gpu_rails=gpu,
        kind="power",
        estimated=False,
        label=label,
    )
    values = np.column_stack(list(watts.values()))
    return Recording(Trace(names, times_ns, values, "power"), edges_ns, about)


def _seconds(date: str) -> float:
    """Return a date in seconds; dates without a zone are taken as those of one."""
    for form in ("%m-%d-%Y %H:%M:%S.%f", "%m-%d-%Y %H:%M:%S"):
        try:
            return datetime.strptime(date, form).replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            continue
    try:
        when = datetime.fromisoformat(date)
    except ValueError as error:
        raise ValueError(f"{date!r:.60} is no date") from error
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def _spl(text: str, _interval_s: float) -> Rows | None:
    found = _SPL.findall(text)
    if not found:
        return None
    return [_seconds(date) for date, _ in found], {"IN": [float(watts) for _, watts in found]}


def _tegrastats(text: str, interval_s: float) -> Rows | None:
    lines = [line for line in text.splitlines() if _TEGRA_RAIL.search(line)]
    rows = [dict(_TEGRA_RAIL.findall(line)) for line in lines]
    rows = [row for row in rows if row.keys() == rows[0].keys()]
    if not rows or len(rows) < len(lines):
        return None
    dates = [found[0] for line in lines if (found := re.match(_DATE, line))]
    if len(dates) == len(lines) > 1:
        times = _finer([_seconds(date) for date in dates])
    else:
        times = [interval_s * number for number in range(len(rows))]
    return times, {rail: [int(row[rail]) * 1e-3 for row in rows] for rail in rows[0]}


def _finer(seconds: list[float]) -> list[float]:
    """Return times for dates of whole seconds: the readings are evenly spaced, but for pauses."""
    count, span_s = len(seconds) - 1, seconds[-1] - seconds[0]
    even = [seconds[0] + span_s * number / count for number in range(count + 1)]
    if max(abs(one - other) for one, other in zip(even, seconds, strict=True)) <= _ROUNDED_S:
        return even
    known = Counter(seconds)
    seen: Counter[float] = Counter()
    found = []
    for one in seconds:
        found.append(one + seen[one] / known[one])
        seen[one] += 1
    return found


def _csv(text: str, _interval_s: float) -> Rows | None:
    table = list(csv.reader(text.splitlines()))
    if not table:
        return None
    names = [name.strip() for name in table[0]]
    times = [at for at, name in enumerate(names) if re.match(r"(time|date|t$)", name.lower())]
    rows = [row for row in table[1:] if len(row) == len(names)]
    if not times or not rows:
        return None
    columns: dict[str, list[float]] = {}
    volts: list[float] | None = None
    amperes: list[float] | None = None
    try:
        for at, name in enumerate(names):
            jtop = re.fullmatch(r"Power (\w+)", name)
            unit = re.split(r"[\s_\[(]+", name.lower().rstrip(")]"))[-1]
            scale = 1e-3 if jtop else _UNITS.get(unit)
            if scale is not None:
                rail = jtop[1] if jtop else re.sub(rf"(?i)[\s_\[(]*{unit}[\])]?$", "", name)
                columns[rail or name] = [float(row[at]) * scale for row in rows]
            elif unit in _VOLTS:
                volts = [float(row[at]) for row in rows]
            elif unit in _AMPERES:
                amperes = [float(row[at]) for row in rows]
    except ValueError:
        return None
    if not columns and volts is not None and amperes is not None:
        columns["IN"] = [one * other for one, other in zip(volts, amperes, strict=True)]
    columns.pop("TOT", None)  # jtop's sum, which is not always one
    if not columns:
        return None
    stamps = [row[times[0]] for row in rows]
    numbers = all(re.fullmatch(r"-?[\d.]{1,25}(e[+-]?\d{1,3})?", one) for one in stamps)
    return [float(one) if numbers else _seconds(one) for one in stamps], columns
