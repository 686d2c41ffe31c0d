"""A machine with a fake trtexec on its PATH."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from pytest_gaitperf.cli import main

HERE = Path(__file__).parent


def script(path: Path, name: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {HERE / name} "$@"\n')
    path.chmod(0o755)


class Bench:
    """A machine with a fake trtexec, and a repository."""

    def __init__(self, path: Path) -> None:
        self.repository = path / "models"
        self.calls_file = path / "calls"
        self.bin = path / "bin"
        self.cache = path / "cache" / "gaitperf" / "tensorrt"

    def build(self, *arguments: str, target: str = "tensorrt") -> int:
        where = ("--target", target, "--repository", str(self.repository))
        return main(["models", "build", *where, *arguments])

    def calls(self) -> list[list[str]]:
        """The command lines that built something so far."""
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def config(self, name: str) -> Any:
        """What Triton would read."""
        text = (self.repository / name / "config.pbtxt").read_text()
        return text_format.Parse(text, model_config_pb2.ModelConfig())

    def plan(self, name: str) -> Path:
        return self.repository / name / "1" / "model.plan"

    def files(self, name: str) -> set[str]:
        root = self.repository / name
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def flags(call: list[str]) -> dict[str, str]:
    return {flag.partition("=")[0]: flag.partition("=")[2] for flag in call}
