"""Where the server comes from: the options of ``--triton`` and its family, already parsed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["auto", "attach", "local", "docker"]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to come by a Triton server.

    ``url`` is ``host:port`` of the HTTP endpoint, with or without ``http://``; it is used to
    attach, with ``grpc_port`` (None: the HTTP port + 1, as is Triton's custom); a started server
    gets free ports. ``timeout_s`` is how long a started server may take
    to get ready. ``log_directory`` keeps ``tritonserver.log``; None keeps it in a private folder
    that is removed on close. ``models`` are loaded and no others; empty loads all. ``mounts`` are
    directories that links in the repository point into.
    """

    mode: Mode = "auto"
    url: str = "127.0.0.1:8000"
    grpc_port: int | None = None
    repository: Path = Path("model_repository")
    image: str = "nvcr.io/nvidia/tritonserver:24.01-py3-igpu"
    timeout_s: float = 120.0
    log_directory: Path | None = None
    models: tuple[str, ...] = ()
    mounts: tuple[Path, ...] = ()
