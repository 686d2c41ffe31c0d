"""Capture what a real Triton answers, byte for byte, as test data.

``python -m tests.triton.capture_answers`` starts the local server on small models, asks it what the
readers ask and some of what goes wrong, and writes each body to ``tests/triton/answers/VERSION``.
Another release: put its ``pytriton`` first on PYTHONPATH, or its ``tritonserver`` on PATH.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np

from pytest_gaitperf.load.encode import encode_grpc, encode_http
from pytest_gaitperf.load.wire_grpc import GrpcWire, call_fields
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import TritonServer, open_server
from pytest_gaitperf.workload import Workload
from tests.triton.models import Tensor, write_model

ANSWERS = Path(__file__).with_name("answers")
QUESTIONS = {
    "server": ("GET", "/v2"),
    "index": ("POST", "/v2/repository/index"),
    "regions": ("GET", "/v2/systemsharedmemory/status"),
    **{
        f"{what}-{model}": ("GET", f"/v2/models/{model}{path}")
        for model in ("identity", "kinds", "unbatched", "versioned")
        for what, path in (("model", ""), ("config", "/config"), ("stats", "/stats"))
    },
    "error-model": ("GET", "/v2/models/absent"),
    "error-stats": ("GET", "/v2/models/absent/stats"),
    "error-path": ("GET", "/v2/nowhere"),
    "error-infer": ("POST", "/v2/models/identity/infer"),
    "error-register": ("POST", "/v2/systemsharedmemory/region/r/register"),
}
REFUSED = {"error-register": '{"key": "/no_such_key", "offset": 0, "byte_size": 16}'}


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        repository = Path(name)
        write_model(repository, "identity", fail_every=3)
        write_model(
            repository,
            "kinds",
            inputs=[Tensor("A", "INT64", (2,)), Tensor("S", "BYTES", (-1,), optional=True)],
            outputs=[Tensor("B", "FP16", (3, 2)), Tensor("C", "BOOL", (1,))],
        )
        write_model(repository, "unbatched", max_batch_size=0)
        write_model(
            repository, "versioned", versions=(2, 10), extra_config="version_policy: { all { } }"
        )
        write_model(repository, "raises", initialize_error="no weights here")
        with open_server(ServerOptions(mode="local", repository=repository)) as server:
            directory = ANSWERS / server.version
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            _capture(server, directory, repository)
            sys.stdout.write(f"{directory}: {len(list(directory.iterdir()))} answers\n")
    return 0


def _capture(server: TritonServer, directory: Path, repository: Path) -> None:
    model = server.model("identity")
    workload = Workload("identity", 1, 1)
    samples = [{"INPUT0": np.zeros((1, 16), np.float32)}]
    request = encode_http(model, workload, server.url, samples)[0][0]
    for number in (1, 2, 3):
        answer = _over_http(server, request)
        if number == 1:
            (directory / "infer.http").write_bytes(answer)
    (directory / "infer-failed.http").write_bytes(answer)
    message = encode_grpc(model, workload, samples)[0][0]
    for name in ("infer.grpc", "infer-again.grpc", "infer-failed.grpc"):
        (directory / name).write_bytes(_over_grpc(server, message))
    (directory / "infer-again.grpc").unlink()
    for name, (method, path) in QUESTIONS.items():
        _, content = server.api.request(method, path, REFUSED.get(name, "{}"))
        # A reason has the paths of where it was captured: nobody's business.
        content = content.replace(str(repository).encode(), b"/models")
        (directory / f"{name}.json").write_bytes(content)


def _over_http(server: TritonServer, request: bytes) -> bytes:
    with socket.create_connection((server.host, server.http_port)) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < _length(answer):
            answer += connection.recv(1 << 16)
    return answer


def _length(answer: bytes) -> int:
    head, _, _ = answer.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(head) + 4 + int(fields[b"content-length"])


def _over_grpc(server: TritonServer, message: bytes) -> bytes:
    answer = b""
    with socket.create_connection((server.host, server.grpc_port)) as connection:
        wire = GrpcWire(connection, call_fields(server.host, server.grpc_port))
        sent, complete = 0, False
        while not complete:
            sent += wire.send(message[sent:], 0) if sent < len(message) else 0
            piece = connection.recv(1 << 16)
            answer += piece
            complete = wire.feed(bytearray(piece), len(piece))
    return answer


if __name__ == "__main__":
    sys.exit(main())
