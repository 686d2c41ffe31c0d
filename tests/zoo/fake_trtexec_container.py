#!/usr/bin/env python3
"""A fake `docker`: it takes the one command line with which trtexec is run, and runs the fake one.

It refuses a path in trtexec's flags that no mount shows to the container, as nothing is there.
FAKE_DOCKER_ERROR makes it fail with that text, as the engine's client does.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    """Parse `docker run`, then become the program in the container."""
    if message := os.environ.get("FAKE_DOCKER_ERROR"):
        sys.stderr.write(f"docker: {message}\n")
        sys.exit(125)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--rm", action="store_true", required=True)
    parser.add_argument("--init", action="store_true", required=True)
    parser.add_argument("--pull", choices=["never"], required=True)
    parser.add_argument("--runtime", choices=["nvidia"], required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("-v", dest="volumes", action="append", default=[])
    parser.add_argument("image", choices=["triton:test"])
    parser.add_argument("program", choices=["/usr/src/tensorrt/bin/trtexec"])
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    mounts = [Path(volume.split(":")[0]) for volume in given.volumes]
    for flag in given.flags:
        path = Path(flag.partition("=")[2])
        if path.is_absolute() and not any(path.is_relative_to(mount) for mount in mounts):
            sys.exit(f"no mount shows {path} to the container")
    program = str(Path(__file__).with_name("fake_trtexec.py"))
    os.execv(sys.executable, [sys.executable, "-S", program, *given.flags])  # noqa: S606  # the fake


if __name__ == "__main__":
    main()
