#!/usr/bin/env python3
"""A fake `trtexec`: it takes the flags that we give and no others, and writes a file for a plan.

There is no TensorRT on a test machine. It checks what the real one checks of a command line
(profiles whose sizes rise, a DLA with one shape, an ONNX file it can parse, inputs that are in it),
prints the lines of the real one's that we read, and appends its arguments to FAKE_TRTEXEC_CALLS.
FAKE_TRTEXEC_VERSION is the number in its first line (8601 is 8.6.1); FAKE_TRTEXEC makes it fail:
`error` as a graph does that it cannot build, `silent` by writing no plan, `absent` before anything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

VERSION = os.environ.get("FAKE_TRTEXEC_VERSION", "8601")
TEST = f"TensorRT.trtexec [TensorRT v{VERSION}] # {' '.join(sys.argv)}"


def say(text: str, level: str = "I") -> None:
    sys.stdout.write(f"[11/22/2026-12:00:00] [{level}] {text}\n")
    sys.stdout.flush()


def leave(status: int) -> None:
    sys.stdout.write(f"&&&& {'FAILED' if status else 'PASSED'} {TEST}\n")
    sys.exit(status)


def profile(text: str) -> dict[str, list[int]]:
    """`a:1x2,b:1x3`: the sizes by the input's name, which may itself hold a colon."""
    shapes = {}
    for part in text.split(","):
        name, _, sizes = part.rpartition(":")
        shapes[name] = [int(size) for size in sizes.split("x")]
    return shapes


def check_shapes(shapes: list[dict[str, list[int]] | None], onnx: bytes, dla: int | None) -> None:
    """Leave as the real one does where the profile is none for the network."""
    low, best, high = shapes
    if low is None or best is None or high is None:
        return
    for name in low | best | high:
        sizes = [shape.get(name, []) for shape in (low, best, high)]
        rising = all(one <= two <= three for one, two, three in zip(*sizes, strict=True))
        if name.encode() not in onnx or not sizes[0] or not rising:
            say("Network And Config setup failed", "E")
            leave(1)
    if dla is not None and low != high:
        say("DLA does not support dynamic dimensions", "E")
        leave(1)


def main() -> None:
    """Do what the command line says."""
    if os.environ.get("FAKE_TRTEXEC") == "absent":
        sys.exit("trtexec: error while loading shared libraries: libnvinfer.so.8")
    sys.stdout.write(f"&&&& RUNNING {TEST}\n")
    if sys.argv[1:] == ["--help"]:
        sys.stdout.write("=== Model Options ===\n")
        return
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--onnx", required=True, type=Path)
    parser.add_argument("--saveEngine", required=True, type=Path)
    for which in ("min", "opt", "max"):
        parser.add_argument(f"--{which}Shapes", type=profile)
    for precision in ("fp16", "int8", "best"):
        parser.add_argument(f"--{precision}", action="store_true")
    parser.add_argument("--useDLACore", type=int)
    parser.add_argument("--allowGPUFallback", action="store_true")
    parser.add_argument("--timingCacheFile", type=Path)
    new = int(VERSION) >= 8600  # 8.6, which named it anew
    parser.add_argument("--skipInference" if new else "--buildOnly", action="store_true")
    given = parser.parse_args()
    with Path(os.environ["FAKE_TRTEXEC_CALLS"]).open("a", encoding="utf-8") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")

    say("=== Model Options ===")
    say("Start parsing network model.")
    content = given.onnx.read_bytes()
    say("Finished parsing network model. Parse time: 0.01")
    check_shapes([given.minShapes, given.optShapes, given.maxShapes], content, given.useDLACore)
    if os.environ.get("FAKE_TRTEXEC") == "error":
        say("[TRT] 10: Could not find any implementation for node conv_0.", "E")
        say("Engine could not be created from network", "E")
        leave(1)
    if os.environ.get("FAKE_TRTEXEC") == "slow":
        Path(os.environ["FAKE_TRTEXEC_CALLS"]).with_name("pid").write_text(str(os.getpid()))
        time.sleep(60)
    if given.timingCacheFile is not None:
        given.timingCacheFile.write_bytes(b"timings")
    if os.environ.get("FAKE_TRTEXEC") != "silent":
        given.saveEngine.write_bytes(b"plan of " + content[:64])
    say("Created engine with size: 0.0 MiB")
    say("Engine built in 0.02 sec.")
    leave(0)


if __name__ == "__main__":
    main()
