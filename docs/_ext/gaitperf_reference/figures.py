"""The figures: from the JSON files that the benchmarks and campaigns keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_KEPT = Path(__file__).parents[3] / "benchmarks" / "figures"


def figures() -> str:
    """Return a section for each file."""
    return f"{_stored()}\n{_paired()}\n{_creep()}\n{_planted()}\n{_gpu()}\n{_faults()}"


def _stored() -> str:
    cases = _cases("stored_truth")
    rows = [
        (
            one["name"],
            one["host"],
            f"{one['change']:+.0%}",
            f"{one['sessions']}",
            _counts(run["came"] for run in one["runs"]),
            f"{max(run['seconds'] for run in one['runs']):.0f} s",
        )
        for one in cases
    ]
    return (
        "## Stored gate\n\n"
        "Models of known difference on a real Triton, 12 cells, judged against stored sessions, on "
        "some machines by earlier weights. `tail`: one request in fifty takes five times the work. "
        "`record-*`: recording beside a spinning process, or a server stopped for 2 s.\n\n"
        + _table(("case", "machine", "truth", "sessions", "outcomes", "longest"), rows)
    )


def _paired() -> str:
    rows = [
        (
            one["name"],
            one["host"],
            f"{one['change']:+.0%}",
            f"{one['tolerance']:.0%}",
            f"{sum(run['spinner'] for run in one['runs'])} of {len(one['runs'])}",
            _counts(run["came"] for run in one["runs"]),
        )
        for one in _cases("paired_truth")
    ]
    head = ("case", "machine", "truth", "tolerance", "beside a spinning process", "verdicts")
    return "## Paired gate\n\nTwo models of known difference on a real Triton.\n\n" + _table(
        head, rows
    )


def _creep() -> str:
    counts = json.loads((_KEPT / "creep.json").read_text(encoding="utf-8"))
    rows = [
        (name, f"{one['hits']} of {one['lives']}", _interval(one["hits"], one["lives"]))
        for name, one in counts.items()
    ]
    return (
        "## Creep\n\n"
        "Simulated: a full baseline, then one session after another, recorded where admitted; one "
        "model of three creeps in three metrics. With creep: red before it is 5 % slower (SD 1 %) "
        "or 10 % slower (SD 3 %). Without: red within 52 sessions. Counted before the last change "
        "of the prior of a noisier cell.\n\n" + _table(("case", "red", "interval"), rows)
    )


def _planted() -> str:
    rows = [
        (
            one["name"],
            one["host"],
            one["quantity"] or "none",
            f"{sum(run['right'] for run in one['runs'])} of {len(one['runs'])}",
            _counts(run["outcome"] for run in one["runs"]),
        )
        for one in _cases("planted_faults")
    ]
    return (
        "## Planted faults\n\n"
        "Models in Python on a real Triton, gated against recorded sessions. *Right*: exactly "
        "the test of the fault's quantity was red; beside a neighbour no test of the model alone; "
        "with none, no test.\n\n"
        + _table(("case", "machine", "red is to be", "right", "outcomes"), rows)
    )


def _gpu() -> str:
    seen = json.loads((_KEPT / "gpu_seen.json").read_text(encoding="utf-8"))
    own, smi = seen["memory_mib"]
    rows = [
        ("peak memory of the model", f"{own:.0f} MiB", f"{smi:.0f} MiB"),
        *((f"busy in {cell}", f"{own:.1%}", f"{smi:.1%}") for cell, own, smi in seen["busy"]),
    ]
    return (
        "## GPU\n\n"
        "The 3D network in half precision on an H200, one run, beside nvidia-smi.\n\n"
        + _table(("what", "here", "nvidia-smi"), rows)
    )


def _faults() -> str:
    counts = json.loads((_KEPT / "faults.json").read_text(encoding="utf-8"))
    rows = [
        (
            name,
            str(len(one["injected"])),
            str(len(one["injected"]) - len(one["undetected"])),
            str(len(one["injected"]) - len(one["unclean"])),
            f"{one['worst_s']:.1f} s",
        )
        for name, one in counts.items()
    ]
    total = sum(len(one["injected"]) for one in counts.values())
    return (
        "## Faults\n\n"
        f"{total} faults, each in a run of its own on a real Triton, three at a time on two busy "
        "cores. *Detected*: the run ended in time with the right exit code and words. *Clean*: "
        "nothing was left, baselines whole.\n\n"
        + _table(("fault", "injected", "detected", "clean", "longest until the end"), rows)
    )


def _cases(name: str) -> list[dict[str, Any]]:
    text = (_KEPT / f"{name}.json").read_text(encoding="utf-8")
    return [case for case in json.loads(text)["cases"] if case["runs"]]


def _counts(words: Iterable[str]) -> str:
    found = list(words)
    return ", ".join(f"{found.count(word)} {word}" for word in sorted(set(found)))


def _interval(hits: int, trials: int) -> str:
    found = binomtest(hits, trials).proportion_ci()
    return f"{found.low:.1%} to {found.high:.1%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(" | ".join(cells) for cells in lines) + "\n"
