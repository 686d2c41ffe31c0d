"""What a paired run found: the candidate's measurement, and a verdict for each metric. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import MeasurementError
from pytest_gaitperf.measure.evaluation import QUANTILES
from pytest_gaitperf.measure.timeline import distribution
from pytest_gaitperf.measure.turns import seconds_per_request, settled_latencies
from pytest_gaitperf.measure.validity import LATE_S, LATE_SHARE_OF_GAP, MOST_LATE, SATURATED
from pytest_gaitperf.measurement import Measurement
from pytest_gaitperf.metrics import METRICS, Estimate
from pytest_gaitperf.results import Verdict, VerdictKind
from pytest_gaitperf.stats import log_spread, minimum_count, quantile_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from pytest_gaitperf.gate.pairing import Effect
    from pytest_gaitperf.measure.pairs import PairedRun, Side

_SHARED_CPU = "two models share the server, and its CPU time cannot be split between them"


def measurement(run: PairedRun) -> Measurement:
    """Return what was measured of the candidate, over all of its turns together.

    Its intervals are those of its own requests; how sure the comparison is, the verdicts tell.
    Raises MeasurementError when no turn had an answer.
    """
    side = run.candidate
    batch = side.workload.batch_size
    metrics, absent = _values(side, run.energy[0])
    if not metrics:
        raise MeasurementError("; ".join(_faults(run)) or "no request was answered")
    if "energy_per_inference" not in metrics:
        absent |= dict.fromkeys(
            ("energy_per_inference", "power_mean"), run.absent.get("energy_per_inference", "")
        )
    absent |= {name: reason for name, reason in run.absent.items() if name not in metrics}
    rates = [batch / seconds_per_request(turn) for turn in side.turns if turn.requests]
    busy_s = sum(record.drained_ns - record.first_send_ns for record in side.records) / 1e9
    client_s = sum(record.client_cpu_ns for record in side.records) / 1e9
    requests = sum(record.requests for record in side.records)
    assert side.sent is not None  # noqa: S101 - a run that ended has it
    power = run.power
    return Measurement(
        metrics=metrics,
        spread={"throughput": log_spread(rates)},
        spread_windows={"throughput": len(rates)},
        windows=len(side.turns),
        window_s=run.turn_s,
        duration_s=busy_s,
        requests=requests,
        failures=side.failures,
        client_cpu_per_request_us=client_s / max(requests, 1) * 1e6,
        client_load=client_s / busy_s if busy_s else 0.0,
        time_split_s=side.sent.parts_s(),
        rails_j={},
        energy_rails=power.rails if power is not None else (),
        energy_estimated=power is not None and power.estimated,
        absent=absent,
        notes=(),
        invalid="; ".join(_faults(run)) or None,
        inferences=float(requests * batch),
        energy_failed=power is not None and power.failed,
        energy_error=None,
        energy_note=None,
        data=run.data,
        latencies=distribution(_latencies(side)),
    )


def verdicts(run: PairedRun, tolerance: Callable[[str], float]) -> dict[str, Verdict]:
    """Return the verdict on each metric that was compared, by name."""
    faults = "; ".join(_faults(run))
    candidate, _ = _values(run.candidate, run.energy[0])
    reference, _ = _values(run.reference, run.energy[1])
    found = {}
    for metric, effect in run.effects.items():
        now, before = candidate.get(metric), reference.get(metric)
        if now is None or before is None:
            continue
        if faults:
            found[metric] = Verdict(metric, VerdictKind.INCOMPARABLE, faults, now=now.value)
            continue
        found[metric] = _verdict(
            metric, effect, now.value, before.value, tolerance(metric), run.short.get(metric)
        )
    return found


def _latencies(side: Side) -> npt.NDArray[np.float64]:
    """Return the latencies of all turns of one side, sorted, in seconds."""
    parts = [settled_latencies(turn) for turn in side.turns if turn.requests]
    return np.sort(np.concatenate(parts))


def _values(
    side: Side, energy: list[tuple[float, float]]
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Return the estimates of one side, and why there are no others."""
    metrics: dict[str, Estimate] = {}
    absent = {"server_cpu_per_inference": _SHARED_CPU}

    def add(name: str, value: float, interval: tuple[float, float] | None = None) -> None:
        low, high = interval if interval is not None else (None, None)
        metrics[name] = Estimate(METRICS[name].unit, value, low, high)

    turns = [turn for turn in side.turns if turn.requests]
    if not turns:
        return metrics, absent
    batch = side.workload.batch_size
    requests = sum(turn.requests for turn in turns)
    add("throughput", batch * requests / sum(seconds_per_request(t) * t.requests for t in turns))
    latencies = _latencies(side)
    add("latency_mean", float(latencies.mean()))
    for name, quantile in QUANTILES.items():
        interval = quantile_interval(latencies, quantile)
        # The median is compared pair by pair, however few requests there are.
        if interval is None and name != "latency_p50":
            absent[name] = f"{len(latencies)} requests, {minimum_count(quantile)} are needed"
        else:
            add(name, float(np.quantile(latencies, quantile)), interval)
    if energy:
        joules, done = (math.fsum(column) for column in zip(*energy, strict=True))
        seconds = math.fsum((turn.end_ns - turn.start_ns) / 1e9 for turn in side.long_turns)
        add("energy_per_inference", joules / done / batch)
        add("power_mean", joules / seconds)
    return metrics, absent


def _faults(run: PairedRun) -> list[str]:
    """Say what makes the run unfit to be judged."""
    faults = []
    for name, side in (("candidate", run.candidate), ("reference", run.reference)):
        records = [side.warm_up, *side.records]
        batch = side.workload.batch_size
        expected = sum(record.requests for record in records) * batch
        assert side.sent is not None  # noqa: S101 - a run that ended has it
        counted = side.sent.inference_count
        if side.failures:
            reasons = dict.fromkeys(why for record in records for why in record.failure_reasons)
            faults.append(f"{side.failures} requests of the {name} failed: {'; '.join(reasons)}")
        elif counted != expected:
            faults.append(
                f"the server counted {counted} inferences of the {name}, {expected} were ours: "
                "another client uses it, or a cache or a proxy answers in its place"
            )
        busy_ns = sum(record.drained_ns - record.first_send_ns for record in side.records)
        client_ns = sum(record.client_cpu_ns for record in side.records)
        if client_ns > SATURATED * busy_ns:
            faults.append(
                f"the client was busy {client_ns / max(busy_ns, 1):.0%} of the {name}'s time: it, "
                "not the server, set the pace; use fewer, larger requests"
            )
        late, sent = _late_sends(side)
        if late > MOST_LATE * sent:
            faults.append(
                f"the client sent {late} of {sent} requests of the {name} late: it could not keep "
                "the schedule; lower the rate, or free the machine"
            )
    if run.throttled:
        faults.append(run.throttled)
    return faults


def _late_sends(side: Side) -> tuple[int, int]:
    """Return how many requests of an open loop were sent too late, and how many there were."""
    if not side.workload.sends_per_s:
        return 0, 0
    delays = np.concatenate([np.frombuffer(r.delays_ns, dtype=np.int64) for r in side.records])
    limit_s = max(LATE_S, LATE_SHARE_OF_GAP / side.workload.sends_per_s)
    return int((delays > limit_s * 1e9).sum()), len(delays)


_STATES = {
    "regressed": VerdictKind.REGRESSED,
    "improved": VerdictKind.IMPROVED,
    "unchanged": VerdictKind.PASS,
    None: VerdictKind.INCONCLUSIVE,
}


def _verdict(  # noqa: PLR0917 - one caller
    metric: str,
    effect: Effect,
    now: float,
    reference: float,
    tolerance: float,
    short: str | None,
) -> Verdict:
    """Turn an effect, which is positive for the worse, into a verdict on the metric's own scale."""
    sign = METRICS[metric].worse_sign
    change, least, most = (
        math.expm1(sign * end) for end in (effect.change, effect.low, effect.high)
    )
    state = _STATES[effect.finding]
    if effect.finding is None and effect.high < math.log1p(tolerance):
        state = (
            VerdictKind.PASS
        )  # better, by more than the tolerance perhaps: the budget did not tell
    unit = METRICS[metric]
    shown, beside = (f"{value * unit.scale:.4g}" for value in (now, reference))
    known = f"tolerance {tolerance:.1%}, {effect.pairs} pairs"
    reason = {
        VerdictKind.REGRESSED: f"{least:+.1%} or worse ({known})",
        VerdictKind.IMPROVED: f"{most:+.1%} or better ({known})",
        VerdictKind.PASS: f"{most:+.1%} at worst ({known})",
        VerdictKind.INCONCLUSIVE: f"undecided: {short}"
        if short is not None
        else f"undecided, {most:+.1%} at worst ({known}): raise --gaitperf-budget",
    }[state]
    low, high = (
        end if math.isfinite(end) and end > -1 else None
        for end in ((most, least) if sign < 0 else (least, most))
    )
    return Verdict(
        metric,
        state,
        f"{shown} {unit.display_unit} beside the reference's {beside}: {change:+.1%} pair by pair, "
        + reason,
        baseline=reference,
        now=now,
        change=change,
        low=low,
        high=high,
        pairs=effect.pairs,
    )
