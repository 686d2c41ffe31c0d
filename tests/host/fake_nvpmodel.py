"""A fake nvpmodel: the real tool's options and words, its mode in a file.

Called with the folder of its state before the tool's own arguments. ``mode`` there is the mode that
it is in, ``log`` has a line for each mode set, and ``denied`` makes it refuse, as without root.
Mode 3 needs a reboot: it asks, and takes the end of its input for a no.
"""

from __future__ import annotations

import sys
from pathlib import Path

NAMES = ("MAXN", "15W", "7W", "MAXN_SUPER")
REBOOT = 3


def main() -> int:
    state, arguments = Path(sys.argv[1]), sys.argv[2:]
    file = state / "mode"
    if arguments == ["-p", "--verbose"]:
        print("NVPM VERB: Config file: /etc/nvpmodel.conf")
        for number, name in enumerate(NAMES):
            print(f"NVPM VERB: POWER_MODEL: ID={number} NAME={name}")
            print("NVPM VERB: PARAM CPU_ONLINE: ARG CORE_1: PATH /sys/devices VAL: 1")
    elif arguments == ["-q"]:
        number = int(file.read_text())
        print(f"NVPM WARN: fan mode is not set!\nNV Power Mode: {NAMES[number]}\n{number}")
    elif arguments[:1] == ["-m"] and int(arguments[1]) < len(NAMES):
        if (state / "denied").exists():
            print("NVPM ERROR: Error opening /sys/devices/system/cpu/cpu1/online: 13")
            return 1
        if int(arguments[1]) == REBOOT:
            print("NVPM WARN: Golden image context is already created")
            print(f"NVPM WARN: Reboot required for changing to this power mode: {REBOOT}")
            print("NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:")
            if sys.stdin.readline().strip().lower() == "yes":
                (state / "rebooted").touch()
            print("NVPM ERROR: optMask is 1, no request for power mode")
            return 255
        new = state / "mode.new"
        new.write_text(arguments[1])
        new.rename(file)
        with (state / "log").open("a") as log:
            log.write(f"{arguments[1]}\n")
    else:
        print("NVPM ERROR: bad input!")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
