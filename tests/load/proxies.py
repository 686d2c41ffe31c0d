"""nginx and haproxy in front of a Triton: TLS, a path in front, a header asked for."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_gaitperf.triton.server import TritonServer

HEADER = ("Authorization", "Bearer s3cret-t0ken")
PREFIX = "/edge%20box/triton"
_PLAIN_PREFIX = "/edge box/triton"
_GRPC = "/inference.GRPCInferenceService"

_NGINX = """
user root; worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000; http2_body_preread_size 0;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
  map $http_authorization $allowed {{ "Bearer s3cret-t0ken" 1; default 0; }}
  upstream http {{ server 127.0.0.1:{http}; keepalive 16; }}
  upstream grpc {{ server 127.0.0.1:{grpc}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} ssl http2; listen [::1]:{port} ssl http2;
    if ($allowed = 0) {{ return 401; }}
    location "{prefix}/" {{ proxy_pass http://http/; include {folder}/http; }}
    location {grpc_path} {{ grpc_pass grpc://grpc; }}
  }}
  server {{
    listen 127.0.0.1:{mutual} ssl http2; keepalive_requests 10;
    ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;
    location / {{ proxy_pass http://http; include {folder}/http; }}
    location {grpc_path} {{ grpc_pass grpc://grpc; }}
  }}
  server {{
    listen unix:{folder}/http.sock;
    location / {{ proxy_pass http://http; include {folder}/http; }}
  }}
}}
"""

_HAPROXY = """
global
  maxconn 256
defaults
  mode http
  timeout connect 2s
  timeout client 20s
  timeout server 20s
frontend tls
  bind 127.0.0.1:{port} ssl crt {folder}/both.pem alpn h2,http/1.1
  bind [::1]:{port} ssl crt {folder}/both.pem alpn h2,http/1.1
  http-request deny deny_status 401 unless {{ req.hdr(Authorization) "Bearer s3cret-t0ken" }}
  http-request replace-path {escaped}/(.*) /\\1
  use_backend grpc if {{ path_beg {grpc_path} }}
  default_backend http
frontend others
  bind 127.0.0.1:{mutual} ssl crt {folder}/both.pem alpn h2,http/1.1 {wanted}
  bind unix@{folder}/http.sock
  use_backend grpc if {{ path_beg {grpc_path} }}
  default_backend http
backend http
  server one 127.0.0.1:{http}
backend grpc
  server one 127.0.0.1:{grpc} proto h2
"""


@dataclass(frozen=True)
class Proxy:
    """A running one: its ports, and the folder with its certificates and sockets."""

    name: str
    port: int
    mutual: int
    folder: Path


def certificates(folder: Path) -> None:
    """Make an authority, and with it a server's and a client's certificate."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    new += ["-nodes", "-days", "2"]

    def make(name: str, *more: str) -> None:
        files = ("-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem")
        command = [*new, "-subj", f"/CN=gaitperf test {name}", *files, *more]
        subprocess.run(command, check=True, capture_output=True)

    signed = ("-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key")
    make("ca", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    names = "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost"
    make("server", *signed, "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE")
    make("client", *signed, "-addext", "basicConstraints=critical,CA:FALSE")
    (folder / "both.pem").write_text(
        (folder / "server.pem").read_text() + (folder / "server.key").read_text()
    )
    (folder / "http").write_text('proxy_http_version 1.1; proxy_set_header Connection "";')


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def in_front(name: str, server: TritonServer, folder: Path) -> Iterator[Proxy]:
    """Run nginx or haproxy before a server; skip the test where it is not installed."""
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    certificates(folder)
    proxy = Proxy(name, free_port(), free_port(), folder)
    text = (_NGINX if name == "nginx" else _HAPROXY).format(
        folder=folder,
        http=server.http_port,
        grpc=server.grpc_port,
        port=proxy.port,
        mutual=proxy.mutual,
        prefix=_PLAIN_PREFIX,
        escaped=PREFIX,
        grpc_path=_GRPC,
        wanted=f"ca-file {folder}/ca.pem verify required",
    )
    config = folder / "config"
    config.write_text(text)
    flags = ("-p", str(folder), "-c", str(config), "-e", str(folder / "log"))
    command = (program, *(flags if name == "nginx" else ("-db", "-f", str(config))))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", proxy.port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        process.terminate()
                        said = process.communicate()[0].decode()
                        raise AssertionError(f"{name} does not run: {said}") from None
                    time.sleep(0.01)
            yield proxy
        finally:
            process.terminate()
