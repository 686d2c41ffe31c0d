"""Every option: its flag, its TOML key, and what reads its value (``values.py``).

The flag ``--gaitperf-budget`` is the key ``budget`` in the table ``[tool.gaitperf]`` of
``pyproject.toml``. Loaded at every start of pytest, so it must stay light: what the values become
together is in ``settings.py``.
"""

from __future__ import annotations

from pytest_gaitperf.config import values
from pytest_gaitperf.config.option import Option

DEFAULT_IMAGE = "nvcr.io/nvidia/tritonserver:24.01-py3-igpu"


OPTIONS: tuple[Option, ...] = (
    Option(
        "--triton",
        "where the server is: attach to --triton-url, start a local one, or docker; auto attaches "
        "when a URL is given or a Triton answers at 127.0.0.1:8000, else starts one (default: "
        "auto)",
        choices=("auto", "attach", "local", "docker"),
    ),
    Option(
        "--triton-url",
        "host:port of a running server's HTTP endpoint, or https://host:port/prefix, or "
        "unix:/path/to.sock; where no Triton answers there, that is an error (default: "
        "127.0.0.1:8000, if one runs there)",
        metavar="URL",
    ),
    Option(
        "--triton-grpc-port",
        "the gRPC port of the server at --triton-url (default: its HTTP port + 1; with https:// "
        "the same port)",
        values.as_port,
        "PORT",
    ),
    Option(
        "--triton-header",
        "send this header with every request to the server at --triton-url, such as "
        "'Authorization: Bearer TOKEN'; can be given several times; one that is a secret is better "
        "in the environment variable GAITPERF_TRITON_HEADER, one a line",
        values.as_header,
        "HEADER",
        repeated=True,
    ),
    Option(
        "--triton-ssl-ca",
        "the authorities that verify an https:// server, a PEM file (default: the system's)",
        values.as_path,
        "FILE",
    ),
    Option(
        "--triton-ssl-cert",
        "the certificate to show to an https:// server that asks for one, a PEM file",
        values.as_path,
        "FILE",
    ),
    Option(
        "--triton-ssl-key",
        "the key of --triton-ssl-cert, a PEM file (default: in the same file)",
        values.as_path,
        "FILE",
    ),
    Option(
        "--triton-ssl-no-verify",
        "do not verify who an https:// server is",
        switch=True,
    ),
    Option(
        "--triton-repository",
        "the model repository of a server that is started (default: model_repository)",
        values.as_path,
        "DIR",
    ),
    Option(
        "--triton-image",
        f"the container image for --triton=docker (default: {DEFAULT_IMAGE})",
        values.as_image,
        "IMAGE",
    ),
    Option(
        "--triton-timeout",
        "seconds until a started server must be ready (default: 120), and, where it is given, "
        "until the one at --triton-url must be",
        values.as_seconds,
        "S",
    ),
    Option(
        "--triton-load",
        "load these models (names, patterns) of an explicit server, and unload them after the run",
        values.as_names,
        "MODELS",
    ),
    Option(
        "--power",
        "the power meter: auto takes the first that reads a value; none; ina3221, jtop, nvml, "
        "nvml-power, rapl, replay:FILE, or estimate:WATTS (CPU seconds x watts per busy core: no "
        "sensor) (default: auto)",
        metavar="METER",
    ),
    Option(
        "--power-rails",
        "the rails that make up the total, comma-separated (default: the rule of the module)",
        values.as_names,
        "RAILS",
    ),
    Option(
        "--power-trace",
        "keep each cell's power readings in this directory, for --power=replay:FILE",
        values.as_path,
        "DIR",
    ),
    Option(
        "--gaitperf-grid",
        "batch sizes and concurrencies: quick (1 and 4), full (1, 4, 8, 12 ... 32), or a TOML "
        "file, which may also ask for input shapes, request rates and subjects (default: quick)",
        metavar="GRID",
    ),
    Option(
        "--gaitperf-models",
        "measure only the models that match one of these patterns, comma-separated; !PATTERN "
        "leaves models out; can be given several times",
        values.as_names,
        "PATTERNS",
        repeated=True,
    ),
    Option(
        "--gaitperf-protocol",
        "how the server is asked, where the grid does not say (default: http)",
        choices=("http", "grpc"),
    ),
    Option(
        "--gaitperf-transport",
        "how tensors travel, where the grid does not say: in the request (inline) or in system "
        "shared memory (shm) (default: inline)",
        choices=("inline", "shm"),
    ),
    Option(
        "--gaitperf-frame-rate",
        "inferences per second that one subject needs, where the grid does not say (default: 25)",
        values.as_frames,
        "FPS",
    ),
    Option(
        "--gaitperf-deadline",
        "the latency within which a subject counts as served, such as '20 ms', where the grid does "
        "not say (default: the time of one frame)",
        values.milliseconds,
        "TIME",
    ),
    Option(
        "--gaitperf-data",
        "what the requests carry: random (from a fixed seed), zeros, an .npz, .npy or JSON file "
        "(perf_analyzer's format), or a directory of them named by model (default: random)",
        values.as_data,
        "DATA",
    ),
    Option(
        "--gaitperf-precision",
        "stop measuring a cell when the 95 %% interval of its throughput (at a fixed rate: of its "
        "mean latency) is this narrow: relative half-width, such as 2%% or 0.02 (default: 2%%)",
        values.ratio,
        "RATIO",
    ),
    Option(
        "--gaitperf-disturbed",
        "measure a window again when others used more than this share of the CPUs that client and "
        "server may use; a cell without enough undisturbed windows is invalid; off: never "
        "(default: 5%%)",
        values.share_or_off,
        "RATIO",
    ),
    Option(
        "--gaitperf-budget",
        "seconds a cell may take, in all its lives together, warm-up included; only a cell too "
        "slow for six windows takes longer, at most three times (default: 6.5)",
        values.as_seconds,
        "S",
    ),
    Option(
        "--gaitperf-lives",
        "measure every cell in so many lives of the models' processes, which share its budget: "
        "between them the server is started anew, or, where this run did not start it, its models "
        "are unloaded and loaded; 1 leaves them alone (default: 3)",
        values.as_count,
        "N",
    ),
    Option(
        "--gaitperf-run-budget",
        "seconds the whole run may take: the time left is shared among the cells left, and cells "
        "that get too little are not measured (default: no limit)",
        values.as_seconds,
        "S",
    ),
    Option(
        "--gaitperf-cooldown",
        "before each cell, wait up to five minutes until the hottest sensor reads at most this, C",
        values.as_degrees,
        "C",
    ),
    Option(
        "--gaitperf-power-modes",
        "on a Jetson, run everything once under each of these nvpmodel modes, by number or name, "
        "comma-separated, or all, each with baselines and results of its own, and restore the mode",
        values.as_names,
        "MODES",
    ),
    Option(
        "--gaitperf-gpu-clocks",
        "on a Jetson, run everything once with the GPU at each of these clocks in MHz, or all that "
        "it lists, in each power mode, and restore them",
        values.as_clocks,
        "MHZ",
    ),
    Option(
        "--gaitperf-emc-clocks",
        "the same for the memory's clock (EMC)",
        values.as_clocks,
        "MHZ",
    ),
    Option(
        "--gaitperf-lock",
        "where another run measures this device: wait for its end (30 minutes at most), refuse, or "
        "off, which measures beside it (default: wait)",
        choices=("wait", "refuse", "off"),
    ),
    Option(
        "--gaitperf-update",
        "record this session in the baselines, if nothing fails: missing (cells that have none), "
        "all (every measured cell) (default: none)",
        choices=("none", "missing", "all"),
    ),
    Option(
        "--gaitperf-sessions",
        "with --gaitperf-update, measure the cells to be recorded this many times: each time is a "
        "session of its own, on a server started anew where it is ours (default: 1)",
        values.as_count,
        "N",
    ),
    Option(
        "--gaitperf-accept-regressions",
        "with --gaitperf-update=all, a regressed cell is no failure: its history starts afresh at "
        "what was measured",
        switch=True,
    ),
    Option(
        "--gaitperf-baselines",
        "the directory of the baselines (default: baselines)",
        values.as_path,
        "DIR",
    ),
    Option(
        "--gaitperf-profile",
        "the name of this kind of device, a folder of the baselines (default: from the device)",
        metavar="NAME",
    ),
    Option(
        "--gaitperf-against",
        "measure each model in turns with another one, and gate against that in place of the "
        "baselines: with another version of it (a number), or with the model of the same name in "
        "another model repository, e.g. of the main branch's checkout",
        values.as_reference,
        "VERSION|DIR",
    ),
    Option(
        "--gaitperf-reference",
        "where the models' earlier files are: a model repository, or a git revision of this one; "
        "what seems to have regressed from its baseline is confirmed in turns with them, in place "
        "of a second measurement",
        values.as_revision,
        "REV|DIR",
    ),
    Option(
        "--gaitperf-tolerance",
        "the change that does not matter, such as 5%% or 0.05, for all metrics or for named ones: "
        "latency_p99=10%%,throughput=3%% (default: 5%%)",
        metavar="RATIO",
        merged=True,
    ),
    Option(
        "--gaitperf-must-hear",
        "the change that may not go unheard, for all metrics or for named ones: where noise could "
        "hide it, the quantity is unmeasured (default: 25%%; of p90 and p95 twice, of p99 four "
        "times what holds for all; beside m sessions 2/m more may go unheard)",
        metavar="RATIO",
        merged=True,
    ),
    Option(
        "--gaitperf-limit",
        "a requirement on every cell, such as 'latency_p99 <= 40 ms' or 'throughput >= 25', with "
        "or without a baseline; can be given several times",
        metavar="LIMIT",
        merged=True,
        key="limits",
    ),
    Option(
        "--gaitperf-latency-bound",
        "under the table, name the cells with the most throughput and the least energy whose p99 "
        "is at most this, such as 40ms; '40ms, accuracy >= 95%%': of such models",
        metavar="LATENCY",
    ),
    Option(
        "--gaitperf-accuracy",
        "a CSV or TOML file with the accuracy of each model (0.947 or 94.7%%), the third objective "
        "of the frontier",
        values.as_path,
        "FILE",
    ),
    Option(
        "--gaitperf-relative-to",
        "show how many times faster each cell is, and how many times less energy it takes, than "
        "the same load of this model",
        metavar="MODEL",
    ),
    Option(
        "--gaitperf-alpha",
        "the probability of any false alarm in a whole run (default: 0.005)",
        values.ratio,
        "P",
    ),
    Option(
        "--gaitperf-accept-estimates",
        "gate and record estimated energy too; without it an estimate is only shown",
        switch=True,
    ),
    Option(
        "--gaitperf-strict",
        "what noise leaves open is not green: changes beyond the tolerance, and limits within the "
        "interval",
        switch=True,
    ),
    Option(
        "--gaitperf-columns",
        "columns: throughput, mean, p50, p90, p95, p99, p99.9, energy, gpu (its energy), watts, "
        "cpu, peak, loaded (the server's CPU, memory), gpu_peak, size, load, first_inference, "
        "error, typical, accuracy, first, first_p90, first_p95, first_p99, answers, slowdown, "
        "goodput, goodput_j, subjects, best, sustained, ratio, sustained_p99, precision, queue, "
        "compute, network, client, cpus, gpu_busy, memory, clock, temperature, send_error, "
        "requests, seconds, faster, less_energy, change, all",
        values.as_names,
        "COLUMNS",
    ),
    Option(
        "--gaitperf-summary",
        "write what a reader of a pull request wants to know to this file, as Markdown; a GitHub "
        "job summary gets it without asking",
        values.as_path,
        "FILE",
    ),
    Option(
        "--gaitperf-report",
        "write an HTML page with everything that was measured and judged to this file (needs the "
        "extra report)",
        values.as_path,
        "FILE",
    ),
    Option(
        "--gaitperf-json",
        "write everything that was measured and judged to this file",
        values.as_path,
        "FILE",
    ),
    Option(
        "--gaitperf-journal",
        "put each cell into this file as soon as it is measured, and remove the file when the run "
        "has come to its end (default: gaitperf/journal.jsonl in pytest's cache)",
        values.as_path,
        "FILE",
    ),
    Option(
        "--gaitperf-resume",
        "take from the journal of a run that was cut short what is still the same",
        switch=True,
    ),
    Option(
        "--gaitperf-export",
        "write the results in the format of another tool too, such as bencher:bmf.json or "
        "openmetrics:gaitperf.prom; can be given once for each format ('gaitperf baseline export "
        "--help' lists them)",
        values.as_exports,
        "FORMAT:FILE",
        merged=True,
        key="exports",
    ),
    Option(
        "--gaitperf-benchmarks",
        "show each cell in the table, --benchmark-json and --benchmark-compare of pytest-benchmark",
        switch=True,
    ),
    Option(
        "--gaitperf-board",
        "run the suite on this board and gather what it finds; once for each board, in words of "
        "execnet such as ssh=HOST//chdir=DIR//python=PYTHON (needs the extra fleet)",
        values.as_board,
        "SPEC",
        repeated=True,
        key="boards",
    ),
)
