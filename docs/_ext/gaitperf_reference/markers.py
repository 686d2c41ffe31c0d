"""The marker: as ``pytest --markers`` tells of it, and what each argument holds."""

from __future__ import annotations

import dataclasses

from pytest_gaitperf import plugin
from pytest_gaitperf.config.grid import Grid
from pytest_gaitperf.config.marker import MARKER_KEYS

_HOLDS = {
    "models": 'names or patterns, such as `["3D*", "resnet50"]`; a single one need not be a list',
    "batch_sizes": "samples in a request",
    "concurrencies": "closed loop: requests in flight",
    "request_rates": "open loop: requests per second",
    "subjects": "open loop: people, each of `frame_rate` inferences per second",
    "most_subjects": "search for the most people that are served",
    "best_under": 'search for the highest rate whose percentile is in time: `"p99 <= 40 ms"`',
    "trace": "path of a file with arrival times, to be replayed",
    "sustained": 'how long each load is kept up: `"30 min"`, `"90 s"`, `"2 h"`',
    "think_time": 'of `concurrencies`: what each client waits after an answer: `"20 ms"`',
    "speed": "of `trace`: so many times as fast",
    "sequence_length": "requests in a sequence of a stateful model: `20`, or `[lowest, highest]`",
    "sequences": "sequences under way at once at a request rate",
    "streaming": "all requests through gRPC streams, not only those of decoupled models",
    "arrival": "of `request_rates`: `constant` or `poisson`",
    "frame_rate": "frames per second of a subject",
    "deadline": 'time within which a search counts a request, and goodput: `"20 ms"`',
    "percentile": "of a search: so many in a hundred are within the deadline",
    "protocol": "`http` or `grpc`",
    "transport": "`inline` or `shm` (system shared memory)",
    "shapes": "list of the shapes of a model's only input, or `{MODEL: {TENSOR: [shape, ...]}}`",
    "ranges": "`{MODEL: {TENSOR: [low, high]}}` of random data",
    "accuracy": '`{MODEL: {"reference": MODEL}}`: what outputs are compared with, and labels',
    "beside": '`{MODEL: "25/s b4 within 40 ms"}`, or a list of these: neighbours kept at a rate',
    "quantity": "only the cells that have this quantity, such as `answers`",
    "tolerance": 'the change that does not matter, such as `"5%"`',
    "tolerances": 'the same by metric: `{"latency_p99": "10%"}`',
    "must_hear": 'the change that may not go unheard, such as `"25%"`, or a table by metric',
    "limits": 'requirements: `["latency_p99 <= 40 ms"]`',
}


def markers() -> str:
    """Return the marker's description and a table of its arguments."""
    signature, _, told = plugin._MARKER.partition("): ")  # noqa: SLF001 - what pytest --markers shows
    fields = {field.name: field for field in dataclasses.fields(Grid)}
    rows = [f"| `{key}` | {_HOLDS[key]} | {_default(fields, key)} |" for key in MARKER_KEYS]
    return (
        f"## `gaitperf`\n\n`@pytest.mark.{signature})`: {told}.\n\n"
        "| argument | holds | default |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _default(fields: dict[str, dataclasses.Field[object]], key: str) -> str:
    if key not in fields:
        return "that of the options"
    value = fields[key].default
    if value in (None, dataclasses.MISSING, (), ((),)):
        return ""
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"`{shown}`"
