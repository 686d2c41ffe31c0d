"""newer.py REQUIREMENTS: print what is installed here in another version than the pinned one."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PIN = re.compile(r"^([a-z0-9.-]+)(?:\[\S+\])?==(\S+)", re.MULTILINE)


def main() -> None:
    """Compare the environment of this Python with the pins; a package may have several."""
    pinned: dict[str, list[str]] = {}
    for name, pin in PIN.findall(Path(sys.argv[1]).read_text(encoding="utf-8")):
        pinned.setdefault(name, []).append(pin)
    for name, pins in pinned.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if installed not in pins:
            print(f"{name} {installed} (pinned: {', '.join(pins)})")


if __name__ == "__main__":
    main()
